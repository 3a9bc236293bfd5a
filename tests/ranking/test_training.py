"""Fine-tuning of a cross-encoder: the same bytes whatever happens on the way, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from rankops.cross_encoding import PairConfig
from rankops.dataset import Dataset
from rankops.errors import BadInput
from rankops.files import file_digests
from rankops.pair_features import NAMES, clean_text
from rankops.specs import ModelSpec, RankingSpec, TrainingSpec, WordModelSpec
from rankops.torch_cross_encoding import load_checkpoint, load_network, token_types
from rankops.training.candidates import split_candidates
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


def near(dataset: Dataset, query_id: str) -> list[str]:
    """Three judged offers of a query and three that nobody judged, but whose text names the query's kind."""
    judged = dataset.judgements.filter(pl.col("query_id") == query_id)["product_id"].to_list()
    kind = dataset.queries.filter(pl.col("query_id") == query_id)["query"].item().split()[1]
    named = dataset.catalogue.filter(pl.col("title").str.split(" ").list.contains(kind))["product_id"].to_list()
    return [*judged[:3], *[product for product in named if product not in judged][:3]]


def test_half_of_a_rankers_negatives_are_candidates_and_none_is_judged(graded: Dataset) -> None:
    spec = RankingSpec(objective="graded", negatives=5)
    candidates = {query_id: near(graded, query_id) for query_id in ("q0", "q1", "q2")}
    data, _ = training_data(graded, spec, 13, candidates)
    judged = judged_pairs(graded, "train")
    assert len(data) == len(judged) + 3 * 5
    assert set(np.round(data.targets * 3)) == {0, 1, 3}
    texts = dict(zip(graded.catalogue["product_id"], map(clean_text, graded.product_texts()), strict=True))
    new = list(zip(data.query_ids, data.pairs, strict=True))[len(judged) :]
    assert not {(q, p) for q, p in new} & set(zip(judged.query_ids, judged.pairs, strict=True))
    for query_id, products in candidates.items():
        of_query = [pair[1] for query, pair in new if query == query_id]
        assert len(set(of_query)) == 5
        assert len({texts[product] for product in products[3:]} & set(of_query)) >= 2
    again, _ = training_data(graded, spec, 13, candidates)
    assert again.pairs == data.pairs
    assert len(training_data(graded, spec, 13, {})[0]) == len(data)  # without candidates all are drawn blindly


def test_the_dev_metric_of_a_ranker_sees_candidates_that_nobody_judged(graded: Dataset) -> None:
    spec, products = RankingSpec(objective="graded"), near(graded, "q3")
    dev = dev_data(graded, spec, 13, {"q3": products})
    assert dev.query_ids == ["q3"] * 6 and (dev.targets > 0).sum() == 3
    everything = graded.judgements.filter(pl.col("query_id") == "q3")["grade"].to_list()
    assert sorted([*np.round(dev.targets[dev.targets > 0] * 3).astype(int), *dev.missed["q3"]]) == sorted(everything)
    best = dev_metric(dev, dev.targets, spec)
    ideal = sorted(everything, reverse=True)[:10]
    gains = [sum(g / np.log2(place + 2) for place, g in enumerate(grades)) for grades in (
        sorted(np.round(dev.targets * 3), reverse=True), ideal,
    )]  # fmt: skip
    assert best == pytest.approx(gains[0] / gains[1]) and best < 0.9  # what no candidate list holds is lost
    assert dev_metric(dev, -dev.targets, spec) < best - 0.1  # the unjudged first: that costs
    with pytest.raises(BadInput, match="no judged dev query has a candidate"):
        dev_data(graded, spec, 13, {})


def test_candidates_of_a_split_are_the_first_of_words_and_vectors(graded: Dataset, tiny_base: Path) -> None:
    from rankops.runs import bm25_run, encoder_run
    from rankops.training.torch_encoder import TorchEncoder

    found = split_candidates(graded, ["train", "dev"], RankingSpec(max_pair_tokens=48, candidates=7), tiny_base)
    ids, texts = graded.catalogue["product_id"].to_list(), graded.product_texts()
    encoder = TorchEncoder(tiny_base, max_query_tokens=48, max_product_tokens=48)
    for split in ("train", "dev"):
        queries = list(graded.split(split).select("query_id", "query").iter_rows())
        words, vectors = bm25_run(queries, texts, ids), encoder_run(encoder, queries, texts, ids)
        assert list(found[split]) == [query_id for query_id, _ in queries]
        for query_id, products in found[split].items():
            assert set(products) == {*words[query_id][:7], *vectors[query_id][:7]}
            assert len(set(products)) == len(products)
            assert products[: min(7, len(words[query_id]))] == words[query_id][:7]


def test_a_ranker_with_chosen_features_and_a_word_model(graded: Dataset, make_job: Make, tmp_path: Path) -> None:
    ranking = RankingSpec(max_pair_tokens=48, negatives=4, candidates=10, features=3, word_model=WordModelSpec())
    spec = ModelSpec(name="ranker", task="ranking", training=SHORT.training, ranking=ranking)
    job = make_job(tmp_path / "one", graded, spec)
    result = train(job, quiet)
    kept = [feature.name for feature in result.features if feature.kept]
    assert 1 <= len(kept) <= 3 and len(result.features) == len(NAMES)
    assert all(bool(feature.reason) != feature.kept for feature in result.features)
    config = PairConfig.read(job.output / "cross_encoder.json")
    weights = {"lexical.npz": config.blend.lexical, "words.npz": config.blend.words}
    assert set(config.files) == {name for name, weight in weights.items() if weight} != set()
    assert {path.name for path in job.output.glob("*.npz")} == set(config.files)
    candidates = split_candidates(graded, ["dev"], ranking, job.base_model)["dev"]
    dev = dev_data(graded, ranking, spec.training.seed, candidates)
    encoder = load_checkpoint(job.output)
    parts = encoder.parts(dev.pairs)
    assert {"neural", *(name for name in ("lexical", "words") if getattr(config.blend, name))} == set(parts)
    alone = [dev_metric(dev, values, ranking) for values in parts.values()]
    assert dev_metric(dev, config.blend.probabilities(parts), ranking) >= max(alone) - 1e-9
    assert train(make_job(tmp_path / "one", graded, spec), quiet).features == result.features  # as it was kept
    other = make_job(tmp_path / "one", graded, spec, retriever=job.output)
    assert other.key() != job.key()


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


def test_a_ranker_reorders_what_its_first_stage_found(
    graded: Dataset, make_job: Make, tiny_base: Path, tmp_path: Path
) -> None:
    import shutil

    from rankops.fusion import Fusion
    from rankops.runs import search_run
    from rankops.stages.tasks import Contenders, task_stage
    from rankops.training.torch_encoder import TorchEncoder

    search = tmp_path / "search"
    shutil.copytree(tiny_base, search)
    weights = {"dense": 0.3, "title": 0.7}
    Fusion("learned", ("title",), 1.2, 0.75, first=weights, weights=weights).save(search)
    ranking = RankingSpec(max_pair_tokens=48, negatives=4, candidates=10, first_stage="retriever")
    found = split_candidates(graded, ["train", "dev"], ranking, search)
    for split in ("train", "dev"):
        queries = list(graded.split(split).select("query_id", "query").iter_rows())
        fusion = Fusion("learned", ("title",), 1.2, 0.75, first=weights, weights=weights)
        assert found[split] == search_run(TorchEncoder(search), fusion, graded, queries, k=10)

    spec = ModelSpec(name="ranker", task="ranking", training=SHORT.training, ranking=ranking)
    before = make_job(tmp_path / "one", graded, spec, retriever=search).key()
    (search / "fusion.json").write_text((search / "fusion.json").read_text() + "\n")
    assert make_job(tmp_path / "one", graded, spec, retriever=search).key() != before  # its words count too
    train(make_job(tmp_path, graded, spec, retriever=search), quiet)
    contenders = Contenders(tiny_base, tmp_path / "checkpoint", None, search)
    runs = task_stage("ranking").rank_systems(graded, contenders, spec, quiet)
    assert set(runs) == {"random", "bm25", "base", "first-stage", "challenger"}
    assert sorted(runs["challenger"]["q5"]) == sorted(runs["first-stage"]["q5"][:10])


def test_the_network_must_clearly_better_the_order_to_be_kept() -> None:
    from rankops.training.crossencoder import _shares
    from rankops.training.crossencoder_data import JudgedPairs

    rng = np.random.default_rng(3)
    queries, page = 60, 12
    targets = (rng.random((queries, page)) < 0.3).astype(float)
    targets[:, 0] = 1.0
    ids = [f"q{row:02d}" for row in range(queries) for _ in range(page)]
    dev = JudgedPairs(ids, [("a", "b")] * len(ids), targets.ravel())
    words = dev.targets + rng.normal(0, 0.5, len(ids))
    knowing, guessing = dev.targets + rng.normal(0, 0.5, len(ids)), rng.normal(0, 1, len(ids))
    assert _shares({"neural": knowing, "words": words}, dev)["neural"] > 0
    assert _shares({"neural": guessing, "words": words}, dev)["neural"] == 0
    assert _shares({"neural": guessing}, dev)["neural"] > 0  # there is nothing else
