from __future__ import annotations

import os
from pathlib import Path

import pytest

from rankops.capacity.measure import Plan, measure_release, server_command
from rankops.capacity.plots import stages_png
from rankops.load.process import Server, process_tree
from rankops.release.capacity import ReleaseCapacity
from rankops.release.manifest import read_manifest
from rankops.release.signing import create_key_pair, public_half, verify
from rankops.specs import ModelSpec, ServingSpec
from rankops.stages import capacity as stage
from tests.serving.conftest import Shop


@pytest.fixture(scope="module")
def measured(shop: Shop) -> ReleaseCapacity:
    return measure_release(shop.release, shop.public_key, Plan(2000.0, seconds=3.0), machine="a test")


def test_the_real_server_is_loaded_and_what_it_used_is_told(measured: ReleaseCapacity) -> None:
    assert measured.reason is None
    assert measured.measured and (measured.queries_per_second or 0) > 1
    assert measured.per_core == measured.queries_per_second and measured.cores == 1
    assert measured.interval is not None and measured.interval[0] <= (measured.queries_per_second or 0)
    assert 0 < (measured.cpu_ms_per_query or 0) < 1000
    assert 30 < (measured.memory_private_mb or 0) <= (measured.memory_mb or 0) <= (measured.memory_peak_mb or 0)
    assert 0 < (measured.p50_ms or 0) <= (measured.p95_ms or 0) <= (measured.p99_ms or 0) <= 2000
    assert measured.requests > 20 and measured.stages
    assert "queries/s per core at p99 <= 2000 ms" in measured.sentence()
    assert stages_png(measured).startswith(b"\x89PNG")


def test_no_process_and_no_affinity_is_left_behind(measured: ReleaseCapacity) -> None:
    commands = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in process_tree(os.getpid())]
    assert not [command for command in commands if b"rankops.serving" in command]
    assert os.sched_getaffinity(0) == os.sched_getaffinity(os.getppid()) or len(os.sched_getaffinity(0)) > 1


def test_a_server_that_refuses_the_release_gives_the_reason_and_no_figure(shop: Shop, tmp_path: Path) -> None:
    _, stranger = create_key_pair(tmp_path)
    found = measure_release(shop.release, stranger, Plan(50.0, seconds=1.0), machine="a test")
    assert found.queries_per_second is None and not found.measured
    assert "refuses to start" in (found.reason or "")
    assert "was not measured" in found.sentence()


def test_an_objective_that_nothing_meets_is_a_capacity_of_zero(shop: Shop) -> None:
    found = measure_release(shop.release, shop.public_key, Plan(0.01, seconds=1.0), machine="a test")
    assert found.queries_per_second == 0.0 and not found.measured
    assert "no rate meets p99 <= 0.01 ms: p99" in found.sentence()


def test_the_result_cache_is_off_where_the_server_has_one(shop: Shop) -> None:
    from rankops.serving.config import ServerConfig, read_config

    words = server_command(shop.manifest, shop.release, shop.public_key, {"threads": 1})
    config = read_config([word.replace("{port}", "8080") for word in words[3:]], {})
    assert config.threads == 1 and config.digest == shop.manifest.digest
    if "cache_entries" in ServerConfig.model_fields:
        assert config.cache_entries == 0  # type: ignore[attr-defined, unused-ignore]


def spec(**changes: object) -> ModelSpec:
    return ModelSpec(name="retriever", task="retrieval", serving=ServingSpec.model_validate(changes))


def test_the_measurement_is_signed_with_the_release_and_changes_no_digest(
    shop: Shop, tmp_path: Path, monkeypatch
) -> None:
    import shutil

    bundle = tmp_path / "bundle"
    shutil.copytree(shop.release, bundle)
    monkeypatch.setattr(
        stage,
        "measured_capacity",
        lambda *a, **k: ReleaseCapacity(objective_ms=50, target="cpu-avx2", per_core=9.0, queries_per_second=9.0),
    )
    told = stage.add_capacity(
        bundle, read_manifest(bundle), spec(), signing_key=shop.private_key, progress=lambda _: None
    )
    assert told.capacity is not None and told.capacity.per_core == 9.0
    read = verify(bundle, shop.public_key, shop.manifest.digest)  # the old digest, the new signature
    assert read.capacity == told.capacity and read.digest == shop.manifest.digest


def test_another_machine_than_the_target_measures_nothing_and_says_so(shop: Shop) -> None:
    manifest = shop.manifest.model_copy(update={"target": "gpu-cuda"})
    found = stage.measured_capacity(
        shop.release, manifest, spec(), signing_key=shop.private_key, progress=lambda _: None
    )
    assert found.queries_per_second is None and "is for gpu-cuda" in (found.reason or "")
    off = stage.measured_capacity(
        shop.release, shop.manifest, spec(capacity_seconds=0), signing_key=shop.private_key, progress=lambda _: None
    )
    assert "capacity_seconds is 0" in (off.reason or "")


def test_the_public_half_of_a_key_verifies_what_it_signed(shop: Shop, tmp_path: Path) -> None:
    assert verify(shop.release, public_half(shop.private_key, tmp_path), shop.manifest.digest)


def test_a_server_that_never_answers_is_ended_with_its_log(tmp_path: Path) -> None:
    from rankops.errors import RemoteUnavailable

    code = "import time; print('loading', flush=True); time.sleep(60)"
    server = Server(["python3", "-c", code], log=tmp_path / "log")
    with pytest.raises(RemoteUnavailable, match="loading"):
        server.wait_ready(timeout=1.0)
    assert server.process.poll() is not None
