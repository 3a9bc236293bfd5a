"""Predictions of a recommender: ``case_id<TAB>rank<TAB>item<TAB>score``, best first."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

from rankops.errors import BadInput
from rankops.files import write_text
from rankops.next_item import load_next_item
from rankops.predict.releases import Resolved
from rankops.predict.task import Asked, Progress, QuerySplit
from rankops.release.recommendation import MODEL

_CASES = "*cases*.jsonl*"


def predict(release: Resolved, folder: Path, out: Path, asked: Asked, progress: Progress) -> str:
    """Write the ``asked.k`` best items of every case that the folder (or file) names; held-out items are not read.

    ``folder`` is a file of cases (JSON lines, may end in .gz, each with ``context`` and ``invoice``, ``case_id`` or
    ``id``), a folder that holds such files, or a rankops dataset, whose last days ask the questions.
    """
    cases = read_cases(folder, asked.split)
    model = load_next_item(release.folder / MODEL)
    progress(f"recommending for {len(cases):,} cases")
    lines = []
    for case_id, context in cases:
        found = model.recommend(context, asked.k)
        ranked = zip(found.product_ids, found.scores, strict=True)
        lines += [f"{case_id}\t{rank}\t{item}\t{score:.6f}" for rank, (item, score) in enumerate(ranked, 1)]
    write_text(out, "\n".join(lines) + "\n")
    return f"{len(lines):,} lines for {len(cases):,} cases"


def read_cases(path: Path, split: QuerySplit = "all") -> list[tuple[str, list[str]]]:
    """``(case id, context)`` of every case, in order; of a folder, those of the files whose names hold the split.

    Raises :class:`BadInput` naming file and row.
    """
    if path.is_dir() and (path / "catalogue.parquet").is_file():
        return _dataset_cases(path)
    files = sorted(path.glob(_CASES)) if path.is_dir() else [path]
    if split != "all" and path.is_dir():
        files = [file for file in files if split in file.name]
    if not files or not all(file.is_file() for file in files):
        told = "" if split == "all" else f" named {split}"
        raise BadInput(f"{path} holds no file of cases{told}", f"give the file ({_CASES}), or a folder with one")
    cases = [case for file in files for case in _cases_of(file)]
    if len(repeated := {name for name, _ in cases}) < len(cases):
        raise BadInput(f"{len(cases) - len(repeated)} case ids of {path} occur twice", "give each case one id")
    return cases


def _cases_of(file: Path) -> list[tuple[str, list[str]]]:
    data = file.read_bytes()
    try:
        text = (gzip.decompress(data) if file.suffix == ".gz" else data).decode("utf-8")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise BadInput(f"{file} cannot be read: {error}", "fetch the file again") from error
    rows = [line for line in text.split("\n") if line]
    return [_case(line, f"{file}, row {number}") for number, line in enumerate(rows, 1)]


def _case(line: str, where: str) -> tuple[str, list[str]]:
    try:
        found: dict[str, Any] = json.loads(line)
        name = next(found[key] for key in ("case_id", "id", "invoice") if key in found)
        context = found["context"]
    except (ValueError, KeyError, TypeError, StopIteration) as error:
        raise BadInput(f"{where}: {error!r}", "each case needs context, and case_id, id or invoice") from error
    if not isinstance(context, list) or not all(isinstance(item, str) for item in context):
        raise BadInput(f"{where}: context is no list of product ids", "correct the row")
    return str(name), context


def _dataset_cases(folder: Path) -> list[tuple[str, list[str]]]:
    from rankops.baskets import contexts, next_item_view
    from rankops.dataset import load_dataset
    from rankops.specs import RecommendationSpec

    asked = next_item_view(load_dataset(folder), RecommendationSpec()).split("test")
    return list(zip(asked["query_id"].to_list(), contexts(asked), strict=True))
