"""From tables to a :class:`DaySummary`: the one place where traffic is read row by row."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

import polars as pl

from rankops.dataset import COLUMNS
from rankops.drift.languages import guess_language
from rankops.drift.sketches import Counts, smallest
from rankops.drift.summaries import (
    MAX_LENGTH,
    MAX_POSITION,
    NO_CATEGORY,
    PRICE_BINS_PER_OCTAVE,
    PRODUCT_BOUND,
    QUERY_BOUND,
    SAMPLE_SALT,
    SAMPLE_SIZE,
    SCORE_BINS_PER_UNIT,
    TOKEN_BOUND,
    CatalogueSummary,
    DaySummary,
    SampledRequest,
    SampledSearch,
    words,
)
from rankops.errors import BadInput
from rankops.text import normalize_query

REQUEST_COLUMNS = ("day", "request_id", "query", "top_score", "results", "release")
_FIELDS = ("title", "description", "category", "brand", "attributes", "price")
_TEXT_FIELDS = _FIELDS[:-1]
_POLARS_WORD = r"[\p{L}\p{N}]+"
# Placeholders that feeds send for "no value", and the marks of a text decoded with the wrong character set.
_GARBLED = (
    r"(?i)#N/?A|#REF!|#VALUE!|\bundefined\b|\bnull\b|^\s*(?:n/?a|nan|none|tbd|xxx+|-+)\s*$|\?\?\?|\x{FFFD}|Ã[\x{80}-\x{BF}]|"
    r"â€|&(?:amp|lt|gt|quot|nbsp);|\[object Object\]|\$\{|\{\{|lorem ipsum"
)


@dataclass(frozen=True)
class Traffic:
    """Interactions of some days, the catalogue they ran on, and the request log of those days (when one was kept).

    ``requests`` has the columns of the server's request log; its scores are only ever compared between days that
    the same release answered.
    """

    interactions: pl.DataFrame
    catalogue: pl.DataFrame
    requests: pl.DataFrame | None = None

    @property
    def days(self) -> list[date]:
        """The days on which anything was searched, in order."""
        return sorted(day for day in self.interactions["day"].unique().to_list() if day is not None)

    def on(self, day: date) -> Traffic:
        """The traffic of one day (the catalogue is kept as it is)."""
        on_day = pl.col("day") == day
        requests = None if self.requests is None else self.requests.filter(_day(self.requests) == day)
        return Traffic(self.interactions.filter(on_day), self.catalogue, requests)


def summarize(traffic: Traffic) -> DaySummary:
    """Summarize traffic of any number of whole days. Raises :class:`BadInput` naming a table's missing columns."""
    return with_catalogue(traffic, summarize_catalogue(traffic.catalogue))


def summarize_days(traffic: Traffic) -> list[DaySummary]:
    """One summary per day that has traffic, in order; the catalogue is read once."""
    _require(traffic.interactions, COLUMNS["interactions"], "interactions")
    catalogue = summarize_catalogue(traffic.catalogue)
    return [with_catalogue(traffic.on(day), catalogue) for day in traffic.days]


def with_catalogue(traffic: Traffic, catalogue: CatalogueSummary) -> DaySummary:
    """:func:`summarize` with the catalogue already summarized."""
    _require(traffic.interactions, COLUMNS["interactions"], "interactions")
    values: dict[str, object] = {"catalogue": catalogue}
    values |= _searches(traffic) if traffic.interactions.height else {}
    values |= _requests(traffic.requests) if traffic.requests is not None and traffic.requests.height else {}
    return DaySummary.model_validate(values)


def price_bin(price: float) -> int:
    """Bin of a positive, finite price: eight bins an octave."""
    return math.floor(math.log2(price) * PRICE_BINS_PER_OCTAVE)


def summarize_catalogue(catalogue: pl.DataFrame) -> CatalogueSummary:
    """One snapshot of the product feed. Raises :class:`BadInput` naming missing columns."""
    _require(catalogue, COLUMNS["catalogue"], "catalogue")
    good_price = catalogue.filter(pl.col("price").is_finite() & (pl.col("price") > 0))
    ids = sorted(catalogue["product_id"].drop_nulls().unique().to_list())
    cents = {
        row[0]: row[1]
        for row in good_price.select("product_id", (pl.col("price") * 100).round(0).cast(pl.Int64)).iter_rows()
    }
    return CatalogueSummary(
        snapshots=1,
        rows=catalogue.height,
        by_category=_tally(catalogue["category"]),
        nulls={field: count for field in _FIELDS if (count := int(_missing(catalogue, field).sum()))},
        garbled={field: count for field in _FIELDS if (count := int(_broken(catalogue, field).sum()))},
        price_histogram=dict(Counter(price_bin(price) for price in good_price["price"].to_list())),
        tokens=Counts.build(_catalogue_tokens(catalogue), TOKEN_BOUND),
        products=Counts.build(((key, 1, 0, 0) for key in ids), PRODUCT_BOUND),
        cents=Counts.build(((key, value, 0, 0) for key, value in cents.items()), PRODUCT_BOUND),
        priced=Counts.build(((key, 1, 0, 0) for key in cents), PRODUCT_BOUND),
    )


def _missing(catalogue: pl.DataFrame, field: str) -> pl.Series:
    column = catalogue[field]
    return column.is_null() if field == "price" else column.is_null() | (column.str.strip_chars() == "")


def _broken(catalogue: pl.DataFrame, field: str) -> pl.Series:
    column = catalogue[field]
    if field == "price":
        return ((~column.is_finite()) | (column <= 0)).fill_null(False)
    return column.str.contains(_GARBLED).fill_null(False)


def _catalogue_tokens(catalogue: pl.DataFrame) -> Iterator[tuple[str, int, int, int]]:
    found: Counter[str] = Counter()
    for field in _TEXT_FIELDS:
        found_words = (
            catalogue[field].drop_nulls().str.to_lowercase().str.extract_all(_POLARS_WORD).explode().drop_nulls()
        )
        for word, count in found_words.value_counts().iter_rows():
            found[normalize_query(word)] += count
    return ((word, count, 0, 0) for word, count in found.items())


def _searches(traffic: Traffic) -> dict[str, object]:
    shown = traffic.interactions.join(
        traffic.catalogue.select("product_id", "category", "price").unique(
            "product_id", keep="first", maintain_order=True
        ),
        on="product_id",
        how="left",
    ).with_columns(pl.col("category").fill_null(NO_CATEGORY))
    searches = _one_row_per_search(shown).join(_query_features(shown), on="query", how="left")
    clicks, by_click = shown.filter("clicked"), searches.filter("clicked")
    return {
        "days": sorted({day.isoformat() for day in searches["day"].to_list()}),
        "searches": searches.height,
        "searches_with_click": by_click.height,
        "impressions": shown.height,
        "clicks": clicks.height,
        "purchases": int(shown["purchased"].sum()),
        "tokens": Counts.build(_ranges(searches.select("day", key="tokens").explode("key").drop_nulls()), TOKEN_BOUND),
        "queries": Counts.build(_ranges(searches.select("day", key="normal")), QUERY_BOUND),
        "query_length": _histogram(searches["tokens"].list.len().clip(upper_bound=MAX_LENGTH)),
        "languages": _tally(searches["language"]),
        "non_ascii": int(searches["non_ascii"].sum()),
        "first_click_position": _histogram(by_click["position"].clip(1, MAX_POSITION)),
        "clicks_by_category": _tally(clicks["category"]),
        "clicks_by_product": Counts.build(_ranges(clicks.select("day", key="product_id")), PRODUCT_BOUND),
        "impressions_by_category": _tally(shown["category"]),
        "searches_by_clicked_category": _tally(by_click["category"]),
        "searches_by_top_category": _tally(searches["top_category"]),
        "clicked_price": dict(Counter(price_bin(p) for p in clicks["price"].to_list() if _usable(p))),
        "sample": _sample(searches),
    }


def _one_row_per_search(shown: pl.DataFrame) -> pl.DataFrame:
    """day, search_id, query, clicked, and position, category, price of the first click; category shown first."""
    order = shown.sort("day", "search_id", "position", "product_id")
    first = order.filter("clicked").unique(["day", "search_id"], keep="first", maintain_order=True)
    every = order.unique(["day", "search_id"], keep="first", maintain_order=True)
    return every.select("day", "search_id", "query", top_category="category").join(
        first.select("day", "search_id", "position", "category", "price", clicked=pl.lit(True)),
        on=["day", "search_id"],
        how="left",
    ).with_columns(pl.col("clicked").fill_null(False))  # fmt: skip


def _query_features(shown: pl.DataFrame) -> pl.DataFrame:
    """normal, tokens (unique, sorted), language and non_ascii of each distinct query, computed once."""
    queries = shown["query"].drop_nulls().unique().sort().to_list()
    normal = [normalize_query(query) for query in queries]
    return pl.DataFrame(
        {
            "query": queries,
            "normal": normal,
            "tokens": [sorted(set(words(query))) for query in normal],
            "language": [guess_language(query) for query in normal],
            "non_ascii": [not query.isascii() for query in normal],
        },
        schema_overrides={"query": pl.String, "normal": pl.String, "tokens": pl.List(pl.String)},
    )


def _sample(searches: pl.DataFrame) -> dict[str, SampledSearch]:
    keyed = searches.with_columns(key=pl.format("{}/{}", "day", "search_id"))
    kept = smallest(keyed["key"].to_list(), SAMPLE_SIZE, SAMPLE_SALT)
    return {
        row["key"]: SampledSearch(
            day=row["day"].toordinal(),
            query=row["normal"],
            clicked=row["clicked"],
            position=row["position"],
            price=row["price"] if _usable(row["price"]) else None,
            category=row["category"] if row["clicked"] else None,
        )
        for row in keyed.filter(pl.col("key").is_in(list(kept))).iter_rows(named=True)
    }


def _requests(requests: pl.DataFrame) -> dict[str, object]:
    _require(requests, REQUEST_COLUMNS, "request log")
    log = requests.with_columns(_day(requests).alias("day"), pl.col("top_score").cast(pl.Float64).fill_nan(None))
    scores = log.filter(pl.col("results") > 0)["top_score"].drop_nulls()
    keyed = log.with_columns(key=pl.format("{}/{}", "day", "request_id")).unique(
        "key", keep="first", maintain_order=True
    )
    kept = smallest(keyed["key"].to_list(), SAMPLE_SIZE, SAMPLE_SALT)
    return {
        "requests": log.height,
        "zero_results": int((log["results"] == 0).sum()),
        "releases": _tally(log["release"]),
        "top_score": dict(Counter(math.floor(score * SCORE_BINS_PER_UNIT) for score in scores.to_list())),
        "request_sample": {
            row["key"]: SampledRequest(
                day=row["day"].toordinal(),
                query=normalize_query(row["query"]),
                top_score=row["top_score"] if row["results"] else None,
                results=row["results"],
            )
            for row in keyed.filter(pl.col("key").is_in(list(kept))).iter_rows(named=True)
        },
    }


def _day(requests: pl.DataFrame) -> pl.Expr:
    """The log's day as a date; JSON and old logs carry it as ISO text."""
    if requests.schema.get("day") == pl.String:
        return pl.col("day").str.to_date("%Y-%m-%d")
    return pl.col("day").cast(pl.Date)


def _ranges(rows: pl.DataFrame) -> Iterator[tuple[str, int, int, int]]:
    """``(key, count, first day, last day)`` from columns day, key."""
    grouped = rows.group_by("key").agg(pl.len(), first=pl.col("day").min(), last=pl.col("day").max())
    return ((key, count, first.toordinal(), last.toordinal()) for key, count, first, last in grouped.iter_rows())


def _tally(values: pl.Series) -> dict[str, int]:
    return {str(key): int(count) for key, count in values.fill_null(NO_CATEGORY).value_counts().iter_rows()}


def _histogram(values: pl.Series) -> dict[int, int]:
    return {int(key): int(count) for key, count in values.drop_nulls().value_counts().iter_rows()}


def _usable(price: float | None) -> bool:
    return price is not None and math.isfinite(price) and price > 0


def _require(table: pl.DataFrame, columns: object, name: str) -> None:
    missing = [column for column in columns if column not in table.columns]  # type: ignore[attr-defined]
    if missing:
        raise BadInput(
            f"the {name} table has no column {', '.join(missing)} (it has {', '.join(table.columns) or 'none'})",
            "give the table as rankops.dataset or the server's request log defines it",
        )
