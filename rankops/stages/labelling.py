"""Labels for less: which pairs to judge next, and which a released retriever may label by itself.

Both look at the same thing: a release's best products for the dataset's queries, with scores, and the dev judgements
that say how far a score can be believed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from rankops.errors import BadInput
from rankops.files import write_text

if TYPE_CHECKING:
    import polars as pl

    from rankops.dataset import Dataset, Split
    from rankops.predict import Resolved
    from rankops.release.searcher import Searcher

Progress = Callable[[str], None]
DEPTH = 50
_RIGHT = 2
_CHOSEN_FROM = 4000  # most uncertain candidates that diversity is weighed over: the greedy choice takes count x this
COLUMNS = ("query_id", "query", "product_id", "title", "probability", "uncertainty")


@dataclass(frozen=True)
class Scored:
    """``pairs``: query_id, product_id, score, query_row, product_row of the best products of each query."""

    pairs: pl.DataFrame
    searcher: Searcher
    queries: list[str]


def score_split(
    release: Resolved, dataset: Dataset, splits: Iterable[Split], progress: Progress, judged: pl.DataFrame | None = None
) -> Scored:
    """The best :data:`DEPTH` products of every query of the splits, and with ``judged`` those judged pairs too.

    Raises :class:`BadInput` where the release is no retriever, or its index lacks the dataset's products.
    """
    import polars as pl

    from rankops.release.searcher import Searcher

    if release.task != "retrieval":
        raise BadInput(f"{release.model} is a release for {release.task}", "give a retriever's")
    searcher = Searcher.open(release.folder, threads=os.cpu_count() or 1)
    ids = searcher.index.product_ids
    known = set(dataset.catalogue["product_id"].to_list())
    if not known & set(ids):
        raise BadInput(f"no product of the dataset is in the index of {release.model}", "give the dataset of its shop")
    place = {product: row for row, product in enumerate(ids)}
    wanted: dict[str, list[int]] = {}
    for query_id, product_id in judged.select("query_id", "product_id").iter_rows() if judged is not None else ():
        if product_id in place:
            wanted.setdefault(query_id, []).append(place[product_id])
    rows, queries = [], []
    asked = pl.concat([dataset.split(split) for split in splits])
    for number, (query_id, text) in enumerate(asked.select("query_id", "query").iter_rows()):
        found = searcher.rank(text, DEPTH, also=wanted.get(query_id, ()))
        for row, score in zip(found.rows.tolist(), found.scores.tolist(), strict=True):
            if ids[row] in known:
                rows.append((query_id, ids[row], score, number, row))
        queries.append(text)
        if (number + 1) % 200 == 0:
            progress(f"scored {number + 1:,} of {asked.height:,} queries")
    names = {"query_id": pl.String, "product_id": pl.String, "score": pl.Float64}
    schema = {**names, "query_row": pl.Int64, "product_row": pl.Int64}
    return Scored(pl.DataFrame(rows, schema=schema, orient="row"), searcher, queries)


def evidence(
    release: Resolved, dataset: Dataset, progress: Progress, *, judged_only: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Scores of the model's results for the dev split, and whether they were right: what nobody judged counts as wrong.

    With ``judged_only`` what nobody judged is left out instead. That is fair where the judged products are a fair
    sample of the model's results, and promises too much where they were picked otherwise. Raises :class:`BadInput`
    where there is none.
    """
    import polars as pl

    dev = dataset.split("dev").select("query_id")
    judged = dataset.judgements.join(dev, on="query_id", how="semi")
    scored = score_split(release, dataset, ["dev"], progress, judged)
    how: Literal["inner", "left"] = "inner" if judged_only else "left"
    known = scored.pairs.join(judged, on=["query_id", "product_id"], how=how, maintain_order="left")
    if known.is_empty():
        raise BadInput("no judged dev pair to learn from", "judge some products of dev queries")
    right = known.select((pl.col("grade").fill_null(0) >= _RIGHT).alias("right"))["right"]
    return known["score"].to_numpy(), right.to_numpy()


def label_next(
    release: Resolved, dataset: Dataset, out: Path, *, count: int, judged_only: bool, progress: Progress
) -> int:
    """Write the pairs to judge next (:data:`COLUMNS`, tab-separated, most useful first) and return their number.

    Candidates are unjudged results of train and dev queries; the test split stays untouched, because what a model
    chooses to have judged there would favour it. Raises :class:`BadInput` where nothing can be calibrated or is left.
    """
    import polars as pl

    from rankops.data.active_learning import calibrate, choose, uncertainty

    if count < 1:
        raise BadInput(f"{count} pairs", "ask for at least one")
    chance = calibrate(*evidence(release, dataset, progress, judged_only=judged_only))
    scored = score_split(release, dataset, ["train", "dev"], progress)
    pairs = scored.pairs.join(dataset.judgements, on=["query_id", "product_id"], how="anti", maintain_order="left")
    probability = chance(pairs["score"].to_numpy())
    pairs = pairs.with_columns(
        pl.Series("probability", probability), pl.Series("uncertainty", uncertainty(probability))
    )
    # Stable and complete order, so that the same inputs choose the same pairs.
    pairs = pairs.sort(["uncertainty", "query_id", "product_id"], descending=[True, False, False]).head(_CHOSEN_FROM)
    if pairs.is_empty():
        raise BadInput("every result of the model is judged", "take a larger dataset")
    progress(f"choosing {count:,} of {pairs.height:,} uncertain pairs")
    asked = scored.searcher.embed(scored.queries)
    vectors = scored.searcher.index.vectors[pairs["product_row"].to_numpy()]
    picked = choose(
        pairs["uncertainty"].to_numpy(), asked[pairs["query_row"].to_numpy()], vectors, min(count, pairs.height)
    )
    titles = dict(dataset.catalogue.select("product_id", "title").iter_rows())
    lines = ["\t".join(COLUMNS)]
    for row in pairs[picked].iter_rows(named=True):
        texts = (row["query_id"], scored.queries[row["query_row"]], row["product_id"], titles[row["product_id"]])
        lines.append("\t".join([*map(_field, texts), f"{row['probability']:.4f}", f"{row['uncertainty']:.4f}"]))
    write_text(out, "\n".join(lines) + "\n")
    return len(picked)


def pseudo_label(
    release: Resolved, dataset: Dataset, *, precision: float, judged_only: bool, progress: Progress
) -> Dataset:
    """The dataset with the train judgements that the release may add: precision proven at 95 % on the dev split.

    What was decided is in ``info["pseudo_labels"]``. Raises :class:`BadInput` where no threshold is proven.
    """
    import polars as pl

    from rankops.data.pseudo_labels import find_threshold, pseudo_labels

    scores, right = evidence(release, dataset, progress, judged_only=judged_only)
    threshold = find_threshold(scores, right, precision=precision)
    if threshold is None:
        raise BadInput(
            f"no score of {release.model} is proven to be right in {precision:.0%} of cases ({len(scores):,} judged)",
            "ask for a lower precision, or judge more dev pairs (rankops label-next)",
        )
    scored = score_split(release, dataset, ["train"], progress)
    new = pseudo_labels(scored.pairs, dataset.judgements, threshold)
    facts = {**asdict(threshold), "release": release.digest, "precision": precision, "labels": new.height}
    return replace(
        dataset,
        judgements=pl.concat([dataset.judgements, new]).sort("query_id", "product_id"),
        info={**dataset.info, "pseudo_labels": facts},
    )


def _field(text: str) -> str:
    return " ".join(text.split())
