"""The life of a matcher, from offer pairs to a verified server, through the stages that every task goes through."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from rankops.cross_encoding import OnnxCrossEncoder
from rankops.dataset import Dataset
from rankops.release.signing import create_key_pair, sign
from rankops.serving.client import Client
from rankops.serving.verification import verify_live
from rankops.stages.evaluation import HeldOut, evaluate_checkpoint
from rankops.stages.tasks import Contenders, task_stage
from rankops.torch_cross_encoding import load_checkpoint
from rankops.training.crossencoder import train
from rankops.training.job import TrainingJob
from tests.ranking.conftest import MATCHER
from tests.serving.conftest import served
from tests.support.tiny_release import release_facts


def quiet(_: object) -> None:
    """No progress lines."""


def test_an_order_of_candidates_is_not_measured_by_what_is_among_them() -> None:
    """A pull request would call it a loss that candidates are fewer than a catalogue."""
    from assets.models import RANKER

    assert task_stage("ranking").metrics(RANKER) == ("ndcg@10", "mrr@10")
    assert task_stage("ranking").metrics(MATCHER) == ("f1",)


@pytest.fixture(scope="module")
def life(
    offers: Dataset, make_job: Callable[..., TrainingJob], tiny_base: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    root = tmp_path_factory.mktemp("life")
    train(make_job(root, offers), quiet)
    stage = task_stage("ranking")
    for name in ("evidence", "judged"):
        (root / name).mkdir()
    contenders = Contenders(tiny_base, root / "checkpoint", None)
    decision = evaluate_checkpoint(offers, contenders, MATCHER, root / "evidence", quiet).decision
    assert decision.passed, decision.reasons
    held_out = HeldOut(offers, root / "evidence", MATCHER, quiet)
    report = stage.compress(
        root / "checkpoint", offers, MATCHER, "cpu-avx2", root / "artifact", refusal=held_out.refusal, progress=quiet
    )
    (root / "report.json").write_text(report.model_dump_json())
    evaluation, budget = held_out.judge(root / "artifact", root / "judged")
    assert evaluation.decision.passed and budget.passed
    facts = release_facts(model="matcher", task="ranking")
    stage.bundle(
        root / "release", artifact=root / "artifact", dataset=root / "dataset", spec=MATCHER, facts=facts,
        progress=quiet,
    )  # fmt: skip
    private, _ = create_key_pair(root / "keys")
    sign(root / "release", private)
    return root


@pytest.fixture(scope="module")
def address(life: Path) -> Iterator[str]:
    with served(life, request_log=life / "log") as url:
        yield url


@pytest.fixture
def client(address: str) -> Iterator[Client]:
    with Client(address) as found:
        yield found


def test_the_matcher_beats_what_costs_nothing(life: Path) -> None:
    table = json.loads((life / "evidence" / "evaluation.json").read_text())
    found = {row["system"]: row["metrics"]["f1"]["mean"] for row in table["systems"]}
    assert found["challenger"] > 0.9
    assert found["random"] == pytest.approx(0.5)  # a third of the pairs match: 2 * 1/3 / (1 + 1/3)
    assert found["challenger"] > max(found["text"], found["base"])


def test_the_ladder_compares_logits_and_times_pairs(life: Path) -> None:
    report = json.loads((life / "report.json").read_text())
    won = next(rung for rung in report["rungs"] if rung["verdict"] == "won")
    assert won["correlation"] > 0.99 and won["cosine_mean"] is None
    assert set(won["batch_ms"]) == {"1", "8", "32"} and min(won["batch_ms"].values()) > 0


def test_the_artifact_scores_as_the_checkpoint_does(life: Path) -> None:
    pairs = [("acme lamp ab1234", "lamp acme ab1234 new"), ("acme lamp ab1234", "globex drill cd9999")]
    mine, reference = (
        model.score(pairs) for model in (OnnxCrossEncoder(life / "artifact"), load_checkpoint(life / "checkpoint"))
    )
    assert np.abs(mine - reference).max() < 0.05
    assert mine[0] > 0.8 > 0.2 > mine[1]


def test_a_live_matcher_passes_verification(life: Path, address: str) -> None:
    digest = json.loads((life / "release" / "release.json").read_text())["digest"]
    report = verify_live(address, life / "release", expected_digest=digest, latency_objective_ms=5000, requests=12)
    assert report.passed, report.checks
    assert "v2 score" in {check.name for check in report.checks}


def test_products_are_named_by_id_or_brought_along(client: Client, offers: Dataset) -> None:
    known = offers.catalogue["product_id"][0]
    body = {"query": "acme lamp ab1234", "products": [known, {"id": "mine", "text": "ab1234 acme lamp boxed"}]}
    reply = client.post("/rerank", body).body
    assert [result["product_id"] for result in reply["results"]] == ["mine", known]
    assert [result["match"] for result in reply["results"]] == [True, False]
    assert reply["results"][1]["title"] == offers.catalogue["title"][0]


def test_pairs_are_scored_in_their_order(client: Client) -> None:
    right, wrong = {"query": "acme lamp ab1234", "product": "ab1234 acme lamp"}, {"query": "a", "product": "watch"}
    results = client.post("/rerank", {"pairs": [wrong, right]}).body["results"]
    assert [result["match"] for result in results] == [False, True]
    assert results[1]["score"] > results[0]["score"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ([], "must be an object"),
        ({"products": ["x"]}, "'query' is missing"),
        ({"query": "x"}, "'products' is missing; it must be a list"),
        ({"query": "x", "products": []}, "1 to 200"),
        ({"query": "x", "products": ["nowhere"]}, "unknown: 'nowhere'"),
        ({"query": "x", "products": [{"id": "a"}]}, "'products[0].text' is missing"),
        ({"query": "x", "products": [{"id": "", "text": "t"}]}, "1 to 128"),
        ({"query": "x", "products": [{"id": "a", "text": "t" * 4097}]}, "4097 characters"),
        ({"query": "x", "products": [{"id": "a", "text": "t"}] * 2}, "twice"),
        ({"query": "x", "products": [3]}, "a text of 1 to 128 characters, or an object with 'id' and 'text'"),
        ({"query": "x", "products": [{"id": "a", "text": "t"}], "k": 0}, "'k' must be"),
        ({"query": "x", "products": [{"id": "a", "text": "t"}], "top": 1}, "unknown field top"),
        ({"pairs": [], "k": 1}, "unknown field k"),
        ({"pairs": [{"query": "x"}]}, "'pairs[0].product' is missing"),
        ({"pairs": [{"query": "x", "product": " "}]}, "'pairs[0].product' must be a text that is not empty"),
    ],
)
def test_a_wrong_request_is_400_and_names_the_field(client: Client, body: object, message: str) -> None:
    reply = client.post("/rerank", body)
    assert reply.status == 400 and message in reply.body["error"], reply.body


def test_a_matcher_says_where_to_ask(client: Client) -> None:
    reply = client.post("/search", {"query": "lamp"})
    assert reply.status == 404 and "/rerank" in reply.body["error"]
