"""Evidently's part: its drift metrics on the bounded sample, and its own HTML page.

The one module that knows pandas. Evidently's telemetry is switched off before its first import; the page carries
its scripts, fonts and data inline, so it opens from a disk, a store or a CI artifact with no network.
"""

from __future__ import annotations

import math
import os
from typing import Any

import polars as pl
from pydantic import BaseModel, ConfigDict

from rankops.drift import statistics as st
from rankops.drift.traffic_frame import CATEGORICAL, NUMERIC

DRIFT_SHARE = 0.5
"""Share of drifted columns from which a day has drifted though no cause of ours was found (Evidently's default)."""
BASE_THRESHOLD = 0.1
_MIN_VALUES = 10
_NUMERIC_METHOD, _CATEGORICAL_METHOD = "wasserstein", "jensenshannon"


class ColumnDrift(BaseModel):
    """Evidently's verdict on one column."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    column: str
    method: str
    score: float
    threshold: float
    drifted: bool


def column_drift(reference: pl.DataFrame, current: pl.DataFrame) -> tuple[list[ColumnDrift], str]:
    """``(columns, html)`` for two sample frames; columns with under ten values on a side are left out.

    Numbers: Wasserstein distance over the reference's standard deviation; categories: Jensen-Shannon distance. Both
    with Evidently's threshold 0.1, raised for small samples (see :func:`_threshold`).
    """
    os.environ["DO_NOT_TRACK"] = "1"  # read by evidently.telemetry
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    used = [c for c in (*NUMERIC, *CATEGORICAL) if _comparable(reference[c], current[c])]
    definition = DataDefinition(
        numerical_columns=[c for c in used if c in NUMERIC], categorical_columns=[c for c in used if c in CATEGORICAL]
    )
    preset = DataDriftPreset(
        columns=used,
        num_method=_NUMERIC_METHOD,
        cat_method=_CATEGORICAL_METHOD,
        # For the page's headline: with a share of half it says "not detected" above a column that it calls drifted.
        drift_share=1 / max(1, len(used)),
        per_column_threshold={c: _threshold(reference[c], current[c]) for c in used},
    )
    snapshot = Report([preset]).run(
        Dataset.from_pandas(current.select(used).to_pandas(), data_definition=definition),
        Dataset.from_pandas(reference.select(used).to_pandas(), data_definition=definition),
    )
    return _columns(snapshot.dict()["metrics"]), snapshot.get_html_str(as_iframe=False)


def _comparable(reference: pl.Series, current: pl.Series) -> bool:
    enough = min(reference.len() - reference.null_count(), current.len() - current.null_count()) >= _MIN_VALUES
    # Wasserstein is divided by the reference's spread: a constant column has none.
    return enough and (reference.dtype == pl.String or (reference.std() or 0.0) > 0)  # type: ignore[operator]


def _threshold(reference: pl.Series, current: pl.Series) -> float:
    """0.1, or what the distance reaches by chance for so few values.

    For categories the squared Jensen-Shannon distance (nats) of two samples of one distribution is about
    (1/n + 1/m) chi-square / 8; the normed Wasserstein distance is of the order of sqrt(1/n + 1/m).
    """
    n, m = reference.drop_nulls().len(), current.drop_nulls().len()
    if reference.dtype != pl.String:
        return max(BASE_THRESHOLD, 2.5 * math.sqrt(1 / n + 1 / m))
    cells = pl.concat([reference, current]).drop_nulls().n_unique()
    noise = (1 / n + 1 / m) * st.chi_square_quantile(max(1, cells - 1)) / 8
    return max(BASE_THRESHOLD, math.sqrt(noise))


def _columns(metrics: list[dict[str, Any]]) -> list[ColumnDrift]:
    rows = []
    for metric in metrics:
        config = metric["config"]
        if config["type"].endswith(":ValueDrift"):
            score, threshold = float(metric["value"]), float(config["threshold"])
            rows.append(
                ColumnDrift(
                    column=config["column"],
                    method=config["method"],
                    score=round(score, 6),
                    threshold=round(threshold, 6),
                    drifted=score >= threshold,
                )
            )
    return sorted(rows, key=lambda row: (not row.drifted, -row.score / row.threshold, row.column))
