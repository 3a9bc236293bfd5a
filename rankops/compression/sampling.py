"""Which texts the ladder is measured on: real ones, few enough that a ladder takes about a minute."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rankops.dataset import Dataset
from rankops.errors import BadInput
from rankops.text import normalize_query


def sample_texts(dataset: Dataset, *, queries: int = 64, products: int = 32) -> tuple[list[str], list[str]]:
    """Dev queries (normalized) and product texts, evenly spaced, for parity and latency."""
    asked = [normalize_query(query) for query in dataset.split("dev")["query"]]
    rows = dataset.catalogue[_positions(dataset.catalogue.height, products)]
    if not asked or rows.is_empty():
        raise BadInput("the dataset has no dev query or no product", "rematerialize the dataset asset")
    return _spread(asked, queries), replace(dataset, catalogue=rows).product_texts()


def training_texts(dataset: Dataset, count: int) -> list[str]:
    """Train queries (normalized) first, then product texts evenly spaced, ``count`` in all at most."""
    queries = [normalize_query(query) for query in dataset.split("train")["query"]][:count]
    rows = dataset.catalogue[_positions(dataset.catalogue.height, count - len(queries))]
    return queries + replace(dataset, catalogue=rows).product_texts()


def median_tokens(tokenizer_file: Path, questions: Sequence[str | tuple[str, str]]) -> int:
    """Tokens of the median question, special ones included, at most 64."""
    from rankops.onnx_session import read_tokenizer

    tokenizer = read_tokenizer(tokenizer_file, 64)
    counts = [len(tokenizer.encode(*((one,) if isinstance(one, str) else one)).ids) for one in questions]
    return max(1, int(statistics.median(counts)))


def _positions(length: int, count: int) -> list[int]:
    count = max(0, min(length, count))
    return [index * length // count for index in range(count)]


def _spread(values: list[str], count: int) -> list[str]:
    return [values[position] for position in _positions(len(values), count)]
