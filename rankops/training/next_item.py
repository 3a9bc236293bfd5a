"""Fitting a next-item model: the setting of its item-item weights (:mod:`rankops.training.item_item`) and the last fit.

Settings are tried on the dev days, one list of the spec after another, each from the best of the lists before
(coordinate descent). Another value takes the place of the first one of its list only where it is better by more than
one standard error of the paired difference (Breiman et al., Classification and Regression Trees, 1984): the best of
many is often just lucky. New products are too few for all questions to hear of them, so the lift of products with few
sales is chosen last, by questions of theirs, and may cost half a hundredth of all hits
(:func:`rankops.training.dev_baskets.best_for_new`). The last fit is on train and dev days together, with the best
setting.

Where the spec has a sequential part (:mod:`rankops.training.sequence`) it is fitted on the same baskets, and its weight
is tried on the same dev days by the same rule, last of all: it must win its place. Where it does, a second network is
fitted on all days; where it does not, the checkpoint is the one that a spec without it makes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from rankops.baskets import baskets_of, next_item_view
from rankops.cooccurrence import Items, Matrix, items_of
from rankops.dataset import Dataset, load_dataset
from rankops.errors import BadInput
from rankops.files import staged_directory, write_json
from rankops.next_item import NextItemModel, truncated
from rankops.sequence import SequenceConfig
from rankops.specs import RecommendationSpec, SequenceSpec
from rankops.training.dev_baskets import Questions, best_for_new, clearly_better, dev_questions
from rankops.training.item_item import Grams, Setting, fit
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
    grams, vectors = _grams(job, seen, ids, progress)
    early = baskets.filter(pl.col("day") < pl.lit(seen.info["dev_from"]).str.to_date())
    every, new = dev_questions(seen, items_of(early, ids))
    progress(f"next item: {len(every):,} questions choose the setting, {len(new):,} of new products")
    search = _Search(job.recommendation, grams, every, new, progress, should_stop)
    best, curve = search.best(), search.curve
    items = items_of(baskets, ids)
    facts: dict[str, Any] = {"setting": best.__dict__, "baskets": baskets.height}
    sequence = None
    if job.recommendation.sequence is not None and vectors is not None:
        fitting = _Fitting(job, job.recommendation.sequence, vectors, progress, should_stop)
        weight, points = fitting.weigh(early, every, every.scores(fit(every.items, grams, best)))
        curve += [(curve[-1][0] + place, value) for place, value in enumerate(points, 1)]
        facts["sequence_weight"] = weight
        sequence = fitting.fitted(baskets, items, weight, "whole") if weight else None
    progress(f"next item: last fit on all {baskets.height:,} baskets with {best}")
    size = 0 if sequence is None else sum(weight.numel() for weight in sequence.network.parameters())
    result = _result(job, seen, baskets, curve, size, time.monotonic() - started)
    facts["dev_hr@20"] = result.dev_metric_best
    model = truncated(fit(items, grams, best), ids, items.popularity, job.recommendation.neighbours, facts)
    _write(job, replace(model, sequence=sequence), result)
    return result


@dataclass(frozen=True)
class _Search:
    """Which setting the dev days choose; ``curve`` is filled with ``(fits so far, HR@20 of what is kept)``."""

    spec: RecommendationSpec
    grams: Grams
    every: Questions
    new: Questions
    progress: Progress
    should_stop: ShouldStop
    curve: list[tuple[int, float]] = field(default_factory=list)

    @property
    def _grid(self) -> dict[str, Sequence[float]]:
        return {
            "half_life": self.spec.half_lives,
            "size_exponent": self.spec.size_exponents,
            "word_weight": self.spec.word_weights,
            "text_weight": self.spec.text_weights,
            "number_weight": self.spec.number_weights,
            "price_weight": self.spec.price_weights,
            "regularization": self.spec.regularizations,
            "text_boost": self.spec.text_boosts,
            "trend": self.spec.trends,
        }

    @property
    def _fits(self) -> int:
        return 1 + sum(len(values) - 1 for values in self._grid.values()) + len(self.spec.new_item_boosts)

    def best(self) -> Setting:
        """By all questions, then the lift of new products by theirs. The first point of the curve is popularity."""
        first = {name: values[0] for name, values in self._grid.items()}
        best = Setting(**first, new_item_boost=self.spec.new_item_boosts[0])
        hits = self._hits(best)
        self.curve.extend([(0, self.every.popularity()), (1, float(hits.mean()))])
        self.progress(f"fit 1/{self._fits}  {best}: dev HR@20 {hits.mean():.4f} (popularity {self.curve[0][1]:.4f})")
        for name, values in self._grid.items():
            for value in values[1:]:
                tried = replace(best, **{name: value})
                found = self._hits(tried)
                if clearly_better(found, hits):
                    best, hits = tried, found
                self._tell(f"{name} {value:g}: dev HR@20 {found.mean():.4f}", hits)
        return self._lifted(best)

    def _lifted(self, standing: Setting) -> Setting:
        settings = [replace(standing, new_item_boost=boost) for boost in self.spec.new_item_boosts]
        tried = []
        for setting in settings:
            weights = self._weights(setting)
            every, new = (asked.hits(asked.scores(weights)) for asked in (self.every, self.new))
            tried.append((every, new))
            line = f"new_item_boost {setting.new_item_boost:g}: dev HR@20 {every.mean():.4f}"
            told = f", of new products {new.mean():.4f}" if len(new) else ""
            self._tell(line + told, tried[best_for_new(tried)][0])
        return settings[best_for_new(tried)]

    def _hits(self, setting: Setting) -> NDArray[np.float64]:
        return self.every.hits(self.every.scores(self._weights(setting)))

    def _weights(self, setting: Setting) -> Matrix:
        if self.should_stop():
            raise TrainingInterrupted("stopped between two fits", "run it again")
        return fit(self.every.items, self.grams, setting)

    def _tell(self, line: str, kept: NDArray[np.float64]) -> None:
        self.curve.append((len(self.curve), float(kept.mean())))
        self.progress(f"fit {len(self.curve) - 1}/{self._fits}  {line}, kept {kept.mean():.4f}")


def _fitted_products(catalogue: pl.DataFrame, baskets: pl.DataFrame, most: int) -> list[str]:
    """The catalogue's products, sorted; where there are too many to fit, those that sold best and then the newest."""
    sold = baskets.explode("product_ids").group_by(pl.col("product_ids").alias("product_id")).agg(pl.len().alias("n"))
    ranked = catalogue.join(sold, on="product_id", how="left", maintain_order="left").sort(
        pl.col("n").fill_null(0), "added_day", "product_id", descending=[True, True, False], nulls_last=True
    )
    return sorted(ranked["product_id"].head(most).to_list())


def _grams(job: TrainingJob, seen: Dataset, ids: Sequence[str], progress: Progress) -> tuple[Grams, Matrix | None]:
    """What the catalogue says of ``ids`` (sorted), and the vectors of their texts."""
    told = seen.catalogue.select("product_id", "price").with_columns(
        text=pl.Series(seen.product_texts(), dtype=pl.String)
    )
    told = told.filter(pl.col("product_id").is_in(ids)).sort("product_id")
    vectors = _vectors(job, told["text"].to_list(), progress)
    encoded = vectors if any(job.recommendation.text_weights) else None
    return Grams.of(ids, told["text"].to_list(), told["price"].to_list(), encoded), vectors


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

    def weigh(self, early: pl.DataFrame, asked: Questions, scores: Matrix) -> tuple[float, list[float]]:
        """The weight that the dev days choose beside item-item ``scores``, and the HR@20 kept after each tried."""
        probabilities = asked.probabilities(self.fitted(early, asked.items, max(self.spec.weights), "dev"))
        weight, *others = self.spec.weights
        hits = asked.hits(scores + np.float32(weight) * probabilities)
        points = [float(hits.mean())]
        for value in others:
            found = asked.hits(scores + np.float32(value) * probabilities)
            if clearly_better(found, hits):
                weight, hits = value, found
            points.append(float(hits.mean()))
            self.progress(f"sequence weight {value:g}: dev HR@20 {found.mean():.4f}, kept {hits.mean():.4f}")
        alone = asked.hits(probabilities).mean()
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
