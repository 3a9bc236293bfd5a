"""Fine-tuning of a cross-encoder: the same bytes whatever happens on the way, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from rankops.dataset import Dataset
from rankops.errors import BadInput
from rankops.files import file_digests
from rankops.specs import ModelSpec, RankingSpec, TrainingSpec
from rankops.torch_cross_encoding import load_checkpoint, load_network, token_types
from rankops.training.crossencoder import train
from rankops.training.crossencoder_data import dev_data, dev_metric, judged_pairs, training_data
from rankops.training.crossencoder_trainer import PairBatches
from rankops.training.job import TrainingEvent, TrainingInterrupted, TrainingJob
from tests.ranking.conftest import MATCHER

Make = Callable[..., TrainingJob]
SHORT = MATCHER.model_copy(
    update={
        "training": TrainingSpec(max_steps=6, evaluate_every=3, batch_size=8, learning_rate=1e-3),
        "ranking": RankingSpec(objective="match", max_pair_tokens=48, lexical=False),
    }
)


def quiet(_: object) -> None:
    """No progress lines."""


def digests(folder: Path) -> dict[str, str]:
    return file_digests(folder)


@pytest.fixture(scope="module")
def finished(offers: Dataset, make_job: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("finished")
    train(make_job(root, offers, SHORT), quiet)
    return root / "checkpoint"


def test_a_run_that_is_stopped_and_continued_ends_with_the_same_bytes(
    offers: Dataset, make_job: Make, finished: Path, tmp_path: Path
) -> None:
    job = make_job(tmp_path, offers, SHORT)
    for _ in range(2):  # stopped after steps 2 and 4
        asked = iter(range(100))
        with pytest.raises(TrainingInterrupted):
            train(job, quiet, lambda asked=asked: next(asked) >= 2)
        assert not job.output.exists()
    result = train(job, quiet)
    assert digests(job.output) == digests(finished)
    assert [step for step, _ in result.dev_curve] == [0, 3, 6]
    assert result.metric == "average precision"
    assert train(job, quiet) == result  # a finished job is not trained again


def test_a_run_that_dies_between_states_starts_from_the_last_one(
    offers: Dataset, make_job: Make, finished: Path, tmp_path: Path
) -> None:
    job = make_job(tmp_path, offers, SHORT)

    def die(event: object) -> None:
        if isinstance(event, TrainingEvent) and event.dev is not None and event.step == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(job, die)
    lines: list[str] = []
    train(job, lambda event: lines.append(str(event)))
    assert any("continuing from checkpoint-3" in line for line in lines)
    assert digests(job.output) == digests(finished)


def test_lora_gives_a_whole_model_that_differs_from_its_base(
    offers: Dataset, make_job: Make, finished: Path, tmp_path: Path
) -> None:
    spec = SHORT.model_copy(update={"training": SHORT.training.model_copy(update={"method": "lora"})})
    result = train(make_job(tmp_path, offers, spec), quiet)
    assert result.trained_parameters < result.parameters / 10
    names = {path.name for path in (tmp_path / "checkpoint").iterdir()}
    assert names == {path.name for path in finished.iterdir()}
    assert token_types(load_network(tmp_path / "checkpoint", marked=False)) == 4
    scores = load_checkpoint(tmp_path / "checkpoint").score([("acme ab1234", "ab1234"), ("acme", "drill")])
    assert np.isfinite(scores).all()


def test_a_checkpoint_is_a_start_for_the_next_training(offers: Dataset, make_job: Make, tmp_path: Path) -> None:
    # A start that has learned: after a few steps all scores lie within 4e-5, and the last digit of a float orders them.
    learns = TrainingSpec(max_steps=40, evaluate_every=40, batch_size=16, learning_rate=3e-3)
    train(make_job(tmp_path / "first", offers, SHORT.model_copy(update={"training": learns})), quiet)
    start = tmp_path / "first" / "checkpoint"
    result = train(make_job(tmp_path / "second", offers, SHORT, base_model=start), quiet)
    curve = json.loads((start / "training.json").read_text())["dev_curve"]
    assert result.dev_metric_before == pytest.approx(dict(curve)[result_step(start)], abs=1e-6)
    assert result.dev_metric_before > 0.9 > 0.5 > dict(curve)[0]


def result_step(checkpoint: Path) -> int:
    return int(json.loads((checkpoint / "training.json").read_text())["best_step"])


def test_a_model_too_short_and_a_label_of_one_kind_are_refused(offers: Dataset, make_job: Make, tmp_path: Path) -> None:
    long = SHORT.model_copy(update={"ranking": SHORT.ranking.model_copy(update={"max_pair_tokens": 200})})
    with pytest.raises(BadInput, match="128 positions"):
        train(make_job(tmp_path / "long", offers, long), quiet)
    wrong = replace(offers, judgements=offers.judgements.filter(pl.col("grade") == 0))
    with pytest.raises(BadInput, match="all 160 training pairs are wrong"):
        train(make_job(tmp_path / "wrong", wrong, SHORT), quiet)
    unjudged = replace(offers, judgements=offers.judgements.head(0))
    with pytest.raises(BadInput, match="train split has a judged product"):
        train(make_job(tmp_path / "none", unjudged, SHORT), quiet)


def test_batches_depend_on_seed_and_step_alone_and_see_every_pair_once_an_epoch() -> None:
    lengths = np.random.default_rng(0).integers(5, 40, 64).tolist()
    batches = PairBatches(lengths, batch_size=8, steps=20, seed=3, swap=True)
    assert list(batches) == [batches.batch(step) for step in range(20)]
    assert batches.batch(17) == PairBatches(lengths, batch_size=8, steps=20, seed=3, swap=True).batch(17)
    first_epoch = [row % 64 for step in range(8) for row in batches.batch(step)]
    assert sorted(first_epoch) == list(range(64))
    assert any(row >= 64 for row in batches.batch(0) + batches.batch(1))
    straight = PairBatches(lengths, batch_size=8, steps=20, seed=3, swap=False)
    assert all(row < 64 for batch in straight for row in batch)


@pytest.fixture
def graded(offers: Dataset) -> Dataset:
    """Six search queries, each judged on the offers of one kind: 3 exact brand, 1 other brand."""
    kinds = ("lamp", "drill", "camera", "watch", "phone", "router")
    queries = pl.DataFrame(
        {
            "query_id": [f"q{n}" for n in range(6)],
            "query": [f"acme {kind}" for kind in kinds],
            "group_id": [f"g{n}" for n in range(6)],
            "split": ["train", "train", "train", "dev", "dev", "test"],
            "popularity": "torso",
            "category": "x",
        }
    )
    rows = [
        {"query_id": f"q{n}", "product_id": product, "grade": 3 if "acme" in title else 1}
        for n, kind in enumerate(kinds)
        for product, title in offers.catalogue.select("product_id", "title").iter_rows()
        if kind in title.split()
    ][::3]
    judgements = pl.DataFrame(rows, schema=offers.judgements.schema)
    return replace(offers, queries=queries, judgements=judgements)


def test_a_ranker_learns_grades_and_takes_unjudged_products_that_share_words_as_wrong(graded: Dataset) -> None:
    spec = RankingSpec(objective="graded", negatives=5)
    data, _ = training_data(graded, spec, 13)
    judged = judged_pairs(graded, "train")
    assert len(data) == len(judged) + 3 * 5
    assert set(np.round(data.targets * 3)) == {0, 1, 3}
    new = list(zip(data.query_ids, data.pairs, strict=True))[len(judged) :]
    assert all(set(left.split()) & set(right.split()) for _, (left, right) in new)
    assert not {(q, p) for q, p in new} & set(zip(judged.query_ids, judged.pairs, strict=True))
    again, _ = training_data(graded, spec, 13)
    assert again.pairs == data.pairs


def test_the_dev_metric_of_a_ranker_is_ndcg_over_judged_products(graded: Dataset) -> None:
    spec, dev = RankingSpec(objective="graded"), dev_data(graded, 13)
    assert dev_metric(dev, dev.targets, spec) == pytest.approx(1.0)
    assert dev_metric(dev, -dev.targets, spec) < 0.9


def test_a_ranker_reorders_candidates_from_dataset_to_run(
    graded: Dataset, make_job: Make, tiny_base: Path, tmp_path: Path
) -> None:
    from rankops.stages.tasks import Contenders, task_stage

    spec = ModelSpec(
        name="ranker",
        task="ranking",
        training=SHORT.training,
        ranking=RankingSpec(max_pair_tokens=48, negatives=4, candidates=10),
    )
    result = train(make_job(tmp_path, graded, spec), quiet)
    assert result.metric == "nDCG@10"
    description = json.loads((tmp_path / "checkpoint" / "cross_encoder.json").read_text())
    assert description["threshold"] is None and description["objective"] == "graded"
    runs = task_stage("ranking").rank_systems(graded, Contenders(tiny_base, tmp_path / "checkpoint", None), spec, quiet)
    assert set(runs) == {"random", "bm25", "base", "challenger"}
    assert set(runs["challenger"]["q5"]) == {*runs["bm25"]["q5"][:10], *runs["base"]["q5"][:10]}
