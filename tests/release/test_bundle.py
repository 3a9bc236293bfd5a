from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from rankops.errors import BadInput, IntegrityError
from rankops.release.manifest import payload_digests, read_manifest, release_digest
from rankops.release.retrieval import build_bundle
from tests.support.tiny_artifact import make_tiny_artifact
from tests.support.tiny_release import GOLDEN, VOCABULARY, make_release, release_facts


def build(shop, out: Path, **changes):
    arguments = {
        "artifact": shop.artifact,
        "catalogue_parquet": shop.catalogue,
        "golden_queries": GOLDEN,
        "facts": release_facts(),
    }
    return build_bundle(out, **(arguments | changes))


def test_building_twice_from_the_same_inputs_gives_the_same_digest(shop, tmp_path):
    first = build(shop, tmp_path / "a", facts=release_facts(created_at="2026-01-01T00:00:00+00:00"))
    second = build(shop, tmp_path / "b", facts=release_facts(created_at="2027-01-01T00:00:00+00:00", dagster_run="x"))
    assert first.digest == second.digest == shop.manifest.digest
    assert first.files == second.files
    assert release_digest(tmp_path / "a") == first.digest


def test_another_encoder_gives_another_digest(shop, tmp_path):
    other = make_tiny_artifact(tmp_path / "artifact", VOCABULARY, seed=2)
    assert build(shop, tmp_path / "a", artifact=other).digest != shop.manifest.digest


def test_the_bundle_holds_what_its_manifest_lists_and_can_be_read_back(shop):
    manifest = read_manifest(shop.release)
    assert manifest == shop.manifest
    assert manifest.gates_passed
    assert set(manifest.files) == {
        "encoder/encoder.json",
        "encoder/model.onnx",
        "encoder/tokenizer.json",
        "golden.json",
        "index/index.json",
        "index/product_ids.json",
        "index/vectors.npy",
        "products.parquet",
    }
    products = pq.read_table(shop.release / "products.parquet")
    assert products.column_names == ["product_id", "title", "category", "brand", "price"]
    assert products.num_rows == 60


def test_golden_answers_are_ten_products_with_falling_scores_and_the_right_product_among_them(shop):
    golden = json.loads((shop.release / "golden.json").read_text())["requests"]
    titles = {p["product_id"]: p["title"] for p in pq.read_table(shop.release / "products.parquet").to_pylist()}
    assert [g["name"] for g in golden] == list(GOLDEN)
    for entry in golden:
        assert len(entry["product_ids"]) == len(entry["scores"]) == 10
        assert entry["scores"] == sorted(entry["scores"], reverse=True)
        assert entry["name"] in {titles[product_id] for product_id in entry["product_ids"]}


def test_a_release_without_gates_counts_as_not_passed():
    from rankops.release.manifest import ReleaseManifest

    manifest = ReleaseManifest(
        **release_facts(gates=[]).model_dump(), files={}, encoder_digest="0" * 64, digest="0" * 64
    )
    assert not manifest.gates_passed


def test_an_unknown_or_wrong_field_of_the_manifest_is_named(shop, tmp_path):
    shutil.copy(shop.release / "release.json", tmp_path)
    facts = json.loads((tmp_path / "release.json").read_text())
    (tmp_path / "release.json").write_text(json.dumps(facts | {"surprise": 1, "checkpoint": "short"}))
    with pytest.raises(IntegrityError) as caught:
        read_manifest(tmp_path)
    assert "surprise" in str(caught.value)
    assert "checkpoint" in str(caught.value)


def test_nothing_is_built_over_an_existing_folder(shop, tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(BadInput, match="not empty"):
        build(shop, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"artifact": Path("nowhere")}, r"encoder\.json|model\.onnx"),
        ({"catalogue_parquet": Path("nowhere.parquet")}, "nowhere.parquet is missing"),
        ({"golden_queries": ["  ", "\n"]}, "at least one golden query"),
    ],
)
def test_bad_input_is_named_and_leaves_nothing(shop, tmp_path, changes, message):
    with pytest.raises(BadInput, match=message):
        build(shop, tmp_path / "out", **changes)
    assert list(tmp_path.iterdir()) == []


def test_a_failing_encoder_leaves_nothing(shop, tmp_path):
    broken = tmp_path / "in" / "artifact"
    shutil.copytree(shop.artifact, broken)
    (broken / "model.onnx").write_bytes(b"not onnx")
    (tmp_path / "out").mkdir()
    with pytest.raises(IntegrityError, match=r"model\.onnx"):
        build(shop, tmp_path / "out" / "release", artifact=broken)
    assert list((tmp_path / "out").iterdir()) == []


FULL_DISK = """
    import sys
    from pathlib import Path
    {limit}
    from rankops.errors import RankopsError
    from rankops.release.retrieval import build_bundle
    from tests.support.tiny_release import GOLDEN, release_facts
    artifact, catalogue, out = map(Path, sys.argv[1:])
    try:
        build_bundle(out, artifact=artifact, catalogue_parquet=catalogue, golden_queries=GOLDEN, facts=release_facts())
    except RankopsError as error:
        sys.exit(f"CLEAR {{error}}")
"""
LIMIT = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))"


def build_elsewhere(shop, out: Path, limit: str) -> subprocess.CompletedProcess[str]:
    code = textwrap.dedent(FULL_DISK).format(limit=limit)
    command = [sys.executable, "-c", code, str(shop.artifact), str(shop.catalogue), str(out)]
    return subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2], check=False)


@pytest.mark.parametrize("size", [1000, 4500, 7000])
def test_a_disk_that_takes_no_more_bytes_is_a_clear_error_and_leaves_nothing(shop, tmp_path, size):
    result = build_elsewhere(shop, tmp_path / "release", LIMIT.format(size=size))
    assert result.stderr.startswith("CLEAR the disk is full"), result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_full_tmpfs_is_a_clear_error_and_leaves_nothing(shop, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a tmpfs needs root")
    try:
        result = build_elsewhere(shop, disk / "release", "")
        assert result.stderr.startswith("CLEAR the disk is full"), result.stderr
        assert os.strerror(errno.ENOSPC) in result.stderr
        assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_release_can_be_built_and_signed_in_one_go(shop, tmp_path):
    made = make_release(tmp_path / "r", artifact=shop.artifact, catalogue=shop.catalogue, private_key=shop.private_key)
    assert payload_digests(tmp_path / "r") == made.files
    assert (tmp_path / "r" / "release.sig").is_file()
