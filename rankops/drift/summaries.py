"""What one or more days of traffic are, in a few hundred kilobytes that merge.

Every field is an integer count, a set of days or a bounded table, so that
``summarize(a + b) == merge(summarize(a), summarize(b))`` exactly, whatever the split (as long as no search is cut in
two). Heavy tables are read once, day by day; everything after works on summaries.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import reduce

from pydantic import BaseModel, ConfigDict, Field

from rankops.drift.sketches import Counts, smallest
from rankops.text import normalize_query

NO_CATEGORY = "(none)"
TOKEN_BOUND, QUERY_BOUND, PRODUCT_BOUND = 100_000, 20_000, 20_000
SAMPLE_SIZE = 2_000
SAMPLE_SALT = "rankops-drift-sample-1\n"  # the seed of the row sample; another one draws other rows
PRICE_BINS_PER_OCTAVE = 8
SCORE_BINS_PER_UNIT = 50
MAX_LENGTH, MAX_POSITION = 20, 100

_WORD = re.compile(r"[^\W_]+")

Histogram = dict[int, int]
Tally = dict[str, int]


class _Summary(BaseModel):
    model_config = ConfigDict(extra="forbid")


class SampledSearch(_Summary):
    """One search of the row sample."""

    day: int
    query: str
    clicked: bool
    position: int | None = Field(default=None, description="position of the first click, from 1")
    price: float | None = Field(default=None, description="price of the product clicked first")
    category: str | None = Field(default=None, description="category of the product clicked first")


class SampledRequest(_Summary):
    """One served request of the row sample."""

    day: int
    query: str
    top_score: float | None = None
    results: int = 0


class CatalogueSummary(_Summary):
    """One or more snapshots of the product feed; ``nulls`` and ``garbled`` count rows by field.

    Products are sampled by the hash of their id, so the same products are kept on both sides of a comparison.
    """

    snapshots: int = Field(default=0, description="feeds that were merged; every count below is their sum")
    rows: int = 0
    by_category: Tally = {}
    nulls: Tally = {}
    garbled: Tally = {}
    price_histogram: Histogram = Field(default={}, description="bins of an eighth of an octave, see price_bin")
    tokens: Counts = Counts(bound=TOKEN_BOUND)
    products: Counts = Field(default=Counts(bound=PRODUCT_BOUND), description="snapshots in which a product appears")
    cents: Counts = Field(default=Counts(bound=PRODUCT_BOUND), description="count is the sum of prices in cents")
    priced: Counts = Field(default=Counts(bound=PRODUCT_BOUND), description="snapshots with a price")


class DaySummary(_Summary):
    """Traffic of ``days`` (ISO dates) and the catalogue it ran on. All tables count searches unless they say else."""

    days: list[str] = []
    searches: int = 0
    searches_with_click: int = 0
    impressions: int = 0
    clicks: int = 0
    purchases: int = 0
    tokens: Counts = Field(default=Counts(bound=TOKEN_BOUND), description="searches that contain a token")
    queries: Counts = Field(default=Counts(bound=QUERY_BOUND), description="searches by normalized query")
    query_length: Histogram = Field(default={}, description="tokens in the query, up to 20")
    languages: Tally = {}
    non_ascii: int = Field(default=0, description="searches with a character outside ASCII")
    first_click_position: Histogram = Field(default={}, description="up to 100")
    clicks_by_category: Tally = Field(default={}, description="clicks")
    clicks_by_product: Counts = Field(default=Counts(bound=PRODUCT_BOUND), description="clicks")
    impressions_by_category: Tally = Field(default={}, description="impressions")
    searches_by_clicked_category: Tally = Field(default={}, description="by category of the first click")
    searches_by_top_category: Tally = Field(default={}, description="by category of the product shown first")
    clicked_price: Histogram = Field(default={}, description="clicks by price bin")
    releases: Tally = Field(default={}, description="requests by release that answered")
    requests: int = 0
    zero_results: int = Field(default=0, description="requests without a result")
    top_score: Histogram = Field(default={}, description="requests by score of the best result, bins of 0.02")
    catalogue: CatalogueSummary = CatalogueSummary()
    sample: dict[str, SampledSearch] = {}
    request_sample: dict[str, SampledRequest] = {}

    @property
    def zero_click_searches(self) -> int:
        """Searches that ended without a click."""
        return self.searches - self.searches_with_click

    @property
    def mrr(self) -> float:
        """Mean over all searches of 1 / position of the first click (0 without a click)."""
        total = sum(count / position for position, count in self.first_click_position.items())
        return total / self.searches if self.searches else 0.0


def merge(a: DaySummary, b: DaySummary) -> DaySummary:
    """The summary of both; associative and commutative, :class:`DaySummary` () is neutral."""
    values: dict[str, object] = {
        "days": sorted({*a.days, *b.days}),
        "catalogue": merge_catalogues(a.catalogue, b.catalogue),
    }
    for name in ("sample", "request_sample"):
        rows = {**getattr(a, name), **getattr(b, name)}
        kept = smallest(rows, SAMPLE_SIZE, SAMPLE_SALT) if len(rows) > SAMPLE_SIZE else rows.keys()
        values[name] = {key: row for key, row in rows.items() if key in kept}
    return DaySummary.model_construct(**values, **_added(a, b, skip=values.keys()))  # type: ignore[arg-type]


def merge_all(summaries: Iterable[DaySummary]) -> DaySummary:
    """All of them merged; an empty summary for none."""
    return reduce(merge, summaries, DaySummary())


def merge_catalogues(a: CatalogueSummary, b: CatalogueSummary) -> CatalogueSummary:
    """The catalogue part of :func:`merge`."""
    return CatalogueSummary.model_construct(**_added(a, b))  # type: ignore[arg-type]


def _added(a: _Summary, b: _Summary, skip: Iterable[str] = ()) -> dict[str, object]:
    """Every field of two summaries, added by its kind: numbers, tallies, tables."""
    skipped = set(skip)
    result: dict[str, object] = {}
    for name in type(a).model_fields:
        if name in skipped:
            continue
        left, right = getattr(a, name), getattr(b, name)
        if isinstance(left, Counts):
            result[name] = left.merge(right)
        elif isinstance(left, dict):
            result[name] = _tallied(left, right)
        else:
            result[name] = left + right
    return result


def _tallied(left: Mapping[str | int, int], right: Mapping[str | int, int]) -> dict[str | int, int]:
    merged = dict(left)
    for key, count in right.items():
        merged[key] = merged.get(key, 0) + count
    return merged


def tokens(text: str) -> list[str]:
    """Words and numbers of a text, normalized, in order."""
    return words(normalize_query(text))


def words(normalized: str) -> list[str]:
    """:func:`tokens` of a text that is normalized already."""
    return _WORD.findall(normalized)


def bin_price(price_bin: int) -> float:
    """The geometric middle of a price bin."""
    return float(2 ** ((price_bin + 0.5) / PRICE_BINS_PER_OCTAVE))


def median_of_bins(histogram: Histogram) -> float | None:
    """Median price of a histogram, exact to half a bin (about 4.4 %); None when it is empty."""
    total, seen = sum(histogram.values()), 0
    for price_bin in sorted(histogram):
        seen += histogram[price_bin]
        if 2 * seen >= total:
            return bin_price(price_bin)
    return None


def top_level(category: str) -> str:
    """The first level of a category path such as ``Shoes > Boots``."""
    return category.split(">", 1)[0].strip()


def by_top_level(tally: Tally) -> Tally:
    """A tally over category paths, summed over their first level, without products that have no category."""
    result: Tally = {}
    for category, count in tally.items():
        if category != NO_CATEGORY:
            result[top_level(category)] = result.get(top_level(category), 0) + count
    return result
