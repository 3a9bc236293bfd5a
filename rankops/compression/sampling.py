"""Which texts the ladder is measured on: real ones, few enough that a ladder takes about a minute."""

from __future__ import annotations

from dataclasses import replace

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


def _positions(length: int, count: int) -> list[int]:
    count = max(0, min(length, count))
    return [index * length // count for index in range(count)]


def _spread(values: list[str], count: int) -> list[str]:
    return [values[position] for position in _positions(len(values), count)]
