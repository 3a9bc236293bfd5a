"""The drift room: what changed between the traffic a model learned from and the traffic it serves.

Belongs here: mergeable summaries of traffic, the named causes, Evidently's report, the decision to retrain, and how
all of that looks in the UI. Does not belong here: making data, training, or starting runs (``automation`` does).
Nothing here knows Dagster; pandas is used only at Evidently's door.
"""
