"""Training examples: (query, clicked product, mined negatives), and what must never be a negative of what.

Clicks are incomplete, so a product that was not clicked may still be right. Four guards keep false negatives
out: everything that people clicked or judged relevant for a query *or its group* (near-duplicate queries) is
excluded; when negatives are mined, the very top of the base model's ranking is skipped, and what scores nearly as high
as the positive is too (the positive-aware filter of NV-Retriever: Moreira et al. 2024); and the batch sampler refuses
rows that are right for each other (:mod:`rankops.training.sampling`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from rankops.dataset import Dataset
from rankops.errors import BadInput
from rankops.text import normalize_query

_SKIP_TOP = 5
_SKIP_SHARE = 0.03
"""Of the pool. Measured on the generated shop (1,000 products): of the first 5 unclicked products 65 % are right for
the query, of ranks 5-35 27 %, of ranks 30-60 4 %, of random products 3 %."""
_POOL_SIZE = 30
_CEILING = 0.9
"""Of the positive's score: what scores higher is likely right. On the generated shop (10,294 pairs) it takes the share
of grade 3 among drawn negatives from 0.62 % to 0.34 %, at nearly the same hardness (mean cosine 0.309 to 0.301)."""
_BLOCK = 512


@dataclass(frozen=True)
class Examples:
    """Rows of training. ``queries[i]``, ``groups[i]``, ``products[i]``, ``weights[i]`` belong together.

    ``products`` and ``negatives`` hold catalogue row numbers; ``negatives[i]`` has one entry per mined negative
    (int64, shape rows x hard_negatives). ``relevant`` maps a group to all catalogue rows known to be right for it.
    """

    queries: list[str]
    groups: list[str]
    products: np.ndarray
    weights: np.ndarray
    relevant: Mapping[str, frozenset[int]]
    negatives: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), dtype=np.int64))

    def __len__(self) -> int:
        return len(self.queries)

    def row_products(self, row: int) -> list[int]:
        """The positive and the negatives of one row."""
        return [int(self.products[row]), *(int(p) for p in self.negatives[row])]


def build_examples(dataset: Dataset, pairs: pl.DataFrame, same_text: Sequence[int]) -> Examples:
    """Training rows from ``pairs`` (query, product_id, weight) of the train split; negatives are not mined yet.

    ``same_text[row]`` is one number for all catalogue rows with one text (:func:`text_numbers`). Pairs of one
    normalized query and product are merged, their weights added. Where pairs have a column ``source`` (augmented
    ones), a row belongs to the group of its source, so that the two are never negatives of each other. Raises
    :class:`BadInput` when a product is not in the catalogue, a weight is not positive and finite, or fewer than two
    queries remain.
    """
    number = {product_id: row for row, product_id in enumerate(dataset.catalogue["product_id"])}
    _check_pairs(pairs, number)
    texts = [normalize_query(query) for query in pairs["query"]]
    sources = [normalize_query(query) for query in pairs["source"]] if "source" in pairs.columns else texts
    weights = pairs["weight"].cast(pl.Float64)
    merged = (
        pl.DataFrame({"query": texts, "source": sources, "product": pairs["product_id"], "weight": weights})
        .filter(pl.col("query") != "")
        .sort("query", "product", "source")
        .group_by("query", "product", maintain_order=True)
        .agg(pl.col("weight").sum(), pl.col("source").first())
        .sort("query", "product")
    )
    if merged["query"].n_unique() < 2:
        raise BadInput(
            f"{merged['query'].n_unique()} distinct training queries: in-batch negatives need at least two",
            "add days of interactions, or check the splits",
        )
    groups = query_groups(dataset)
    products = np.array([number[p] for p in merged["product"]], dtype=np.int64)
    queries = merged["query"].to_list()
    row_groups = [groups.get(source, source) for source in merged["source"].to_list()]
    relevant = _relevant(dataset, number, groups)
    for group, product in zip(row_groups, products.tolist(), strict=True):
        relevant.setdefault(group, set()).add(product)
    return Examples(queries, row_groups, products, merged["weight"].to_numpy(), _with_twins(relevant, same_text))


def query_groups(dataset: Dataset) -> dict[str, str]:
    """Normalized text of every known query -> its group."""
    return {normalize_query(q): g for q, g in dataset.queries.select("query", "group_id").iter_rows()}


def _check_pairs(pairs: pl.DataFrame, number: Mapping[str, int]) -> None:
    weights = pairs["weight"].cast(pl.Float64)
    bad = pairs.filter(~(weights.is_finite() & (weights > 0)))
    if bad.height:
        raise BadInput(f"training pair {bad.row(0)} has a weight that is not positive and finite", "fix the pairs")
    unknown = pairs.filter(~pl.col("product_id").is_in(list(number)))
    if unknown.height:
        raise BadInput(
            f"{unknown.height} training pairs name a product that is not in the catalogue, "
            f"first {unknown['product_id'][0]!r}",
            "rematerialize the dataset: interactions and catalogue are of different days",
        )


def _relevant(dataset: Dataset, number: Mapping[str, int], groups: Mapping[str, str]) -> dict[str, set[int]]:
    """Group -> catalogue rows that were clicked, bought, or judged above 0 (judgements of the train split only)."""
    shown = dataset.interactions.filter(pl.col("clicked") | pl.col("purchased"))
    liked = shown.select("query", "product_id").unique()
    train = dataset.split("train").select("query_id", "query")
    judged = dataset.judgements.filter(pl.col("grade") > 0).join(train, on="query_id").select("query", "product_id")
    relevant: dict[str, set[int]] = {}
    for query, product in pl.concat([liked, judged]).iter_rows():
        text = normalize_query(query)
        if product in number:
            relevant.setdefault(groups.get(text, text), set()).add(number[product])
    return relevant


def _with_twins(relevant: Mapping[str, set[int]], same_text: Sequence[int]) -> dict[str, frozenset[int]]:
    """A variant with the text of a relevant product is relevant too: the model cannot tell them apart."""
    rows_of: dict[int, list[int]] = {}
    for row, text in enumerate(same_text):
        rows_of.setdefault(text, []).append(row)
    return {
        group: frozenset(twin for row in rows for twin in rows_of[same_text[row]]) for group, rows in relevant.items()
    }


def text_numbers(texts: Sequence[str]) -> list[int]:
    """Number the distinct texts, in order of appearance."""
    seen: dict[str, int] = {}
    return [seen.setdefault(text, len(seen)) for text in texts]


def mine_negatives(
    examples: Examples,
    query_vectors: np.ndarray,
    pool_vectors: np.ndarray,
    pool: Sequence[int],
    *,
    per_row: int,
    seed: int,
) -> np.ndarray:
    """Catalogue rows that the base model ranks high for a query though nobody chose them; int64 (rows, per_row).

    ``query_vectors`` (rows, d) belongs to ``examples``, ``pool_vectors`` (pool, d) to the catalogue rows ``pool``;
    all have length 1. Of each query's ranking without its relevant products, the first five (3 % of a large pool)
    are skipped as likely false negatives, and so is what scores more than 90 % of the row's positive (of the best known
    one where that is not in the pool); ``per_row`` are drawn from the thirty that follow. Raises :class:`BadInput` when
    the catalogue is too small for that many.
    """
    place = {product: column for column, product in enumerate(pool)}
    generator = np.random.default_rng([seed, 1])
    members = np.asarray(pool, dtype=np.int64)
    negatives = np.empty((len(examples), per_row), dtype=np.int64)
    most = max((len(rows) for rows in examples.relevant.values()), default=0)
    skip = max(_SKIP_TOP, round(_SKIP_SHARE * len(members)))
    depth = min(len(members), most + skip + max(_POOL_SIZE, per_row))
    for start in range(0, len(examples), _BLOCK):
        scores = query_vectors[start : start + _BLOCK] @ pool_vectors.T
        ranked = np.argsort(-scores, axis=1, kind="stable")[:, :depth]
        for offset, order in enumerate(ranked):
            row = start + offset
            relevant = examples.relevant[examples.groups[row]]
            columns = np.array([c for c in order.tolist() if pool[c] not in relevant], dtype=np.int64)
            best = _positive_score(scores[offset], place, int(examples.products[row]), relevant)
            first = max(skip, int((scores[offset][columns] > _CEILING * best).sum())) if best > 0 else skip
            negatives[row] = _draw(members[columns], per_row, first, generator, examples.queries[row])
    return negatives


def _positive_score(scores: np.ndarray, place: Mapping[int, int], positive: int, relevant: frozenset[int]) -> float:
    """The positive's score where the pool has it, else the best of the other right products, else 0."""
    if positive in place:
        return float(scores[place[positive]])
    return max((float(scores[place[product]]) for product in relevant if product in place), default=0.0)


def _draw(wrong: np.ndarray, count: int, skip: int, generator: np.random.Generator, query: str) -> np.ndarray:
    if len(wrong) < count:
        raise BadInput(
            f"only {len(wrong)} products are not relevant for {query!r}, {count} hard negatives are wanted",
            "lower training.hard_negatives, or train on a larger catalogue",
        )
    skip = min(skip, len(wrong) - count)
    return generator.choice(wrong[skip : skip + max(_POOL_SIZE, count)], size=count, replace=False)
