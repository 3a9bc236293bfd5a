"""The bounded sample as one row per search or request: what Evidently, and only Evidently, gets to see."""

from __future__ import annotations

import math

import polars as pl

from rankops.drift.languages import guess_language
from rankops.drift.summaries import DaySummary, tokens, top_level

NUMERIC = ("query_tokens", "query_length", "unseen_token_share", "click_position", "clicked_price_log10", "top_score")
CATEGORICAL = ("clicked", "clicked_category", "language")
SCHEMA: dict[str, type[pl.DataType]] = dict.fromkeys(NUMERIC, pl.Float64) | dict.fromkeys(CATEGORICAL, pl.String)
_MARKUP = str.maketrans("<>&", "()+")


def sample_frame(summary: DaySummary, reference: DaySummary, *, with_scores: bool) -> pl.DataFrame:
    """Columns ``NUMERIC`` and ``CATEGORICAL`` (null where they do not apply); at most 4,000 rows, sorted by key.

    A word counts as unseen when no *other* day of the reference and no product text has it, so that the reference's
    own rows are measured like a new day's. ``top_score`` is left empty unless ``with_scores``.
    """
    product_words = reference.catalogue.tokens.entries.keys() | summary.catalogue.tokens.entries.keys()
    rows: list[dict[str, object]] = []
    for _, search in sorted(summary.sample.items()):
        words = tokens(search.query)
        unseen = sum(_unseen(word, search.day, reference) and word not in product_words for word in words)
        rows.append(
            {
                "query_tokens": float(len(words)),
                "query_length": float(len(search.query)),
                "unseen_token_share": unseen / len(words) if words else 0.0,
                "clicked": "yes" if search.clicked else "no",
                "click_position": None if search.position is None else float(search.position),
                "clicked_price_log10": None if search.price is None else math.log10(search.price),
                "clicked_category": _label(search.category),
                "language": guess_language(search.query),
            }
        )
    if with_scores:
        rows += [{"top_score": request.top_score} for _, request in sorted(summary.request_sample.items())]
    return pl.DataFrame(rows, schema=SCHEMA)


def _unseen(word: str, day: int, reference: DaySummary) -> bool:
    row = reference.tokens.entries.get(word)
    if row is None:
        return True
    return len(reference.days) > 1 and row[1] == row[2] == day


def _label(category: str | None) -> str | None:
    """A category's first level, without markup: Evidently writes labels into its HTML unescaped."""
    return None if category is None else top_level(category).translate(_MARKUP)
