"""Evaluation: how good a ranking is, how sure we are, and whether the model may go further.

Belongs here: metrics per query, resampling intervals, baseline rankings, the gate's decision, and how an evaluation
is written, tabulated and drawn. Does not belong here: training, exporting, reading a shop's tables, or anything
that knows about Dagster or Git. Encoders come in as values that follow ``rankops.encoding.Encoder``.
"""
