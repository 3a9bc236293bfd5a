"""Predictions of a release over a dataset, for scoring by others; no labels needed. One module a task."""

from __future__ import annotations

from rankops.predict.releases import Resolved, resolve_release
from rankops.predict.task import Asked, QuerySplit, predict_task

__all__ = ["Asked", "QuerySplit", "Resolved", "predict_task", "resolve_release"]
