"""The data room: where tables come from and what must hold in them.

Here belong the schemas of the four tables, the generated shop, importers of a team's own tables, leak-free splits,
labels from clicks, and the assembly of a :class:`rankops.dataset.Dataset`. Nothing here knows a model, a metric or
Dagster; what training reads from a dataset (its pairs) lives in :mod:`rankops.pairs`, outside this room.
"""
