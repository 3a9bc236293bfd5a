"""The evidence in a pull request: a store with two releases, a real commit, and the body word for word."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest

from rankops.artifacts import StoredArtifact
from rankops.compression.report import RungResult
from rankops.errors import BadInput, IntegrityError
from rankops.evaluation.evaluate import evaluate
from rankops.files import write_json
from rankops.forge.local import LocalForge
from rankops.overlays.deploy import DeployRequest
from rankops.overlays.mirror import GitRemote
from rankops.release.capacity import ReleaseCapacity
from rankops.release.manifest import BaseModelRef, DatasetRef, GateResult, ReleaseManifest
from rankops.specs import GateSpec, ModelSpec, ServingSpec
from rankops.stages.cost import Asked, Prices, asked_by
from rankops.stages.pull_request import Evidence
from rankops.store import ArtifactStore
from tests.evaluation.samples import noisy_run, small_shop
from tests.overlays_deploy.conftest import Deploy, Rendered, fake_render, make_pin

SNAPSHOT = Path(__file__).parent / "snapshots" / "pr_body.md"
SPEC = ModelSpec(name="retriever", task="retrieval", serving=ServingSpec(peak_requests_per_second=800))
NOW, BEFORE = "a" * 64, "b" * 64


def rung(name: str, verdict: Literal["won", "lost"], size: float, p50: float, reason: str) -> dict[str, Any]:
    result = RungResult(
        name=name, what=name, size_mb=size, p50_ms=p50, p95_ms=2 * p50, relevance=0.771, difference=-0.001,
        interval=(-0.004, 0.002), loss_share=0.0013, verdict=verdict, reason=reason,
    )  # fmt: skip
    return result.model_dump(mode="json")


def manifest(digest: str, model_mb: float, p50: float) -> ReleaseManifest:
    return ReleaseManifest(
        model="retriever", task="retrieval", target="cpu-avx2", base_model=BaseModelRef(name="base", revision="main"),
        checkpoint="c" * 64, code_commit="unknown", digest=digest, encoder_digest="e" * 64, files={},
        dataset=DatasetRef(name="shop", digest="d" * 64, first_day="2026-03-02", last_day="2026-03-07"),
        gates=[GateResult(name="better than bm25", passed=True, explanation="+0.15 [+0.12, +0.18]")],
        compression=[
            rung("fp32", "lost", 90.9, 4.1, "slower than int8"),
            rung("int8", "won", model_mb, p50, "fastest inside the budget"),
            rung("int4", "lost", 17.0, 1.1, "on the held-out split: loses 2.1 % | more than the budget"),
        ],
        capacity=ReleaseCapacity(
            objective_ms=50, target="cpu-avx2", queries_per_second=610.0, interval=(580.0, 640.0), per_core=610.0,
            cores_used=0.7, cpu_ms_per_query=1.148, p50_one_client_ms=1.9, memory_peak_mb=210.0, machine="a test",
        ),
    )  # fmt: skip


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the evaluation of a release, one of whose worst queries was written by a stranger."""
    folder = tmp_path_factory.mktemp("artifact")
    shop = small_shop()
    runs = {name: noisy_run(shop, noise, seed=1) for name, noise in (("bm25", 2.0), ("champion", 0.9))}
    runs["quantized"] = noisy_run(shop, 0.7, seed=2)
    evaluation = evaluate(
        shop, runs, challenger="quantized", champion="champion", spec=GateSpec(floors=("bm25",), resamples=200)
    )
    strange = {"query": "</details> red | shoes @ada `x` #12", "challenger_titles": ["[Shoe](http://evil.example)"]}
    worst = [evaluation.regressed[0].model_copy(update=strange), *evaluation.regressed[1:3]]
    (folder / "evaluation").mkdir()
    evaluation.per_query.write_parquet(folder / "evaluation" / "per_query.parquet")
    shown = evaluation.model_copy(update={"regressed": worst}).model_dump(mode="json")
    write_json(folder / "evaluation" / "evaluation.json", shown)
    return folder


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, artifact: Path) -> ArtifactStore:
    """Two releases, the evaluation of the newer one, a verification, and the decision that led to it."""
    monkeypatch.setenv("RANKOPS_STATE", str(tmp_path / "state"))
    made = ArtifactStore(str(tmp_path / "store"))
    for digest, mb, p50, payload in ((BEFORE, 23.1, 1.6, 2_000_000), (NOW, 22.9, 1.3, 2_500_000)):
        folder = tmp_path / digest[:4]
        folder.mkdir()
        (folder / "index.bin").write_bytes(b"0" * payload)
        manifest(digest, mb, p50).write(folder)
        made.publish("release", folder, digest=digest)
    made.publish("artifact", artifact, digest="f" * 64)
    record = {"environment": "staging", "model": "retriever", "release": NOW, "state": "verified", "p99_ms": 11.25}
    made.write_json(f"verifications/staging/retriever/{NOW}.json", record)
    decision = {"decision": True, "day": "2026-03-07", "window_last_day": "2026-03-07", "causes": ["new_slang"]}
    made.write_json("decisions/retriever/1.json", decision | {"reasons": ["31 % of queries use words unseen before"]})
    made.write_json("decisions/retriever/0.json", decision | {"window_last_day": "2026-02-01", "reasons": ["older"]})
    made.write_json("decisions/retriever/2.json", decision | {"decision": False, "reasons": ["not this one"]})
    return made


def render(folder: Path) -> Rendered:
    """What the tests of deploy render, with pods that ask for something."""
    rendered = fake_render(folder)
    spec = rendered.objects[0]["spec"]["template"]["spec"]
    for container in (*spec["containers"], *spec["initContainers"]):
        container["resources"] = {"requests": {"cpu": "1500m", "memory": "1Gi"}, "limits": {"memory": "2Gi"}}
    scaler = {"kind": "HorizontalPodAutoscaler", "spec": {"minReplicas": 2, "maxReplicas": 6}}
    return Rendered([*rendered.objects, scaler], rendered.text)


Describe = Callable[..., tuple[str, str]]


@pytest.fixture
def propose(store: ArtifactStore, run_deploy: Deploy, remote: GitRemote, tmp_path: Path) -> Callable[..., str]:
    """Deploy the older release, propose the newer one, and return the body of its pull request."""

    def run(**changes: Any) -> str:
        uri = {digest: f"s3://models/release/{digest}" for digest in (NOW, BEFORE)}
        run_deploy(make_pin(environment="production", release=BEFORE, uri=uri[BEFORE]), render=render)
        reference = StoredArtifact(
            kind="release", digest=NOW, uri=store.uri("release", NOW), lineage={"artifact": "f" * 64}
        )
        known = Evidence(store, SPEC, reference, manifest(NOW, 22.9, 1.3), remote, render)
        pin = make_pin(environment="production", release=NOW, uri=uri[NOW], image_digest="sha256:" + "9" * 64)
        request = DeployRequest(pin, policy="pull-request")
        forge = LocalForge(tmp_path / "forge", remote)
        done = run_deploy(request, forge=forge, render=render, describe=replace(known, **changes).describe)
        return str(done.pull_request.body)

    return run


def test_the_body_of_a_pull_request_is_word_for_word_what_was_reviewed(propose: Callable[..., str]) -> None:
    """To change it: RANKOPS_UPDATE_SNAPSHOTS=1, then read the difference in Git."""
    body = propose(why=["asked for by the search team"])
    if os.environ.get("RANKOPS_UPDATE_SNAPSHOTS"):
        SNAPSHOT.write_text(body)
    assert body == SNAPSHOT.read_text()


def test_the_body_has_what_the_design_asks_for_with_the_values_of_the_store(propose: Callable[..., str]) -> None:
    body = propose()
    for part in (
        "drift of 2026-03-07: new\\_slang", "31 % of queries use words unseen before", "`2026-03-02 to 2026-03-07`",
        "| nDCG@10 | champion |", "| popularity=head | 21 |",
        "| model (MB) | 23.1 | 22.9 | -1 % |", "| release (MB) | 2 | 2.5 | +25 % |",
        "| a query through the model, p50 (ms, one thread) | 1.6 | 1.3 | -19 % |",
        "| CPU time of a million queries (core hours) | 0.44 | 0.36 |",
        "| queries/s per core at a p99 of 50 ms | 610 | 610 | +0 % |", "| expected peak (requests/s) | 800 |",
        "| p99 of a request, verified in staging (ms) |  | 11.25 |  |", "| replicas | 3 |", "| CPU request | 1 |",
        "2 pods, up to 6, of 1.5 CPU, 1 GiB", "| int4 | lost | 17 |", "| better than bm25 | yes |",
        "+image: rankops-server@sha256:", "rankops rollback production retriever",
    ):  # fmt: skip
        assert part in body, part
    assert "older" not in body and "not this one" not in body
    assert "@ada" not in body and "</details> red" not in body and "http://evil" not in body


def test_prices_make_the_pods_a_sum_of_money(propose: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANKOPS_PRICES", "cpu=0.04 memory=0.005 currency=EUR")
    assert "| cost a month |  | 94.90 to 284.70 EUR |  |" in propose()  # 730 h x 1.5 CPU and 1 GiB, 2 and 6 times
    for wrong in ("cpu", "cpu=cheap", "disk=1", "cpu=-1"):
        with pytest.raises(BadInput, match="RANKOPS_PRICES"):
            Prices.configured(wrong)


def test_a_predecessor_from_another_store_is_not_compared_with(
    propose: Callable[..., str], store: ArtifactStore
) -> None:
    shutil.rmtree(Path(store.uri("release", BEFORE).removeprefix("file://")))
    assert "| model (MB) |  | 22.9 |  |" in propose()


def test_without_its_evidence_a_release_is_not_proposed(propose: Callable[..., str], store: ArtifactStore) -> None:
    shutil.rmtree(Path(store.uri("artifact", "f" * 64).removeprefix("file://")))
    with pytest.raises(IntegrityError, match="absent or incomplete"):
        propose()


def deployment(pod: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {"kind": "Deployment", "spec": spec | {"template": {"spec": pod}}}


def asking(**requests: str) -> dict[str, Any]:
    return {"resources": {"requests": requests}}


def test_a_pod_asks_for_its_containers_together_or_for_its_greediest_init_container() -> None:
    pod = {
        "containers": [asking(cpu="500m", memory="512Mi"), asking(cpu="1")],
        "initContainers": [asking(memory="2Gi")],
    }
    assert asked_by([deployment(pod, replicas=3)]) == Asked(1.5, 2.0, 0, 3, 3)
    gpu = {"containers": [{"resources": {"limits": {"nvidia.com/gpu": "1", "memory": "8Gi"}}}]}
    keda = {"kind": "ScaledObject", "spec": {"minReplicaCount": 1, "maxReplicaCount": 4}}
    asked = asked_by([keda, deployment(gpu)])
    assert asked == Asked(0.0, 8.0, 1, 1, 4)
    assert asked is not None and asked.text() == "1 pod, up to 4, of 0 CPU, 8 GiB, 1 GPU"
    sleeping = {"kind": "ScaledObject", "spec": {"minReplicaCount": 0, "maxReplicaCount": 4}}
    assert asked_by([sleeping, deployment(gpu)]) == Asked(0.0, 8.0, 1, 0, 4)
    assert asked_by([keda]) is None and asked_by([deployment({"containers": [{}]})]) is None
