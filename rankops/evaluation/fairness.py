"""Who is shown: the share of attention that brands and new products get, against their share of what is relevant.

Attention falls with the rank as in DCG, ``1 / log2(rank + 1)`` over the first ten results, and every query has one unit
to give (Singh & Joachims, KDD 2018). Relevance is a query's grades, normalized the same way. A *disparity ratio* of 1
is exposure in proportion to relevance (their "disparate treatment" constraint); 0.5 is half of what is due. The Gini
index of the brands' exposure says how concentrated it is: 0 all alike, 1 all to one.

A shop's sellers are its brands here (the catalogue knows no other seller); a new brand is one whose every product is
new. Results without a judgement count as exposure but not as relevance: where pools are thin, read the ratios between
systems rather than against 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from rankops.dataset import Dataset
from rankops.evaluation.bootstrap import Interval, interval_of, resampled_means
from rankops.evaluation.metrics import Run
from rankops.evaluation.slices import new_brands, new_products
from rankops.specs import GateSpec

DEPTH = 10
MOST_BRANDS = 10
_RESAMPLES = 1000
_OTHER = "other brands"

Floats = NDArray[np.float64]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Exposure(_Record):
    """One group of products. Shares are of 1; ``ratio`` is exposure by relevance of the challenger."""

    kind: str
    group: str
    products: int
    relevance: float
    exposure: dict[str, float]
    ratio: Interval


class Fairness(_Record):
    """Exposure by brand and by age; ``gini`` of each system's exposure over the catalogue's brands (None: no brands).

    ``skipped`` says why there is nothing.
    """

    rows: list[Exposure]
    gini: dict[str, float] | None = None
    skipped: str | None = None


def measure_exposure(
    dataset: Dataset,
    runs: Mapping[str, Run],
    queries: pl.DataFrame,
    spec: GateSpec,
    *,
    challenger: str,
    new_days: int,
) -> Fairness:
    """Exposure on the scorable ``queries`` (query_id, group_id). Decisions about pairs have none: one result each."""
    kinds = _kinds(dataset, new_days)
    if not kinds:
        return Fairness(rows=[], skipped="the catalogue names neither brands nor the days products were added")
    if all(len(results) <= 1 for results in runs[challenger].values()):
        return Fairness(rows=[], skipped="a decision about a pair shows nothing to choose from")
    ids, order = dataset.catalogue["product_id"].to_list(), queries.sort("query_id")
    table = _Table(order["query_id"].to_list(), order["group_id"].to_list(), {p: i for i, p in enumerate(ids)})
    relevant = dataset.judgements.filter(pl.col("grade") >= spec.min_grade)
    due = table.spread(
        {str(query): list(rows) for (query,), rows in _by_query(relevant)},
    )
    given = {system: table.spread(_attention(run)) for system, run in runs.items()}
    rows = [row for kind, labels in kinds.items() for row in _rows(kind, labels, table, due, given, challenger, spec)]
    gini = _ginis(kinds["brand"], table, given) if "brand" in kinds else None
    return Fairness(rows=rows, gini=gini)


def gini(values: Sequence[float]) -> float:
    """Of non-negative values: 0 where all are equal, towards 1 where one has everything; 0 for none."""
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    if not ordered.sum():
        return 0.0
    count = len(ordered)
    ranks = np.arange(1, count + 1)
    return float((2 * (ranks * ordered).sum() / ordered.sum() - (count + 1)) / count)


Spread = tuple[NDArray[np.intp], NDArray[np.intp], Floats]
"""Query rows, catalogue rows, and the share of the query's unit."""


class _Table:
    """Queries and products as rows, so that shares by group are sums."""

    def __init__(self, query_ids: Sequence[str], groups: Sequence[str], product: Mapping[str, int]) -> None:
        self.query = {query_id: row for row, query_id in enumerate(query_ids)}
        self.groups, self.product = groups, product

    def spread(self, weights: Mapping[str, Sequence[tuple[str, float]]]) -> Spread:
        """A unit of each query over the products that it weighs; products that left the catalogue count for nobody."""
        rows, products, shares = [], [], []
        for query_id, weighed in weights.items():
            if query_id in self.query and (total := sum(weight for _, weight in weighed)):
                for product, weight in weighed:
                    if product in self.product:
                        rows.append(self.query[query_id])
                        products.append(self.product[product])
                        shares.append(weight / total)
        return np.asarray(rows, dtype=np.intp), np.asarray(products, dtype=np.intp), np.asarray(shares)

    def by_query(self, spread: Spread, member: NDArray[np.bool_]) -> Floats:
        """What the products of a group get of each query's unit, (queries,)."""
        rows, products, shares = spread
        kept = member[products]
        return np.bincount(rows[kept], shares[kept], minlength=len(self.query)).astype(np.float64)


def _by_query(relevant: pl.DataFrame) -> list[tuple[tuple[object, ...], list[tuple[str, float]]]]:
    grouped = relevant.sort("query_id", "product_id").group_by("query_id", maintain_order=True)
    return [
        (key, [(product, float(grade)) for product, grade in part.select("product_id", "grade").iter_rows()])
        for key, part in grouped
    ]


def _attention(run: Run) -> dict[str, list[tuple[str, float]]]:
    return {
        query_id: [(product, 1 / float(np.log2(rank + 1))) for rank, product in enumerate(products[:DEPTH], 1)]
        for query_id, products in run.items()
    }


def _kinds(dataset: Dataset, new_days: int) -> dict[str, list[str | None]]:
    """Labels of the catalogue's rows by kind of group; kinds that tell nothing apart are left out."""
    found: dict[str, list[str | None]] = {}
    brands = dataset.catalogue["brand"].replace("", None)
    if brands.drop_nulls().n_unique() > 1:
        found["brand"] = brands.to_list()
    for kind, fresh in (("product", new_products(dataset, new_days)), ("seller", new_brands(dataset, new_days))):
        if fresh is not None and fresh.drop_nulls().n_unique() > 1:
            found[kind] = [None if new is None else f"{'new' if new else 'old'} {kind}s" for new in fresh.to_list()]
    return found


def _rows(
    kind: str,
    labels: Sequence[str | None],
    table: _Table,
    due: Spread,
    given: Mapping[str, Spread],
    challenger: str,
    spec: GateSpec,
) -> list[Exposure]:
    """One row a group; of brands the ten that are due most, then all others together."""
    members = {
        label: np.asarray([own == label for own in labels])
        for label in sorted({own for own in labels if own is not None})
    }
    shares = {label: float(table.by_query(due, member).mean()) for label, member in members.items()}
    shown = sorted((label for label in members if shares[label]), key=lambda label: (-shares[label], label))
    if len(shown) > MOST_BRANDS + 1:
        rest = shown[MOST_BRANDS:]
        members[_OTHER] = np.any([members[label] for label in rest], axis=0)
        shown = [*shown[:MOST_BRANDS], _OTHER]
    found = []
    for label in shown:
        relevance = table.by_query(due, members[label])
        exposure = {system: table.by_query(spread, members[label]) for system, spread in given.items()}
        found.append(
            Exposure(
                kind=kind,
                group=label,
                products=int(members[label].sum()),
                relevance=float(relevance.mean()),
                exposure={system: float(values.mean()) for system, values in exposure.items()},
                ratio=_ratio(exposure[challenger], relevance, table.groups, spec),
            )
        )
    return found


def _ratio(exposure: Floats, relevance: Floats, groups: Sequence[str], spec: GateSpec) -> Interval:
    """Mean exposure by mean relevance, resampling groups of queries; draws in which nothing was due are left out."""
    draws = resampled_means(np.column_stack([exposure, relevance]), groups=groups, resamples=_RESAMPLES)
    draws = draws[draws[:, 1] > 0]
    return interval_of(
        draws[:, 0] / draws[:, 1],
        float(exposure.mean() / relevance.mean()),
        confidence=spec.confidence,
        n=len(exposure),
        groups=len(set(groups)),
    )


def _ginis(brands: Sequence[str | None], table: _Table, given: Mapping[str, Spread]) -> dict[str, float]:
    codes = {brand: place for place, brand in enumerate(sorted({brand for brand in brands if brand is not None}))}
    coded = np.asarray([-1 if brand is None else codes[brand] for brand in brands])
    found = {}
    for system, (_, products, shares) in given.items():
        own = coded[products]
        found[system] = gini(np.bincount(own[own >= 0], shares[own >= 0], minlength=len(codes)).tolist())
    return found
