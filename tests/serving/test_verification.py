from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from rankops.encoding import OnnxEncoder
from rankops.errors import BadInput, VerificationFailed
from rankops.release.index import build_index, read_catalogue
from rankops.release.manifest import ReleaseManifest
from rankops.serving.client import Client
from rankops.serving.verification import VerificationReport, verify_live
from tests.serving.conftest import Shop, running
from tests.serving.test_search import raw
from tests.support.tiny_artifact import SPECIAL, make_tiny_artifact, write_tokenizer
from tests.support.tiny_release import VOCABULARY, break_and_resign, write_catalogue


def check(address: str, folder: Path, digest: str, **changes) -> VerificationReport:
    options = {"latency_objective_ms": 5000.0, "requests": 20, "ready_timeout": 20.0} | changes
    return verify_live(address, folder, expected_digest=digest, **options)


def failed(report: VerificationReport) -> set[str]:
    return {c.name for c in report.checks if not c.passed}


def test_a_good_server_passes_every_check_and_the_report_is_json(shop, address):
    report = check(address, shop.release, shop.manifest.digest)
    assert report.passed
    report.raise_for_failure()
    names = ["ready", "rank overlap", "scores", "v2 metadata", "v2 embedding", "latency", "release digest"]
    assert [c.name for c in report.checks] == names
    assert report.served_digest == shop.manifest.digest
    assert report.latency is not None
    assert report.latency.p50_ms <= report.latency.p95_ms <= report.latency.p99_ms
    assert sum(n for _, n in report.latency.histogram) == report.latency.requests == 20
    assert len(report.golden) == len(json.loads((shop.release / "golden.json").read_text())["requests"])
    assert VerificationReport.model_validate_json(report.model_dump_json()) == report


def serve_broken(shop: Shop, folder: Path, manifest: ReleaseManifest) -> VerificationReport:
    """The signature and every digest are right: the server starts, and only its answers can be wrong."""
    with running(shop.config(release=folder, digest=manifest.digest)) as address:
        return check(address, folder, manifest.digest)


def reseal_index(folder: Path) -> str:
    """Make the index claim the folder's encoder; return that encoder's digest."""
    digest = OnnxEncoder(folder / "encoder").digest
    facts = json.loads((folder / "index" / "index.json").read_text())
    (folder / "index" / "index.json").write_text(json.dumps(facts | {"encoder_digest": digest}))
    return digest


def test_a_wrong_tokenizer_behind_a_valid_signature_fails(shop, tmp_path):
    def change(folder: Path) -> None:
        write_tokenizer(folder / "encoder" / "tokenizer.json", [*SPECIAL, *reversed(VOCABULARY)])
        reseal_index(folder)

    other = shutil.copytree(shop.artifact, tmp_path / "artifact")
    write_tokenizer(Path(other) / "tokenizer.json", [*SPECIAL, *reversed(VOCABULARY)])
    digest = OnnxEncoder(Path(other)).digest
    broken = tmp_path / "broken"
    manifest = break_and_resign(shop.release, broken, change, private_key=shop.private_key, encoder_digest=digest)
    report = serve_broken(shop, broken, manifest)
    assert {"rank overlap", "scores", "v2 embedding"} <= failed(report)
    assert not {"release digest", "ready", "v2 metadata"} & failed(report)
    with pytest.raises(VerificationFailed, match=r"rank overlap: .*; scores: "):
        report.raise_for_failure()


def test_an_index_of_another_encoder_that_claims_to_be_the_right_one_fails(shop, tmp_path):
    other = OnnxEncoder(make_tiny_artifact(tmp_path / "other", VOCABULARY, seed=2))
    products = read_catalogue(write_catalogue(tmp_path / "catalogue.parquet"))

    def change(folder: Path) -> None:
        build_index(other, products, folder / "index")
        reseal_index(folder)

    broken = tmp_path / "broken"
    manifest = break_and_resign(shop.release, broken, change, private_key=shop.private_key)
    report = serve_broken(shop, broken, manifest)
    assert {"rank overlap", "scores"} <= failed(report)
    assert "release digest" not in failed(report)


def test_slightly_wrong_vectors_fail_on_scores_alone(shop, tmp_path):
    def change(folder: Path) -> None:
        vectors = np.load(folder / "index" / "vectors.npy")
        np.save(folder / "index" / "vectors.npy", vectors * np.float32(0.99))

    broken = tmp_path / "broken"
    manifest = break_and_resign(shop.release, broken, change, private_key=shop.private_key)
    assert failed(serve_broken(shop, broken, manifest)) == {"scores"}


def test_a_server_of_another_release_fails_on_the_digest(shop, address, tmp_path):
    other = tmp_path / "other"
    manifest = break_and_resign(
        shop.release, other, lambda f: (f / "encoder" / "notes.txt").write_text("x"), private_key=shop.private_key
    )
    report = check(address, other, manifest.digest)
    assert {"release digest", "v2 metadata"} <= failed(report)
    assert report.served_digest == shop.manifest.digest
    text = next(c.explanation for c in report.checks if c.name == "release digest")
    assert shop.manifest.digest in text


def test_a_latency_objective_that_is_missed_fails_with_the_measured_value(shop, address):
    report = check(address, shop.release, shop.manifest.digest, latency_objective_ms=1e-6)
    assert failed(report) == {"latency"}
    (latency,) = [c for c in report.checks if c.name == "latency"]
    assert latency.bound == 1e-6
    assert isinstance(latency.measured, float)
    assert latency.measured > 0


def test_a_server_that_is_not_there_fails_after_the_timeout_or_when_its_process_is_gone(shop):
    report = check("http://127.0.0.1:1", shop.release, shop.manifest.digest, ready_timeout=0.3)
    assert failed(report) == {"ready"}
    report = check("http://127.0.0.1:1", shop.release, shop.manifest.digest, given_up=lambda: "exit code 3")
    assert "exit code 3" in report.checks[0].explanation
    assert report.latency is None


def test_a_server_that_refused_its_release_is_not_ready_and_says_why(shop):
    with running(shop.config(digest="e" * 64)) as address:
        report = check(address, shop.release, shop.manifest.digest, ready_timeout=0.3)
    assert failed(report) == {"ready"}
    assert "e" * 64 in report.checks[0].explanation


def test_the_offline_folder_must_be_the_expected_release(shop, address):
    with pytest.raises(BadInput, match="expected"):
        check(address, shop.release, "f" * 64)
    with pytest.raises(BadInput, match="no address"):
        check("localhost:80", shop.release, shop.manifest.digest)


def test_what_is_timed_is_a_search_and_not_the_memory_of_one(shop):
    with running(shop.config()) as address, Client(address) as client:
        report = verify_live(
            address, shop.release, expected_digest=shop.manifest.digest, latency_objective_ms=1e6, requests=30
        )
        assert report.passed
        text = raw(address, "GET", "/metrics")[2].decode()
        assert "rankops_cache_hits_total 0.0" in text
        searches = len(json.loads((shop.release / "golden.json").read_text())["requests"]) + 30
        assert f'rankops_stage_seconds_count{{stage="search"}} {searches}.0' in text
        assert client.get("/readyz").status == 200
