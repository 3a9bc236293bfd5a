"""``make demo``: the whole life of a search model (and of others beside it), on this machine, in minutes.

Data → fine-tuning → evaluation → quantization → signed release → commit → live server → drift → retraining → commit.
Every stage is the asset or sensor that people use in the Dagster UI; this package only calls them in order, on the
same state (``.rankops/``), and tells what happened. Run again, it re-uses what stands and makes no commit.
"""
