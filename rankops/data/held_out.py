"""A part to judge on, for data whose test labels lie with somebody else.

Published sets keep the labels of their test split back. A model must be judged all the same before it is released, so
labelled queries are held out in its place. Where the dev split is large, half of its groups are judged on and the
other half keeps its own work (choosing steps, weights and thresholds). Where it is small all of it is judged on, with
as many train groups as a gate asks for, and a fifth of the other train groups takes its place. Groups of
near-duplicates stay together.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl

from rankops.dataset import Dataset, Split

LARGE_DEV = 400
"""Judged dev queries from which on half of them suffice to judge on."""
ENOUGH_JUDGED = 30
"""Queries with something relevant that are judged on, at most half of what there is: as many as a gate asks for."""
_DEV_SHARE = 5
_SEED = 20240607


def with_held_out(dataset: Dataset) -> Dataset:
    """The dataset with a judged test split: as it is where it has one, or has no queries to judge (baskets).

    Test queries without judgements are left out: they can be predicted, not measured. ``info["held_out"]`` says what
    was done. A dataset without judged dev queries stays as it is too: its evaluation says what is missing.
    """
    judged = set(dataset.judgements["query_id"].to_list())
    labelled = dataset.queries.filter(pl.col("query_id").is_in(list(judged)))
    counts = dict(labelled.group_by("split").len().iter_rows())
    if counts.get("test") or not counts.get("dev") or not counts.get("train"):
        return dataset
    dev, train = (_groups(labelled, split) for split in ("dev", "train"))
    if counts["dev"] >= LARGE_DEV:
        moved: dict[str, Split] = dict.fromkeys(dev[: len(dev) // 2], "test")
        told = "half of the dev split's groups"
    else:
        judged_too = _until_enough(dataset, labelled, dev, train)
        rest = train[len(judged_too) :]
        in_place = rest[: max(1, len(rest) // _DEV_SHARE)]
        moved = {**dict.fromkeys([*dev, *judged_too], "test"), **dict.fromkeys(in_place, "dev")}
        told = f"the dev split and {len(judged_too)} train groups; a fifth of the other train groups is dev instead"
    split = pl.col("group_id").replace_strict(moved, default=pl.col("split"), return_dtype=pl.String)
    unlabelled = dataset.queries.filter(pl.col("split") == "test").height
    queries = dataset.queries.filter(pl.col("split") != "test").with_columns(split.alias("split"))
    splits = {name: queries.filter(pl.col("split") == name).height for name in ("train", "dev", "test")}
    info = {
        **dataset.info,
        "held_out": {"judged on": told, "test queries without labels, left out": unlabelled},
        "counts": {**dataset.info.get("counts", {}), **splits},
    }
    return replace(dataset, queries=queries, info=info)


def given_back(dataset: Dataset, to: Split) -> Dataset:
    """The dataset with its test queries in the split ``to``: what is learned from once the judging is done."""
    split = pl.when(pl.col("split") == "test").then(pl.lit(to)).otherwise(pl.col("split"))
    info = {**dataset.info, "given_back": f"the test queries are in the {to} split"}
    return replace(dataset, queries=dataset.queries.with_columns(split.alias("split")), info=info)


def _until_enough(dataset: Dataset, labelled: pl.DataFrame, dev: list[str], train: list[str]) -> list[str]:
    """The first train groups that, with the dev split's, hold enough queries to judge on."""
    relevant = dataset.judgements.filter(pl.col("grade") > 0)
    sizes = dict(labelled.join(relevant, on="query_id", how="semi").group_by("group_id").len().iter_rows())
    wanted = min(ENOUGH_JUDGED, sum(sizes.values()) // 2)
    have, taken = sum(sizes.get(group, 0) for group in dev), 0
    while have < wanted and taken < len(train) - 1:
        have += sizes.get(train[taken], 0)
        taken += 1
    return train[:taken]


def _groups(labelled: pl.DataFrame, split: Split) -> list[str]:
    """The groups of a split, shuffled by a fixed seed."""
    names = labelled.filter(pl.col("split") == split)["group_id"].unique().sort()
    order = np.random.default_rng(_SEED).permutation(len(names))
    return [names[int(place)] for place in order]
