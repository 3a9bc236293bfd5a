"""The life of a recommender, from baskets to a verified server, through the stages that every task goes through."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from rankops.dataset import Dataset
from rankops.release.signing import create_key_pair, sign
from rankops.serving.client import Client
from rankops.serving.verification import verify_live
from rankops.specs import GateSpec, ModelSpec, RecommendationSpec, ServingSpec
from rankops.stages.evaluation import HeldOut, evaluate_checkpoint
from rankops.stages.tasks import Contenders, task_stage
from rankops.training.job import TrainingInterrupted
from rankops.training.next_item import train
from tests.recommendation.conftest import fitting_job
from tests.serving.conftest import served
from tests.support.tiny_release import release_facts

SPEC = ModelSpec(
    name="recommender",
    task="recommendation",
    recommendation=RecommendationSpec(
        test_days=4, dev_days=3, half_lives=(30.0,), size_exponents=(0.5,), text_weights=(0.0,), max_items=100
    ),
    gates=GateSpec(metric="hr@20", floors=("random", "popularity"), resamples=400),
    serving=ServingSpec(golden_queries=6),
)


@pytest.fixture(scope="module")
def life(shop: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("life")
    train(fitting_job(root, shop, SPEC.recommendation), lambda _: None)
    stage, seen = task_stage("recommendation"), task_stage("recommendation").view(shop, SPEC)
    for name in ("evidence", "judged"):
        (root / name).mkdir()
    contenders = Contenders(root / "base", root / "checkpoint", None)
    assert evaluate_checkpoint(shop, contenders, SPEC, root / "evidence", lambda _: None).decision.passed
    held_out = HeldOut(seen, root / "evidence", SPEC, lambda _: None)
    stage.compress(
        root / "checkpoint",
        seen,
        SPEC,
        "cpu-avx2",
        root / "artifact",
        refusal=held_out.refusal,
        progress=lambda _: None,
    )
    evaluation, budget = held_out.judge(root / "artifact", root / "judged")
    assert evaluation.decision.passed and budget.passed
    facts = release_facts(model="recommender", task="recommendation")
    stage.bundle(
        root / "release",
        artifact=root / "artifact",
        dataset=root / "dataset",
        spec=SPEC,
        facts=facts,
        progress=lambda _: None,
    )
    private, _ = create_key_pair(root / "keys")
    sign(root / "release", private)
    return root


@pytest.fixture(scope="module")
def address(life: Path) -> Iterator[str]:
    with served(life) as url:
        yield url


@pytest.fixture
def client(address: str) -> Iterator[Client]:
    with Client(address) as found:
        yield found


def test_the_model_beats_what_sells_and_finds_the_theme(life: Path) -> None:
    table = json.loads((life / "evidence" / "evaluation.json").read_text())
    found = {row["system"]: row["metrics"]["hr@20"]["mean"] for row in table["systems"]}
    assert min(found["challenger"], found["item-item"]) > max(found["popularity"], found["random"])
    assert table["reference"] == "item-item"


def test_a_basket_that_lost_is_shown_by_its_titles(life: Path) -> None:
    regressed = json.loads((life / "evidence" / "evaluation.json").read_text())["regressed"]
    assert regressed and all(" thing " in title for row in regressed for title in row["query"].split(" + "))


def test_a_live_recommender_passes_verification(life: Path, address: str) -> None:
    digest = json.loads((life / "release" / "release.json").read_text())["digest"]
    report = verify_live(address, life / "release", expected_digest=digest, latency_objective_ms=5000, requests=20)
    assert report.passed, report.checks
    assert {"v2 product_ids", "v2 scores"} < {check.name for check in report.checks}


def test_a_product_that_never_sold_is_recommended_for_its_words(client: Client) -> None:
    reply = client.post("/recommend", {"items": ["bath0", "bath1", "bath2"], "k": 45})
    found = [result["product_id"] for result in reply.body["results"]]
    assert all(product.startswith("bath") for product in found[:4])
    never_sold = [product for product in found if product.endswith("7")]
    assert never_sold[0] == "bath7" and len(never_sold) == 6


def test_the_request_says_what_is_barred_and_how_varied_the_answer_is(client: Client) -> None:
    body = {"items": ["camp0", "nothing"], "k": 3, "exclude": ["camp1"], "max_per_category": 1}
    reply = client.post("/recommend", body).body
    assert reply["known_items"] == ["camp0"]
    assert "camp1" not in [result["product_id"] for result in reply["results"]]
    assert len({result["category"] for result in reply["results"]}) == 3
    assert client.get("/recommend?items=camp0,camp2&k=2").status == 200


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "'items' is missing"),
        ({"items": "camp0"}, "'items' must be a list of 0 to 200 texts"),
        ({"items": [""]}, "'items[0]' must be a text of 1 to 128 characters"),
        ({"items": ["a"] * 201}, "at most 200"),
        ({"items": [], "k": 0}, "'k' must be"),
        ({"items": [], "query": "x"}, "unknown field query"),
        ({"items": [], "max_per_category": True}, "max_per_category"),
    ],
)
def test_a_wrong_request_is_400_and_names_the_field(client: Client, body: dict, message: str) -> None:
    reply = client.post("/recommend", body)
    assert reply.status == 400 and message in reply.body["error"]


def test_a_recommender_says_where_to_ask(client: Client) -> None:
    reply = client.post("/search", {"query": "lamp"})
    assert reply.status == 404 and "/recommend" in reply.body["error"]


def test_the_same_job_gives_the_same_bytes_and_a_stop_leaves_nothing(shop: Dataset, life: Path, tmp_path: Path) -> None:
    again = fitting_job(tmp_path / "again", shop, SPEC.recommendation)
    with pytest.raises(TrainingInterrupted):
        train(again, lambda _: None, lambda: True)
    assert not again.output.exists()
    train(again, lambda _: None)
    assert (again.output / "weights.npy").read_bytes() == (life / "checkpoint" / "weights.npy").read_bytes()
