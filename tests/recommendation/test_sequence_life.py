"""A recommender with a sequential part, from baskets to a served release; and one whose part did not win its place."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from rankops.baskets import contexts
from rankops.dataset import Dataset
from rankops.next_item import model_files
from rankops.predict.recommendation import predict
from rankops.predict.releases import Resolved
from rankops.predict.task import Asked
from rankops.release.recommendation import MODEL
from rankops.release.signing import create_key_pair, sign
from rankops.sequence import SEQUENCE_FILES
from rankops.serving.client import Client
from rankops.serving.verification import verify_live
from rankops.specs import ModelSpec, RecommendationSpec, SequenceSpec
from rankops.stages.tasks import task_stage
from rankops.torch_sequence import WEIGHTS, load_checkpoint
from rankops.training.next_item import train
from tests.recommendation.conftest import fitting_job
from tests.recommendation.test_life import SPEC as LINKS_ALONE
from tests.serving.conftest import served
from tests.support.tiny_release import release_facts
from tests.training.conftest import tiny_model  # noqa: F401 (fixture)

SEQUENCE = SequenceSpec(weights=(0.5,), dimension=16, layers=1, length=6, epochs=2, batch_size=64, learning_rate=1e-2)


def spec_with(sequence: SequenceSpec | None) -> ModelSpec:
    recommendation = LINKS_ALONE.recommendation.model_copy(update={"sequence": sequence})
    return LINKS_ALONE.model_copy(update={"recommendation": recommendation})


def trained(folder: Path, dataset: Dataset, base: Path, recommendation: RecommendationSpec) -> list[str]:
    """Train into ``folder / "checkpoint"``; the progress lines."""
    lines: list[str] = []
    train(fitting_job(folder, dataset, recommendation, base), lambda line: lines.append(str(line)))
    return lines


@pytest.fixture(scope="module")
def life(shop: Dataset, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    root, spec = tmp_path_factory.mktemp("sequence-life"), spec_with(SEQUENCE)
    trained(root, shop, tiny_model, spec.recommendation)
    stage = task_stage("recommendation")
    stage.compress(
        root / "checkpoint",
        stage.view(shop, spec),
        spec,
        "cpu-avx2",
        root / "artifact",
        refusal=lambda _: None,
        progress=lambda _: None,
    )
    stage.bundle(
        root / "release",
        artifact=root / "artifact",
        dataset=root / "dataset",
        spec=spec,
        facts=release_facts(model="recommender", task="recommendation"),
        progress=lambda _: None,
    )
    sign(root / "release", create_key_pair(root / "keys")[0])
    return root


@pytest.fixture(scope="module")
def address(life: Path) -> Iterator[str]:
    with served(life) as url:
        yield url


def test_the_part_travels_from_checkpoint_to_release(life: Path) -> None:
    assert (life / "checkpoint" / WEIGHTS).is_file() and not set(SEQUENCE_FILES) & set(model_files(life / "checkpoint"))
    assert set(SEQUENCE_FILES) < set(model_files(life / "release" / MODEL))
    report = json.loads((life / "artifact" / "compression.json").read_text())
    assert len(report["rungs"]) == 10 and "onnxruntime" in report["versions"]
    manifest = json.loads((life / "release" / "release.json").read_text())
    assert {f"{MODEL}/{name}" for name in SEQUENCE_FILES} < set(manifest["files"])


def test_what_is_served_and_predicted_is_what_was_trained(life: Path, shop: Dataset, address: str) -> None:
    """Within what the quality budget let the compression change."""
    digest = json.loads((life / "release" / "release.json").read_text())["digest"]
    report = verify_live(address, life / "release", expected_digest=digest, latency_objective_ms=5000, requests=10)
    assert report.passed, report.checks
    asked = task_stage("recommendation").view(shop, spec_with(SEQUENCE)).split("test").head(20)
    checkpoint = load_checkpoint(life / "checkpoint")
    cases = [{"invoice": f"c{n}", "context": context} for n, context in enumerate(contexts(asked))]
    (life / "cases.jsonl").write_text("".join(json.dumps(case) + "\n" for case in cases))
    release = Resolved(life / "release", "recommender", digest, "recommendation")
    predict(release, life / "cases.jsonl", life / "out.tsv", Asked(k=5), lambda _: None)
    told = [line.split("\t") for line in (life / "out.tsv").read_text().splitlines()]
    same = []
    with Client(address) as client:
        for case in cases:
            results = client.post("/recommend", {"items": case["context"], "k": 5}).body["results"]
            served = [(result["product_id"], result["score"]) for result in results]
            predicted = [(row[2], float(row[3])) for row in told if row[0] == case["invoice"]]
            assert [product for product, _ in served] == [product for product, _ in predicted]
            np.testing.assert_allclose([s for _, s in served], [s for _, s in predicted], atol=1e-5)
            trained_scores = checkpoint.scores(case["context"])
            same.append([abs(score - trained_scores[checkpoint.place[p]]) for p, score in served])
    assert np.max(same) < 0.1


def test_a_part_that_does_not_help_on_the_dev_days_is_left_out(
    shop: Dataset,
    tiny_model: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    blind = SEQUENCE.model_copy(update={"weights": (0.0, 1000.0), "learning_rate": 1e-9, "epochs": 1})
    lines = trained(tmp_path / "with", shop, tiny_model, spec_with(blind).recommendation)
    assert any(line.startswith("sequence alone: ") and line.endswith("its weight is 0") for line in lines)
    trained(tmp_path / "without", shop, tiny_model, spec_with(None).recommendation)
    for name in ("neighbours.npy", "weights.npy", "scales.npy", "popularity.npy", "items.json"):
        one, other = ((tmp_path / kind / "checkpoint" / name).read_bytes() for kind in ("with", "without"))
        assert one == other
    assert not (tmp_path / "with" / "checkpoint" / WEIGHTS).exists()
    told = json.loads((tmp_path / "with" / "checkpoint" / "next_item.json").read_text())["facts"]
    assert told["sequence_weight"] == 0
