"""The published file forms, in small: what each loader makes of them, and what it says about a broken one."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from rankops.baskets import baskets_of
from rankops.cli import app
from rankops.data.importers import import_table
from rankops.data.registry import KINDS, import_dataset, write_dataset
from rankops.dataset import COLUMNS, Dataset, load_dataset
from rankops.errors import BadInput
from rankops.pairs import training_pairs


def wands(folder: Path) -> Path:
    root = folder / "dataset"
    root.mkdir(parents=True)
    head = "product_id\tproduct_name\tproduct_class\tcategory hierarchy\tproduct_description\tproduct_features\trating_count\taverage_rating\treview_count\n"
    row = '{i}\t"sofa ""no {i}"""\tSofas\tFurniture / Living Room / Sofas\tsoft and\tcolour:red|legs : oak|colour:red\t1.0\t4.5\t1.0\n'
    (root / "product.csv").write_text(head + "".join(row.format(i=i) for i in range(40)))
    names = [
        "red sofa",
        "oak sofa",
        "Oak  Sofa",
        *(f"sofa style {chr(97 + i)}{chr(98 + i)}{chr(99 + i)}" for i in range(20)),
    ]
    (root / "query.csv").write_text(
        "query_id\tquery\tquery_class\n" + "".join(f"{i}\t{q}\tSofas\n" for i, q in enumerate(names))
    )
    labels = [(i, i + j, ("Exact", "Partial", "Irrelevant")[j]) for i in range(len(names)) for j in range(3)]
    rows = "".join(f"{n}\t{q}\t{p}\t{label}\n" for n, (q, p, label) in enumerate(labels))
    (root / "label.csv").write_text("id\tquery_id\tproduct_id\tlabel\n" + rows + "999\t0\t12345\tExact\n")
    return folder


def test_wands_grades_categories_and_a_split_of_its_own(tmp_path):
    found = import_dataset("wands", wands(tmp_path))
    first = found.catalogue.row(by_predicate=pl.col("product_id") == "0", named=True)
    assert first["title"] == 'sofa "no 0"'
    assert first["category"] == "Furniture > Living Room > Sofas"
    assert first["attributes"] == "colour:red; legs : oak"
    assert found.queries["query"].to_list().count("oak sofa") == 1
    assert set(found.queries["split"]) == {"train", "dev", "test"}
    merged = dict(found.judgements.filter(pl.col("query_id") == "1").select("product_id", "grade").iter_rows())
    assert merged == {"1": 3, "2": 3, "3": 1, "4": 0}, (
        "judgements of both spellings, the better grade where they differ"
    )
    assert found.info["gains"] == {"Exact": 3, "Partial": 1, "Irrelevant": 0}
    dropped = {step["name"]: step["reasons"] for step in found.info["preparation"][:2]}
    assert dropped["one query a text"]["same text as another"] == 1
    assert dropped["judgements"]["product not in the catalogue"] == 1


def esci(folder: Path, label: str = "E") -> Path:
    examples = [
        (i, f"query {chr(97 + i % 26) * 3}{i // 26}", i, f"B{i + j}", "us", ("E", "S", "C", "I")[j], int(i % 3 != 0), 1, "test" if i % 5 == 0 else "train")
        for i in range(60) for j in range(4)
    ]  # fmt: skip
    examples.append((999, "zapatos", 999, "B1", "es", label, 1, 1, "train"))
    names = [
        "example_id",
        "query",
        "query_id",
        "product_id",
        "product_locale",
        "esci_label",
        "small_version",
        "large_version",
        "split",
    ]
    pl.DataFrame(examples, schema=names, orient="row").write_parquet(
        folder / "shopping_queries_dataset_examples.parquet"
    )
    products = [(f"B{i}", f"Product {i}", None, "soft\nwarm" if i % 2 else None, "Acme", "red" if i % 2 else None, locale)
                for i in range(64) for locale in ("us", "es")]  # fmt: skip
    columns = [
        "product_id",
        "product_title",
        "product_description",
        "product_bullet_point",
        "product_brand",
        "product_color",
        "product_locale",
    ]
    pl.DataFrame(products, schema=columns, orient="row").write_parquet(
        folder / "shopping_queries_dataset_products.parquet"
    )
    return folder


def test_esci_keeps_its_test_split_and_states_its_gains(tmp_path):
    found = import_dataset("esci", esci(tmp_path))
    assert found.info["gains"] == {"E": 3, "S": 2, "C": 1, "I": 0}
    assert "published scorer swaps those of S and C" in found.info["gains_note"]
    assert set(found.split("test")["query_id"]) == {str(i) for i in range(60) if i % 5 == 0 and i % 3 != 0}
    assert 0 < found.split("dev").height < found.split("train").height
    assert found.judgements.filter(pl.col("query_id") == "1")["grade"].to_list() == [3, 2, 1, 0]
    assert dict(found.catalogue.select("product_id", "attributes").iter_rows())["B1"] == "colour red; soft warm"
    assert import_dataset("esci", tmp_path, {"version": "large"}).queries.height == 60
    assert import_dataset("esci", tmp_path, {"locale": "es"}).queries["query"].to_list() == ["zapatos"]


def test_esci_refuses_labels_and_options_that_are_unknown(tmp_path):
    esci(tmp_path, label="X")
    with pytest.raises(BadInput, match="the label 'X' is not known"):
        import_dataset("esci", tmp_path, {"locale": "es"})
    with pytest.raises(BadInput, match="locale 'de'"):
        import_dataset("esci", tmp_path, {"locale": "de"})
    with pytest.raises(BadInput, match="esci has no option 'language'"):
        import_dataset("esci", tmp_path, {"language": "es"})


def multi_cpr(folder: Path) -> Path:
    (folder / "corpus.tsv").write_text("".join(f'{i}\tNikon/尼康 "Z{i}" 相机\n' for i in range(1, 60)))
    for part, start, count in (("train", 1, 40), ("dev", 200001, 9)):
        words = "电脑手机耳机键盘鼠标相机镜头冰箱空调洗衣"
        (folder / f"{part}.query.txt").write_text(
            "".join(
                f"{start + i}\t{words[i % 19]}{words[i % 17]}{words[i % 13]}{start % 7}{i}型\n" for i in range(count)
            )
        )
        (folder / f"qrels.{part}.tsv").write_text("".join(f"{start + i}\t0\t{i + 1}\t1\n" for i in range(count)))
    return folder


def test_multi_cpr_is_tested_on_its_published_dev_part(tmp_path):
    found = import_dataset("multi-cpr", multi_cpr(tmp_path))
    assert found.split("test").height == 9
    assert found.split("dev").height + found.split("train").height == 40
    assert found.judgements["grade"].unique().to_list() == [3]
    assert found.catalogue["title"][0] == 'Nikon/尼康 "Z1" 相机'
    assert not training_pairs(found).is_empty()


def retailrocket(folder: Path) -> Path:
    minute = 60_000
    start = 1_433_221_200_000  # 2015-06-02 05:00 UTC
    rows = [(0, 1, "view", 10, ""), (5, 1, "addtocart", 10, ""), (9, 1, "view", 11, ""), (20, 1, "transaction", 10, "7"),
            (60, 1, "view", 12, ""), (2, 2, "view", 11, ""), (2, 2, "view", 11, ""), (3000, 2, "view", 12, "")]  # fmt: skip
    lines = [f"{start + m * minute},{v},{e},{i},{t}" for m, v, e, i, t in rows]
    (folder / "events.csv").write_text("timestamp,visitorid,event,itemid,transactionid\n" + "\n".join(lines) + "\n")
    properties = [(start, 10, "categoryid", "5"), (start, 10, "888", "639502 n720.000 424566"), (start + 1, 10, "888", "111 n5.000"),
                  (start, 11, "available", "1"), (start, 99, "categoryid", "5")]  # fmt: skip
    text = "timestamp,itemid,property,value\n" + "".join(f"{t},{i},{p},{v}\n" for t, i, p, v in properties)
    (folder / "item_properties_part1.csv").write_text(text)
    (folder / "item_properties_part2.csv").write_text("timestamp,itemid,property,value\n" + f"{start},12,917,828513\n")
    (folder / "category_tree.csv").write_text("categoryid,parentid\n5,2\n2,\n")
    return folder


def test_retailrocket_sessions_are_baskets_and_each_day_is_a_file_that_the_shop_resource_reads(tmp_path):
    found = import_dataset("retailrocket", retailrocket(tmp_path))
    assert found.interactions.select("search_id", "product_id", "purchased").rows() == [
        ("v1-0", "10", True), ("v1-0", "11", False), ("v1-1", "12", False), ("v2-0", "11", False), ("v2-1", "12", False)
    ]  # fmt: skip
    ten = found.catalogue.row(by_predicate=pl.col("product_id") == "10", named=True)
    assert (ten["title"], ten["category"], ten["attributes"]) == ("item 10", "category 2 > category 5", "111")
    assert baskets_of(found.interactions)["product_ids"].to_list() == [["10", "11"]]
    assert found.info["preparation"][0]["reasons"]["repeated event"] == 1
    assert write_dataset(found, tmp_path / "out") == 3
    from datetime import date

    from resources.shop import ImportedShop

    shop = ImportedShop(
        catalogue_url=f"{tmp_path}/out/catalogue.parquet",
        interactions_url=f"{tmp_path}/out/interactions/{{day}}.parquet",
    )
    sizes = [shop.day(date(2015, 6, day), None).interactions.height for day in (2, 3, 4)]
    assert sizes == [4, 0, 1]
    assert load_dataset(tmp_path / "out").info == found.info


def test_a_missing_file_and_an_absent_column_are_named(tmp_path):
    for kind, name in (
        ("wands", "product.csv"),
        ("esci", "examples.parquet"),
        ("multi-cpr", "corpus.tsv"),
        ("retailrocket", "events.csv"),
    ):
        with pytest.raises(BadInput, match=f"{name} is missing"):
            import_dataset(kind, tmp_path)
    (tmp_path / "events.csv").write_text("timestamp,visitorid\n1,2\n")
    with pytest.raises(BadInput, match=r"events\.csv has no column event, itemid"):
        import_dataset("retailrocket", tmp_path)
    with pytest.raises(BadInput, match="'netflix' is no kind of data set"):
        import_dataset("netflix", tmp_path)


def test_every_kind_is_named_in_the_help_of_the_command():
    text = CliRunner().invoke(app, ["import", "--help"], env={"COLUMNS": "200"}).output
    assert all(kind in text for kind in KINDS)


def test_the_command_writes_a_folder_and_prints_what_was_dropped(tmp_path):
    (tmp_path / "in").mkdir()
    out = tmp_path / "out"
    done = CliRunner().invoke(app, ["import", "wands", str(wands(tmp_path / "in")), "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "| one query a text | queries | 23 | 22 |" in done.output
    loaded: Dataset = load_dataset(out)
    assert loaded.catalogue.height == 40
    assert set(COLUMNS) <= {file.stem for file in out.glob("*.parquet")}
    assert import_table("catalogue", str(out / "catalogue.parquet")).height == 40
    again = CliRunner().invoke(app, ["import", "wands", str(tmp_path / "in"), "--out", str(out)])
    assert again.exit_code == 1
    assert "exists already" in again.output
    odd = CliRunner().invoke(
        app, ["import", "wands", str(tmp_path), "--out", str(tmp_path / "n"), "--near-duplicates", "maybe"]
    )
    assert odd.exit_code == 1
