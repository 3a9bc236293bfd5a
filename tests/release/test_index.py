from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from rankops.encoding import OnnxEncoder
from rankops.errors import BadInput, IntegrityError
from rankops.fusion import top_rows
from rankops.release.index import ProductIndex, build_index, sorted_products
from rankops.text import product_text


@pytest.mark.parametrize("k", [1, 3, 7, 100, 500, 2000])
def test_top_rows_agree_with_a_full_sort_even_where_scores_are_equal(k):
    rng = np.random.default_rng(5)
    scores = rng.integers(0, 12, 1000).astype(np.float32)  # many ties, also at the cut
    expected = sorted(range(1000), key=lambda i: (-scores[i], i))[:k]
    assert top_rows(scores, k).tolist() == expected


def test_an_index_finds_each_product_by_its_own_text(shop, tmp_path):
    encoder = OnnxEncoder(shop.artifact)
    products = [{"product_id": f"p{i}", "title": t} for i, t in enumerate(["red shoe", "blue lamp", "green tent"])]
    build_index(encoder, products, tmp_path)
    index = ProductIndex.open(tmp_path, encoder_digest=encoder.digest)
    assert isinstance(index.vectors.base, np.memmap)
    assert index.format == "f32"
    for product in products:
        (vector,) = encoder.encode([product_text(product)], role="product")
        scores = index.scores(vector)
        best, second = top_rows(scores, 2)
        assert index.product_ids[best] == product["product_id"]
        assert scores[best] == pytest.approx(1.0, abs=1e-5)
        assert scores[best] > scores[second]


def test_rows_are_in_product_id_order_whatever_the_catalogue_order(shop, tmp_path):
    encoder = OnnxEncoder(shop.artifact)
    products = [{"product_id": f"p{i}", "title": t} for i, t in enumerate(["red shoe", "blue lamp", "green tent"])]
    build_index(encoder, products, tmp_path / "a")
    build_index(encoder, products[::-1], tmp_path / "b")
    for name in ("vectors.npy", "product_ids.json", "index.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_an_index_built_with_another_encoder_is_refused_naming_both_digests(shop):
    with pytest.raises(IntegrityError) as caught:
        ProductIndex.open(shop.release / "index", encoder_digest="f" * 64)
    assert "f" * 64 in str(caught.value)
    assert shop.manifest.encoder_digest in str(caught.value)


def test_an_index_whose_files_contradict_each_other_is_refused(shop, tmp_path):
    encoder = OnnxEncoder(shop.artifact)
    build_index(encoder, [{"product_id": "a", "title": "red"}, {"product_id": "b", "title": "blue"}], tmp_path)
    (tmp_path / "product_ids.json").write_text(json.dumps(["a"]))
    with pytest.raises(IntegrityError, match="names 1 products"):
        ProductIndex.open(tmp_path, encoder_digest=encoder.digest)


def test_a_missing_index_file_is_named(tmp_path):
    with pytest.raises(IntegrityError, match=r"index\.json"):
        ProductIndex.open(tmp_path, encoder_digest="0" * 64)


def test_a_vector_of_another_width_is_refused(shop):
    index = ProductIndex.open(shop.release / "index", encoder_digest=shop.manifest.encoder_digest)
    with pytest.raises(BadInput, match=r"\(7,\)"):
        index.scores(np.zeros(7, np.float32))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "no product"),
        ([{"product_id": "a"}, {"product_id": "a"}], "row 1: repeats"),
        ([{"product_id": None}], "row 0: has no text"),
        ([{"product_id": "a"}, {"title": "x"}], "row 1: has no text"),
    ],
)
def test_bad_product_ids_are_refused_naming_the_row(rows, message):
    with pytest.raises(BadInput, match=message):
        sorted_products(rows)


def test_a_catalogue_without_titles_is_refused_naming_the_column(tmp_path: Path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    from rankops.release.index import read_catalogue

    pq.write_table(pa.table({"product_id": ["a"]}), tmp_path / "c.parquet")
    with pytest.raises(BadInput, match="no column title"):
        read_catalogue(tmp_path / "c.parquet")
