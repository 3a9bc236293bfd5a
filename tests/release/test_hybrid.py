"""A hybrid's bundle: words travel beside vectors, every byte of both is in the digest, and one path answers."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from rankops.errors import IntegrityError
from rankops.fusion import load_fusion
from rankops.release.golden import read_golden
from rankops.release.searcher import Searcher
from tests.release.test_bundle import build
from tests.support.tiny_release import make_hybrid


@pytest.fixture
def hybrid(shop, tmp_path: Path) -> Path:
    return make_hybrid(shop.artifact, tmp_path / "hybrid-artifact")


def test_the_golden_answers_are_the_fused_ones(shop, hybrid, tmp_path):
    manifest = build(shop, tmp_path / "a", artifact=hybrid)
    assert {"fusion.json", "lexical/lexical.json", "lexical/rows.npy"} < set(manifest.files)
    searcher, dense = Searcher.open(tmp_path / "a"), Searcher.open(shop.release)
    for entry in read_golden(tmp_path / "a").requests:
        found = searcher.search(entry.name, 10)
        assert (found.product_ids, found.scores) == (entry.product_ids, entry.scores)
        assert set(found.seconds) == {"encode", "search", "lexical", "rerank"}
    assert searcher.search("acme xyzzy", 3).scores != dense.search("acme xyzzy", 3).scores
    assert set(dense.search("red", 3).seconds) == {"encode", "search", "rerank"}


def test_the_same_inputs_give_the_same_digest_and_other_weights_another(shop, hybrid, tmp_path):
    first, second = build(shop, tmp_path / "a", artifact=hybrid), build(shop, tmp_path / "b", artifact=hybrid)
    assert first.digest == second.digest != shop.manifest.digest
    replace(load_fusion(hybrid), weights={"dense": 0.5, "title": 0.5}).save(hybrid)
    assert build(shop, tmp_path / "c", artifact=hybrid).digest != first.digest


def test_words_of_another_catalogue_are_refused(shop, hybrid, tmp_path):
    build(shop, tmp_path / "a", artifact=hybrid)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    path = tmp_path / "b" / "lexical" / "lexical.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"count": 61}))
    with pytest.raises(IntegrityError, match="61 products, the vectors are of 60"):
        Searcher.open(tmp_path / "b")
