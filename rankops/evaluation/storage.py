"""An evaluation as a folder: evaluation.json, per_query.parquet, report.md and plots as PNG."""

from __future__ import annotations

import io
from pathlib import Path

import polars as pl
from pydantic import ValidationError

from rankops.errors import BadInput
from rankops.evaluation.plots import deltas_png, slices_png, systems_png
from rankops.evaluation.plots_breadth import breadth_pngs
from rankops.evaluation.render import evaluation_markdown
from rankops.evaluation.results import Evaluation
from rankops.files import write_bytes, write_json, write_text

PLOTS = {"systems.png": systems_png, "slices.png": slices_png, "deltas.png": deltas_png}
_REMEDY = "rematerialize the evaluation asset"


def save_evaluation(evaluation: Evaluation, folder: Path) -> None:
    """Write the evaluation into ``folder``; each file is whole or absent, evaluation.json comes last."""
    for name, draw in PLOTS.items():
        write_bytes(folder / name, draw(evaluation))
    if evaluation.breadth is not None:
        for name, data in breadth_pngs(evaluation, evaluation.breadth).items():
            write_bytes(folder / name, data)
    buffer = io.BytesIO()
    evaluation.per_query.write_parquet(buffer, compression="zstd")
    write_bytes(folder / "per_query.parquet", buffer.getvalue())
    write_text(folder / "report.md", evaluation_markdown(evaluation))
    write_json(folder / "evaluation.json", evaluation.model_dump(mode="json"))


def load_evaluation(folder: Path) -> Evaluation:
    """Read what :meth:`Evaluation.save` wrote. Raises :class:`BadInput` naming a file that is missing or malformed."""
    for name in ("evaluation.json", "per_query.parquet"):
        if not (folder / name).is_file():
            raise BadInput(f"{folder / name} is missing", _REMEDY)
    try:
        evaluation = Evaluation.model_validate_json((folder / "evaluation.json").read_bytes())
    except ValidationError as error:
        raise BadInput(f"{folder / 'evaluation.json'} is not an evaluation: {error}", _REMEDY) from error
    return evaluation.with_per_query(pl.read_parquet(folder / "per_query.parquet"))
