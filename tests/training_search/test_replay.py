"""Replay mixes the champion's pairs in, and brings back nothing that is held out or gone."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from pydantic import ValidationError

from rankops.data.splits import near_duplicate_groups
from rankops.dataset import Dataset
from rankops.errors import BadInput
from rankops.pairs import training_pairs
from rankops.release.manifest import BaseModelRef, DatasetRef, ReleaseManifest
from rankops.specs import BaseModelSpec, ModelSpec, TeacherSpec, TrainingSpec
from rankops.stages.checkpoint import plan
from rankops.stages.evaluation import Champion
from rankops.stages.replay import write_pairs
from rankops.store import ArtifactStore
from rankops.training.biencoder import train
from rankops.training.job import TrainingJob
from rankops.training.replay import mixed, read_pairs, replayable
from tests.training.conftest import build_dataset


def window(old: bool) -> Dataset:
    """The tiny shop; the older window has three queries of its own and one that is held out now."""
    now = build_dataset()
    if not old:
        return replace(now, info={"name": "now"})
    extra = [
        ("q-a", "crimson zzlamp", "ga", "train", "head", "lamp"),
        ("q-b", "scarlet zztent", "gb", "train", "head", "tent"),
        ("q-c", "zzrug gone", "gc", "train", "head", "rug"),
        ("q-d", "zzvases black", "gd", "train", "head", "shoe"),  # a dev query of now, reordered and in plural
    ]
    shown = [
        ("crimson zzlamp", "p1-0"),
        ("scarlet zztent", "p5-0"),
        ("zzrug gone", "p-gone"),
        ("zzvases black", "p0-3"),
    ]
    events = [(f"x{n}", dt.date(2025, 11, 1), "u", q, 1, p, True, False) for n, (q, p) in enumerate(shown)]
    gone = now.catalogue.head(1).with_columns(pl.lit("p-gone").alias("product_id"))
    return replace(
        now,
        catalogue=pl.concat([now.catalogue, gone]),
        queries=pl.concat([now.queries, pl.DataFrame(extra, schema=now.queries.schema, orient="row")]),
        interactions=pl.concat([now.interactions, pl.DataFrame(events, schema=now.interactions.schema, orient="row")]),
        info={"name": "before"},
    )


def test_only_pairs_that_are_new_sold_and_not_held_out_are_replayed() -> None:
    now, before = window(old=False), window(old=True)
    assert "black zzvase" in now.split("dev")["query"].to_list()
    assert {"zzrug gone", "zzvases black"} < set(training_pairs(before)["query"])
    found = replayable(now, before, near_duplicate_groups)
    assert found.select("query", "product_id").rows() == [("crimson zzlamp", "p1-0"), ("scarlet zztent", "p5-0")]


def test_the_share_is_that_of_the_weights_and_order_and_inputs_stay() -> None:
    now, before = window(old=False), window(old=True)
    pairs, old = training_pairs(now), replayable(now, before, near_duplicate_groups)
    for share in (0.1, 0.3, 0.5):
        both = mixed(pairs, old, share)
        is_old = both["query"].is_in(old["query"].to_list())
        assert both.filter(is_old)["weight"].sum() / both["weight"].sum() == pytest.approx(share)
        assert both.filter(~is_old).equals(pairs) and both.height == pairs.height + 2
    assert mixed(pairs, old, 0.0).equals(pairs) and mixed(pairs, old.clear(), 0.4).equals(pairs)


def test_a_training_reads_the_replayed_pairs_and_its_key_depends_on_them(
    tiny_model: Path, tiny_dataset: Path, tmp_path: Path
) -> None:
    before, pairs = tmp_path / "before", tmp_path / "replay.parquet"
    before.mkdir()
    window(old=True).save(before)
    assert write_pairs(tiny_dataset, before, 0.5, pairs, lambda line: None) == pairs
    assert write_pairs(tiny_dataset, tiny_dataset, 0.5, tmp_path / "none", lambda line: None) is None
    job = TrainingJob(
        spec=TrainingSpec(max_steps=2, batch_size=8, evaluate_every=2, hard_negatives=0, replay=0.5),
        base_model=tiny_model,
        dataset=tiny_dataset,
        output=tmp_path / "out",
        work=tmp_path / "work",
        threads=1,
        replay_pairs=pairs,
    )
    assert job.key() != job.model_copy(update={"replay_pairs": None}).key()
    assert train(job, lambda event: None).pairs == 48 + 2
    pairs.write_text("no table")
    with pytest.raises(BadInput, match="holds no pairs to replay"):
        read_pairs(pairs)


@pytest.fixture
def planned(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[TrainingJob, str]]:
    """Plan a training with a champion of the older window in the store; returns the job and the plan's key."""
    monkeypatch.setenv("RANKOPS_STATE", str(tmp_path / "state"))
    store = ArtifactStore(str(tmp_path / "store"))
    stored = {}
    for old in (False, True):
        folder = tmp_path / f"window-{old}"
        folder.mkdir()
        window(old).save(folder)
        stored[old] = store.publish("dataset", folder)
    checkpoint = store.publish("checkpoint", tiny_model)

    def make(said: list[str], dataset: str = stored[True].digest, **training: object) -> tuple[TrainingJob, str]:
        bundle = tmp_path / f"bundle-{dataset[:8]}"
        bundle.mkdir(exist_ok=True)
        ReleaseManifest(
            model="retriever",
            task="retrieval",
            target="cpu-avx2",
            base_model=BaseModelRef(name="tiny", revision="main"),
            checkpoint=checkpoint.digest,
            dataset=DatasetRef(name="shop", digest=dataset),
            code_commit="unknown",
            files={},
            encoder_digest="0" * 64,
            digest="1" * 64,
        ).write(bundle)
        spec = ModelSpec(
            name="retriever",
            task="retrieval",
            base_model=BaseModelSpec(name=str(tiny_model)),
            training=TrainingSpec(**training),
        )
        champion = Champion(release="1" * 64, checkpoint=checkpoint.digest, folder=bundle)
        made = plan(store, spec, stored[False], champion, said.append)
        return TrainingJob.model_validate_json(made.job_file.read_text()), made.key

    make.now = stored[False].digest  # type: ignore[attr-defined]
    return make


def test_a_training_that_starts_from_the_champion_replays_the_champions_window(planned: Callable) -> None:
    said: list[str] = []
    job, key = planned(said, replay=0.25)
    assert job.replay_pairs is not None and read_pairs(job.replay_pairs).height == 2
    assert any("2 pairs of the champion's window make up 25% of the draws" in line for line in said)
    assert job.retriever is not None and job.retriever != job.base_model  # candidates come from what is not tuned
    without, other = planned(said, replay=0.0)
    assert without.replay_pairs is None and other != key


def test_nothing_is_replayed_from_the_same_window_an_unknown_one_or_for_the_base_model(planned: Callable) -> None:
    said: list[str] = []
    assert planned(said, dataset=planned.now, replay=0.25)[0].replay_pairs is None  # type: ignore[attr-defined]
    anew = planned(said, start="base", replay=0.25)[0]
    assert anew.replay_pairs is None and anew.retriever is None
    assert planned(said, dataset="f" * 64, replay=0.25)[0].replay_pairs is None
    assert any("does not hold the champion's data set ffffffffffff" in line for line in said)


def test_a_teacher_teaches_the_base_model_and_not_a_champion(planned: Callable, tiny_model: Path) -> None:
    teacher = TeacherSpec(model=BaseModelSpec(name=str(tiny_model)))
    (warm, _), (anew, key) = (planned([], start=start, teacher=teacher) for start in ("champion", "base"))
    assert warm.teacher is None and anew.teacher == tiny_model
    assert anew.taught is not None and anew.taught.parts[-2:] == ("taught", "retriever")
    assert planned([], start="base")[1] != key


def test_replay_is_refused_where_no_trainer_mixes_pairs() -> None:
    with pytest.raises(ValidationError, match="is a model for ranking"):
        ModelSpec(name="ranker", task="ranking", training=TrainingSpec(replay=0.2))
