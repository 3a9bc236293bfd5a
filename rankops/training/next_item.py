"""Fitting a next-item model: item-item weights over baskets and over what products say of themselves.

EASE^R in closed form (:func:`rankops.cooccurrence.ease`) over the sum of the weighted co-occurrence and the inner
products of the products' texts (words, and vectors of the base model): to the fit, every word is one more basket.
A product that never sold is so tied to what resembles it, and one that sold often lets its baskets speak. On top,
products with few sales are lifted towards what resembles them (``boost / (1 + sales / 30)``): measured on ``retail``,
August and September 2011, a boost of 0.1 takes products with 10 to 49 sales from HR@20 .271 to .312 and from .300 to
.321, those with fewer from .111 to .222 and from .217 to .348 (text alone .148 and .326), and costs .010 of all. Where
the dev days ask for it, all products are lifted (``text_boost``): after a drift, baskets of the days before it say
little of what goes with what (generated shop, the three days of the drift: HR@20 .411 without, .439 with 0.2, text
alone .452; on ``retail`` it never wins).

Settings are tried on the dev days, one list of the spec after another, each from the best of the lists before
(coordinate descent). Another value takes the place of the first one of its list only where it is better by more than
one standard error of the paired difference (Breiman et al., Classification and Regression Trees, 1984): a few hundred
questions tell settings apart badly, and the best of many is often just lucky. The last fit is on train and dev days
together, with the best setting.

Where the spec has a sequential part (:mod:`rankops.training.sequence`) it is fitted on the same baskets, and its weight
is tried on the same dev days by the same rule, last of all: it must win its place. Where it does, a second network is
fitted on all days; where it does not, the checkpoint is the one that a spec without it makes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from rankops.baskets import baskets_of, contexts, next_item_view
from rankops.cooccurrence import (
    Items,
    Matrix,
    basket_weights,
    context_matrix,
    ease,
    gram,
    items_of,
    rank,
    vector_gram,
    word_gram,
)
from rankops.dataset import Dataset, load_dataset
from rankops.errors import BadInput
from rankops.files import staged_directory, write_json
from rankops.next_item import NextItemModel, truncated
from rankops.sequence import SequenceConfig
from rankops.specs import RecommendationSpec, SequenceSpec
from rankops.training.job import (
    Progress,
    ShouldStop,
    TrainingInterrupted,
    TrainingJob,
    TrainingResult,
    never_stop,
)

if TYPE_CHECKING:
    from rankops.torch_sequence import TorchSequence

DEPTH = 20
"""HR@20 chooses the setting."""
_RECENT_DAYS = 28.0
_FADE_SALES = 30.0
_WORD_SHARPNESS, _VECTOR_SHARPNESS = 3, 4


@dataclass(frozen=True)
class Setting:
    """One point of the grid; see :class:`rankops.specs.RecommendationSpec`."""

    half_life: float
    size_exponent: float
    regularization: float
    word_weight: float
    text_weight: float
    new_item_boost: float
    text_boost: float


@dataclass(frozen=True)
class _Grams:
    """What a fit sums up: the texts' inner products over the same products as the baskets.

    ``alike`` is what lifts products: both, sharpened, with a zero diagonal.
    """

    words: Matrix
    vectors: Matrix
    alike: Matrix

    @classmethod
    def of(cls, texts: Sequence[str], encoded: Matrix | None) -> _Grams:
        """Of the products' texts, and of their vectors where any setting wants them."""
        words = word_gram(texts)
        vectors = np.zeros_like(words) if encoded is None else vector_gram(encoded)
        # Every fit needs it and no setting changes it.
        alike = words**_WORD_SHARPNESS + vectors**_VECTOR_SHARPNESS
        np.fill_diagonal(alike, 0.0)
        return cls(words, vectors, alike)


def train(job: TrainingJob, progress: Progress, should_stop: ShouldStop = never_stop) -> TrainingResult:
    """Fit a model on the job's dataset and write the checkpoint folder ``job.output``.

    The same job gives the same bytes. Item-item fits are not resumed but begun again: all take a minute. A sequential
    part goes on from its last epoch. Raises :class:`BadInput` for a dataset without baskets and
    :class:`TrainingInterrupted` when asked to stop.
    """
    started = time.monotonic()
    seen = next_item_view(load_dataset(job.dataset), job.recommendation)
    baskets = baskets_of(seen.interactions)
    dev = seen.split("dev")
    ids = _fitted_products(seen.catalogue, baskets, job.recommendation.max_items)
    progress(f"next item: {baskets.height:,} baskets, {len(ids):,} products, {dev.height:,} dev questions")
    texts = dict(zip(seen.catalogue["product_id"].to_list(), seen.product_texts(), strict=True))
    vectors = _vectors(job, [texts[product] for product in ids], progress)
    grams = _Grams.of([texts[product] for product in ids], vectors if any(job.recommendation.text_weights) else None)
    early = baskets.filter(pl.col("day") < pl.lit(seen.info["dev_from"]).str.to_date())
    judge = _Judge(items_of(early, ids), grams, dev, seen.judgements)
    best, curve = _search(job.recommendation, judge, progress, should_stop)
    items = items_of(baskets, ids)
    facts: dict[str, Any] = {"setting": best.__dict__, "baskets": baskets.height}
    sequence = None
    if job.recommendation.sequence is not None and vectors is not None:
        fitting = _Fitting(job, job.recommendation.sequence, vectors, progress, should_stop)
        weight, points = fitting.weigh(early, judge, best)
        curve += [(curve[-1][0] + place, value) for place, value in enumerate(points, 1)]
        facts["sequence_weight"] = weight
        sequence = fitting.fitted(baskets, items, weight, "whole") if weight else None
    progress(f"next item: last fit on all {baskets.height:,} baskets with {best}")
    size = 0 if sequence is None else sum(weight.numel() for weight in sequence.network.parameters())
    result = _result(job, seen, baskets, curve, size, time.monotonic() - started)
    facts["dev_hr@20"] = result.dev_metric_best
    model = truncated(fit(items, grams, best), ids, items.recent(_RECENT_DAYS), job.recommendation.neighbours, facts)
    _write(job, replace(model, sequence=sequence), result)
    return result


def fit(items: Items, grams: _Grams, setting: Setting) -> Matrix:
    """The dense ``(n, n)`` weights of one setting."""
    weights = basket_weights(items, half_life=setting.half_life, size_exponent=setting.size_exponent)
    total = gram(items, weights)
    total += np.float32(setting.word_weight) * grams.words + np.float32(setting.text_weight) * grams.vectors
    return ease(total, setting.regularization) + lift(items, grams, setting)


def lift(items: Items, grams: _Grams, setting: Setting) -> Matrix:
    """What products get for resembling the context, those with few sales more: ``(n, n)``, columns fade with sales."""
    boosts = setting.text_boost + setting.new_item_boost / (1.0 + items.sales / _FADE_SALES)
    return grams.alike * boosts.astype(np.float32)[None, :]


class _Judge:
    """HR@20 on the dev questions of what is fitted on the baskets before them."""

    def __init__(self, items: Items, grams: _Grams, dev: pl.DataFrame, judgements: pl.DataFrame) -> None:
        self._items, self._grams = items, grams
        self._contexts = contexts(dev)
        self._asked = context_matrix(self._contexts, items)
        held_out = dict(judgements.select("query_id", "product_id").iter_rows())
        self._held_out = [held_out[query_id] for query_id in dev["query_id"].to_list()]

    @property
    def items(self) -> Items:
        """What is fitted on: the baskets before the dev days."""
        return self._items

    def scores(self, setting: Setting) -> Matrix:
        """Fit, and score all products ``(questions, n)``."""
        return np.asarray(self._asked @ fit(self._items, self._grams, setting))

    def probabilities(self, sequence: TorchSequence) -> Matrix:
        """Those of a sequential part ``(questions, n)``; 0 where it knows nothing of the context."""
        place, found = self._items.place, np.zeros(self._asked.shape, np.float32)
        for row, context in enumerate(self._contexts):
            if known := [place[product] for product in context if product in place]:
                found[row] = sequence.probabilities(known)
        return found

    def hits(self, scores: Matrix) -> NDArray[np.float64]:
        """Of each question whether its held-out product is among the first 20 (1.0 or 0.0)."""
        ranked = rank(scores, self._asked, self._items.ids, DEPTH)
        return np.array([product in best for product, best in zip(self._held_out, ranked, strict=True)], dtype=float)

    def popularity(self) -> float:
        """What recommending the best sellers of the last four weeks would score."""
        popular = np.tile(self._items.recent(_RECENT_DAYS).astype(np.float32), (len(self._held_out), 1))
        return float(self.hits(popular).mean())


def _search(
    spec: RecommendationSpec, judge: _Judge, progress: Progress, should_stop: ShouldStop
) -> tuple[Setting, list[tuple[int, float]]]:
    """The best setting, and ``(fits so far, best HR@20)``; the first point is popularity."""
    grid: dict[str, Sequence[float]] = {
        "half_life": spec.half_lives,
        "size_exponent": spec.size_exponents,
        "word_weight": spec.word_weights,
        "text_weight": spec.text_weights,
        "regularization": spec.regularizations,
        "new_item_boost": spec.new_item_boosts,
        "text_boost": spec.text_boosts,
    }
    best = Setting(**{name: values[0] for name, values in grid.items()})
    hits = judge.hits(judge.scores(best))
    curve = [(0, judge.popularity()), (1, float(hits.mean()))]
    total = 1 + sum(len(values) - 1 for values in grid.values())
    progress(f"fit 1/{total}  {best}: dev HR@20 {curve[-1][1]:.4f} (popularity {curve[0][1]:.4f})")
    for name, values in grid.items():
        for value in values[1:]:
            if should_stop():
                raise TrainingInterrupted("stopped between two fits", "run it again")
            tried = replace(best, **{name: value})
            found = judge.hits(judge.scores(tried))
            if _clearly_better(found, hits):
                best, hits = tried, found
            curve.append((len(curve), float(hits.mean())))
            line = f"{name} {value:g}: dev HR@20 {found.mean():.4f}, kept {hits.mean():.4f}"
            progress(f"fit {len(curve) - 1}/{total}  {line}")
    return best, curve


def _clearly_better(found: NDArray[np.float64], standing: NDArray[np.float64]) -> bool:
    difference = found - standing
    return bool(difference.mean() > difference.std() / np.sqrt(len(difference)))


def _fitted_products(catalogue: pl.DataFrame, baskets: pl.DataFrame, most: int) -> list[str]:
    """The catalogue's products, sorted; where there are too many to fit, those that sold best and then the newest."""
    sold = baskets.explode("product_ids").group_by(pl.col("product_ids").alias("product_id")).agg(pl.len().alias("n"))
    ranked = catalogue.join(sold, on="product_id", how="left", maintain_order="left").sort(
        pl.col("n").fill_null(0), "added_day", "product_id", descending=[True, True, False], nulls_last=True
    )
    return sorted(ranked["product_id"].head(most).to_list())


def _vectors(job: TrainingJob, texts: Sequence[str], progress: Progress) -> Matrix | None:
    """The texts by the base model, ``(n, d)``; None where nothing of the spec wants them."""
    if not any(job.recommendation.text_weights) and job.recommendation.sequence is None:
        return None
    from rankops.training.torch_encoder import TorchEncoder

    progress(f"next item: embedding {len(texts):,} product texts with the base model")
    encoder = TorchEncoder(
        job.base_model,
        job.threads,
        max_query_tokens=job.spec.max_query_tokens,
        max_product_tokens=job.spec.max_product_tokens,
    )
    return encoder.encode(texts, role="product")


@dataclass(frozen=True)
class _Fitting:
    """Of the sequential part: once on the days before the dev days, for its weight, and once on all."""

    job: TrainingJob
    spec: SequenceSpec
    vectors: Matrix
    progress: Progress
    should_stop: ShouldStop

    def weigh(self, early: pl.DataFrame, judge: _Judge, best: Setting) -> tuple[float, list[float]]:
        """The weight that the dev days choose, and the HR@20 kept after each that was tried."""
        probabilities = judge.probabilities(self.fitted(early, judge.items, max(self.spec.weights), "dev"))
        scores, (weight, *others) = judge.scores(best), self.spec.weights
        hits = judge.hits(scores + np.float32(weight) * probabilities)
        points = [float(hits.mean())]
        for value in others:
            found = judge.hits(scores + np.float32(value) * probabilities)
            if _clearly_better(found, hits):
                weight, hits = value, found
            points.append(float(hits.mean()))
            self.progress(f"sequence weight {value:g}: dev HR@20 {found.mean():.4f}, kept {hits.mean():.4f}")
        alone = judge.hits(probabilities).mean()
        self.progress(f"sequence alone: dev HR@20 {alone:.4f}; its weight is {weight:g}")
        return weight, points

    def fitted(self, baskets: pl.DataFrame, items: Items, weight: float, name: str) -> TorchSequence:
        """A network fitted on baskets, with this weight; ``name`` is that of its state in the job's work folder."""
        from rankops.torch_sequence import TorchSequence
        from rankops.training.prepare import open_work
        from rankops.training.sequence import Histories, fit_sequence

        open_work(self.job, self.job.key(), self.progress)
        histories = Histories.of(baskets, items, self.vectors, self.spec.half_life)
        network = fit_sequence(
            histories,
            self.spec,
            self.job.spec.seed,
            self.job.work / f"sequence-{name}",
            self.progress,
            self.should_stop,
        )
        return TorchSequence(SequenceConfig(weight=weight, length=self.spec.length), network)


def _result(
    job: TrainingJob, seen: Dataset, baskets: pl.DataFrame, curve: list[tuple[int, float]], size: int, seconds: float
) -> TrainingResult:
    pairs = baskets.select((pl.col("product_ids").list.len() * (pl.col("product_ids").list.len() - 1)).sum()).item()
    parameters = job.recommendation.neighbours * seen.catalogue.height + size  # of the network
    best = curve[-1][1]
    return TrainingResult(
        steps=curve[-1][0],
        stopped_early=False,
        best_step=next(step for step, value in curve if value == best),
        dev_metric_before=curve[0][1],
        dev_metric_best=best,
        losses=[],
        dev_curve=curve,
        seconds=round(seconds, 3),
        pairs=int(pairs),
        seed=job.spec.seed,
        parameters=parameters,
        trained_parameters=parameters,
        dev_queries=seen.split("dev").height,
        dev_products=seen.catalogue.height,
        inputs=job.key(),
        metric="HR@20",
        spec=job.spec,
    )


def _write(job: TrainingJob, model: NextItemModel, result: TrainingResult) -> None:
    if job.output.exists() and any(job.output.iterdir()):
        written = job.output / "training.json"
        if not (written.is_file() and json.loads(written.read_text()).get("inputs") == result.inputs):
            raise BadInput(f"{job.output} exists and is not the checkpoint of this job", "delete it or choose another")
        return
    with staged_directory(job.output) as staged:
        model.save(staged)
        facts: dict[str, Any] = {**result.model_dump(mode="json"), "seconds": 0.0}  # times would change the digest
        write_json(staged / "training.json", facts)
