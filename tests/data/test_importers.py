from __future__ import annotations

import gzip
import json
from pathlib import Path

import fsspec
import polars as pl
import pytest

from rankops.data.importers import import_icecat, import_table
from rankops.dataset import COLUMNS
from rankops.errors import BadInput
from rankops.files import file_digests
from rankops.pairs import training_pairs

ICECAT = Path(__file__).resolve().parents[3] / "shared" / "data" / "search_icecat"
MAPPING = {"sku": "product_id", "name": "title", "cost": "price"}
ROWS = [
    {"sku": "a1", "name": "Red boots", "cost": "99.5", "brand": "Nordvik", "colour": "red"},
    {"sku": "a2", "name": 'Kettle "steel", 1 l', "cost": "", "brand": "", "colour": "grey"},
]


def csv(rows, separator=",") -> bytes:
    frame = pl.DataFrame(rows)
    return frame.write_csv(separator=separator).encode()


def written(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    return str(path)


def test_csv_tsv_jsonl_and_parquet_give_the_same_table(tmp_path):
    numbers = [
        {**row, "cost": float(row["cost"]) if row["cost"] else None, "brand": row["brand"] or None} for row in ROWS
    ]
    lines = "\n".join(json.dumps(row) for row in numbers).encode()
    pl.DataFrame(numbers).write_parquet(tmp_path / "c.parquet")
    urls = [
        written(tmp_path / "c.csv", csv(ROWS)),
        written(tmp_path / "c.tsv", csv(ROWS, "\t")),
        written(tmp_path / "c.csv.gz", gzip.compress(csv(ROWS))),
        written(tmp_path / "c.jsonl", lines),
        str(tmp_path / "c.parquet"),
        (tmp_path / "c.parquet").as_uri(),
    ]
    tables = [import_table("catalogue", url, MAPPING) for url in urls]
    for table in tables:
        assert dict(table.schema) == COLUMNS["catalogue"]
        assert table.select("product_id", "title", "price").rows() == [
            ("a1", "Red boots", 99.5),
            ("a2", 'Kettle "steel", 1 l', None),
        ]


def test_any_fsspec_path_is_read():
    with fsspec.open("memory://shop/catalogue.csv", "wb") as handle:
        handle.write(csv(ROWS))
    assert import_table("catalogue", "memory://shop/catalogue.csv", MAPPING).height == 2


def test_a_bad_value_names_file_row_column_and_rule_and_nothing_is_written(tmp_path):
    rows = [*ROWS, {**ROWS[0], "sku": "a1", "cost": "-3"}, {**ROWS[0], "sku": "a4", "cost": "cheap"}]
    url = written(tmp_path / "c.csv", csv(rows))
    before = file_digests(tmp_path)
    with pytest.raises(BadInput) as caught:
        import_table("catalogue", url, MAPPING)
    for part in (
        f"{url}: 3 violations in table catalogue",
        "row 3, column price, value '-3.0': must hold: price is above 0 and finite",
        "row 3, column product_id, value 'a1': must hold: product_id is unique",
        "row 4, column price, value 'cheap': must hold: price is a Float64",
    ):
        assert part in str(caught.value)
    assert file_digests(tmp_path) == before


def test_mappings_that_name_unknown_columns_are_refused(tmp_path):
    url = written(tmp_path / "c.csv", csv(ROWS))
    with pytest.raises(BadInput, match=r"has no column price_eur \(it has sku, name, cost, brand, colour\)"):
        import_table("catalogue", url, {"price_eur": "price"})
    with pytest.raises(BadInput, match="table catalogue has no column cents"):
        import_table("catalogue", url, {"cost": "cents"})


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("c.parquet", b"not parquet", "malformed"),
        ("c.jsonl", b'{"sku": ', "malformed"),
        ("c.csv.gz", b"not gzip", "malformed"),
        ("c.csv", b"sku,name\na,b,c,d\n", "malformed"),
        ("c.csv", b"", "malformed"),
        ("c.xlsx", b"x", "format is not known"),
    ],
)
def test_a_malformed_file_is_named(tmp_path, name, data, words):
    url = written(tmp_path / name, data)
    with pytest.raises(BadInput, match=words) as caught:
        import_table("catalogue", url)
    assert url in str(caught.value)


def test_a_missing_file_and_an_unknown_scheme_are_named(tmp_path):
    with pytest.raises(BadInput, match=r"cannot read .*nothing\.csv"):
        import_table("catalogue", str(tmp_path / "nothing.csv"))
    with pytest.raises(BadInput, match="cannot read carrier-pigeon"):
        import_table("catalogue", "carrier-pigeon://shop/catalogue.csv")


def icecat_folder(folder: Path) -> Path:
    """A tiny folder in the layout of the real one, with a title that holds a NEL character and quotes."""
    items = [
        {"product_id": f"{i}", "title": f'Ink "{i}"\u0085x', "brand": "HP", "name": "n", "short_description": "",
         "date_released": "2006-07-01", "attributes": {"attr_t_type": "Original", "attr_n_width": 5.0}}
        for i in range(4)
    ]  # fmt: skip
    lines = "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items)
    folder.mkdir()
    (folder / "products.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    (folder / "queries.tsv").write_text(
        'query_id\tquery\tsplit\tgroup_id\nq0\tInk\ttrain\tg0\nq1\ttoner\tdev\tg1\nq2\t19" paper\ttest\tg2\n'
    )
    (folder / "qrels_train.tsv").write_text("query_id\tproduct_id\tgrade\nq0\t0\t3\nq0\t1\t2\nq0\t2\t0\n")
    (folder / "qrels_dev.tsv").write_text("query_id\tproduct_id\tgrade\nq1\t3\t3\n")
    (folder / "candidates_test.tsv").write_text("query_id\tproduct_id\nq2\t1\nq2\t0\n")
    return folder


def test_icecat_keeps_split_groups_and_candidates_and_has_no_test_judgement(tmp_path):
    dataset = import_icecat(icecat_folder(tmp_path / "icecat"))
    assert dataset.queries.select("query", "split", "group_id").rows() == [
        ("ink", "train", "g0"),
        ("toner", "dev", "g1"),
        ('19" paper', "test", "g2"),
    ]
    assert dataset.info["candidates"] == {"q2": ["0", "1"]}
    assert "q2" not in dataset.judgements["query_id"]
    assert dataset.interactions.is_empty()
    assert dataset.catalogue["title"][0] == 'Ink "0"\u0085x'
    assert dataset.catalogue["attributes"][0] == "type Original"
    assert training_pairs(dataset).select("query", "product_id").rows() == [("ink", "0"), ("ink", "1")]


def test_icecat_files_that_are_missing_or_wrong_are_named(tmp_path):
    folder = icecat_folder(tmp_path / "icecat")
    (folder / "qrels_dev.tsv").write_text("query_id\tproduct_id\tgrade\nq1\t99\t3\n")
    with pytest.raises(BadInput, match=r"qrels_dev\.tsv.*\n.*row 1, column product_id, value '99'"):
        import_icecat(folder)
    (folder / "qrels_dev.tsv").unlink()
    with pytest.raises(BadInput, match=r"qrels_dev\.tsv is missing"):
        import_icecat(folder)
    (folder / "queries.tsv").write_text("query_id\tquery\tsplit\tgroup_id\nq0\tInk\n")
    with pytest.raises(BadInput, match=r"queries\.tsv, row 1: 2 fields"):
        import_icecat(folder)


@pytest.mark.skipif(not ICECAT.is_dir(), reason="the shared data set is not beside this checkout")
def test_the_real_icecat_set_is_imported_whole(tmp_path):
    dataset = import_icecat(ICECAT)
    assert dataset.catalogue.height == 19_406
    assert dataset.info["counts"] == {"products": 19_406, "judgements": 2_247, "train": 55, "dev": 26, "test": 54}
    assert sum(len(pool) for pool in dataset.info["candidates"].values()) == 1_421
    test = set(dataset.split("test")["query_id"])
    assert not test & set(dataset.judgements["query_id"])
    pairs = training_pairs(dataset)
    assert not set(pairs["query"]) & (set(dataset.split("dev")["query"]) | set(dataset.split("test")["query"]))
    assert pairs.height > 300
    dataset.save(tmp_path)
