"""All steps of preparing a shop's tables: personal data, cleaning, near-duplicates, outliers, sessions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import polars as pl

from rankops.data.cleaning import (
    clean_catalogue,
    clean_interactions,
    remove_personal_data,
    remove_personal_queries,
)
from rankops.data.near_duplicates import THRESHOLD, find_near_duplicates
from rankops.data.outliers import LIMITS, Limits, drop_bots, drop_price_outliers
from rankops.data.sessions import session_facts
from rankops.data.steps import EXAMPLES, Preparation, Step
from rankops.dataset import Dataset
from rankops.text import product_texts

VERSION = 1
"""Part of the key under which datasets are remembered; raise it when a step changes what it does."""

MAX_COMPARED = 200_000
"""In larger imported catalogues near-duplicates are not looked for: it would take more than a few minutes."""

NearDuplicateMode = Literal["report", "merge", "skip"]


@dataclass(frozen=True)
class PreparationOptions:
    """``near_duplicates``: ``report`` counts them, ``merge`` keeps one product of each group and gives it the events of
    the others. Merging is for feeds that list one product several times; products that differ in a size or a model
    number are near-duplicates too, and a shop wants each of them found (of the 822 groups in ``search_icecat`` most
    are such).
    """

    near_duplicates: NearDuplicateMode = "report"
    similarity: float = THRESHOLD
    limits: Limits = LIMITS


def prepare_tables(
    catalogue: pl.DataFrame,
    interactions: pl.DataFrame,
    options: PreparationOptions | None = None,
    progress: Callable[[str], None] | None = None,
) -> tuple[pl.DataFrame, pl.DataFrame, Preparation]:
    """Catalogue and interactions as they should be learned from, and what was done to them.

    Raises :class:`rankops.errors.BadInput` where so much would be dropped that the input must be wrong.
    """
    chosen, log = options or PreparationOptions(), Preparation()
    report = progress or (lambda _message: None)
    report(f"cleaning {catalogue.height:,} products and {interactions.height:,} impressions")
    interactions = remove_personal_data(interactions, log)
    products = clean_catalogue(catalogue, log)
    report(f"looking for near-duplicates among {products.height:,} products")
    products, same = near_duplicates(products, chosen, log)
    if same:
        interactions = interactions.with_columns(pl.col("product_id").replace(same))
    products = drop_price_outliers(products, log, chosen.limits)
    events = clean_interactions(interactions, products, log)
    events = drop_bots(events, log, chosen.limits)
    log.change("sessions", "interactions", events.height, {})
    facts = session_facts(events)
    log.steps[-1].examples.extend([f"{name} {count:,}" for name, count in facts.items()])
    return products, events, log


def prepare_dataset(
    dataset: Dataset,
    options: PreparationOptions | None = None,
    *,
    typed_queries: bool = True,
    progress: Callable[[str], None] | None = None,
) -> Dataset:
    """An imported dataset, prepared; steps are added to ``info["preparation"]``, judgements follow their products.

    ``typed_queries`` is false where the queries are no words of people (offers to match, invoices): personal data is
    not looked for there, because article numbers look like telephone numbers.
    """
    chosen = options or PreparationOptions()
    if dataset.catalogue.height > MAX_COMPARED:
        chosen = replace(chosen, near_duplicates="skip")
    if dataset.interactions.height:
        products, events, log = prepare_tables(dataset.catalogue, dataset.interactions, chosen, progress)
        same: dict[str, str] = {}
    else:
        log, events = Preparation(), dataset.interactions
        if progress is not None:
            progress(f"cleaning {dataset.catalogue.height:,} products, looking for near-duplicates")
        products, same = near_duplicates(clean_catalogue(dataset.catalogue, log), chosen, log)
        products = drop_price_outliers(products, log, chosen.limits)
    queries = remove_personal_queries(dataset.queries, log) if typed_queries else dataset.queries
    judged = dataset.judgements.with_columns(pl.col("product_id").replace(same)) if same else dataset.judgements
    rules = {
        "query was dropped": pl.col("query_id").is_in(queries["query_id"].implode()),
        "product was dropped": pl.col("product_id").is_in(products["product_id"].implode()),
        "product was merged": pl.struct("query_id", "product_id").is_first_distinct(),
    }
    ordered = judged.sort(["query_id", "product_id", "grade"], descending=[False, False, True])
    judgements = log.drop("clean", "judgements", ordered, rules, show=["query_id", "product_id"])
    steps = [*_imported(dataset), *dataset.info.get("preparation", []), *log.facts()]
    return replace(
        dataset,
        catalogue=products.sort("product_id"),
        interactions=events,
        queries=queries,
        judgements=judgements,
        info={**dataset.info, "preparation": steps},
    )


def _imported(dataset: Dataset) -> list[dict[str, Any]]:
    """What the importer itself left out, where it counted that as ``info["dropped"]``."""
    dropped: dict[str, int] = dataset.info.get("dropped", {})
    if not dropped:
        return []
    after = dataset.interactions.height
    step = Step("import", "interactions", after + sum(dropped.values()), after, 0, dropped)
    return [asdict(step)]


def near_duplicates(
    catalogue: pl.DataFrame, options: PreparationOptions, log: Preparation
) -> tuple[pl.DataFrame, dict[str, str]]:
    """The catalogue, and which product each merged one became; see :class:`PreparationOptions`."""
    catalogue = catalogue.sort("product_id")
    if options.near_duplicates == "skip":
        log.change("near-duplicates (not looked for)", "catalogue", catalogue.height, {})
        return catalogue, {}
    texts = product_texts(catalogue.iter_rows(named=True))
    groups = find_near_duplicates(texts, options.similarity).groups()
    ids = catalogue["product_id"].to_list()
    titles = catalogue["title"].to_list()
    same = {ids[member]: ids[group[0]] for group in groups for member in group[1:]}
    examples = [" = ".join(f"{ids[row]} {titles[row][:50]}" for row in group[:2]) for group in groups[:EXAMPLES]]
    name = f"near-duplicates (similarity {options.similarity:g})"
    if options.near_duplicates == "report":
        found = {f"found in {len(groups):,} groups, kept": len(same) + len(groups)} if groups else {}
        log.change(name, "catalogue", catalogue.height, found, examples)
        return catalogue, {}
    rules = {"merged into another product": ~pl.col("product_id").is_in(list(same))}
    kept = log.drop(name, "catalogue", catalogue, rules, show=["product_id", "title"])
    log.steps[-1].examples[:] = examples
    return kept, same
