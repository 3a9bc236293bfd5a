"""A dataset that comes as a folder: into the store, and through the asset."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import polars as pl
import pytest
from dagster import AssetKey, DagsterInstance, materialize

from assets.datasets import dataset_asset
from rankops.data.preparation import prepare_dataset
from rankops.dataset import load_dataset
from rankops.errors import BadInput
from rankops.stages.dataset import assemble, store_day
from rankops.stages.imported_dataset import adopt
from rankops.store import ArtifactStore
from resources.datasets import ImportedDatasets
from resources.shop import GeneratedShop
from resources.store import ReferenceIOManager, Store


@pytest.fixture
def folder(dataset, tmp_path: Path) -> Path:
    out = tmp_path / "given"
    out.mkdir()
    prepare_dataset(dataset).save(out)
    return out


def test_a_folder_becomes_an_artifact_once_with_its_days_and_its_preparation(folder, tmp_path):
    store, told = ArtifactStore((tmp_path / "store").as_uri(), tmp_path / "cache"), []
    made, reused = adopt(store, str(folder), name="mine", progress=told.append)
    again, known = adopt(store, folder.as_uri(), name="mine", progress=told.append)
    assert (reused, known) == (False, True)
    assert again.digest == made.digest
    assert made.facts["name"] == "mine"
    assert made.facts["first_day"] == "2026-03-02"
    assert made.facts["preparation"][0]["name"] == "personal data"
    assert load_dataset(store.local_path(made)).catalogue.equals(pl.read_parquet(folder / "catalogue.parquet"))
    assert told


def test_a_folder_whose_tables_break_a_rule_or_are_missing_is_refused(folder, tmp_path):
    store = ArtifactStore((tmp_path / "store").as_uri(), tmp_path / "cache")
    bad = pl.read_parquet(folder / "judgements.parquet").with_columns(pl.lit(7, dtype=pl.Int8).alias("grade"))
    bad.write_parquet(folder / "judgements.parquet")
    with pytest.raises(BadInput, match="grade is 0, 1, 2 or 3"):
        adopt(store, str(folder), name="mine", progress=str)
    (folder / "queries.parquet").unlink()
    with pytest.raises(BadInput, match=r"queries\.parquet is missing"):
        adopt(store, str(folder), name="mine", progress=str)
    with pytest.raises(BadInput, match=r"cannot read .*queries\.parquet"):
        adopt(store, folder.as_uri(), name="mine", progress=str)


def test_the_dataset_asset_takes_a_named_folder_and_shows_what_was_dropped(folder, tmp_path):
    root = (tmp_path / "store").as_uri()
    result = materialize(
        [dataset_asset("mine")],
        resources={
            "shop": GeneratedShop(),
            "imported": ImportedDatasets(folders={"mine": str(folder)}),
            "store": Store(root=root),
            "io_manager": ReferenceIOManager(root=root),
        },
        instance=DagsterInstance.ephemeral(),
    )
    assert result.success
    (event,) = result.asset_materializations_for_node("mine__dataset")
    table = event.metadata["preparation"].md_str  # type: ignore[union-attr]
    assert "| sessions | interactions |" in table
    (check,) = result.get_asset_check_evaluations()
    assert check.passed
    assert check.asset_key == AssetKey(["mine", "dataset"])


def test_personal_data_is_removed_before_a_day_is_stored(shop, tmp_path):
    store, day = ArtifactStore((tmp_path / "store").as_uri(), tmp_path / "cache"), date(2026, 3, 2)
    events = shop.events(day)
    first = events["search_id"][0]
    told = pl.when(pl.col("search_id") == first).then(pl.lit("call jane@example.org")).otherwise(pl.col("query"))
    made = store_day(
        store, name="s", day=day, catalogue=shop.catalogue(day), interactions=events.with_columns(told.alias("query")),
        requests=None,
    )  # fmt: skip
    stored = pl.read_parquet(store.local_path(made) / "interactions.parquet")
    assert stored.filter(pl.col("search_id") == first)["query"].unique().to_list() == ["call <email>"]
    assert stored.filter(pl.col("search_id") != first).equals(events.filter(pl.col("search_id") != first))
    assert made.facts["personal_data_removed"] == events.filter(pl.col("search_id") == first).height
    assert b"jane" not in b"".join(file.read_bytes() for file in store.local_path(made).rglob("*") if file.is_file())


def test_a_window_of_days_is_prepared_sliced_and_made_once(shop, tmp_path):
    store, last = ArtifactStore((tmp_path / "store").as_uri(), tmp_path / "cache"), shop.world.last_day
    days = {
        day.isoformat(): store_day(
            store, name="s", day=day, catalogue=shop.catalogue(day), interactions=shop.events(day), requests=None
        )
        for day in (shop.world.day(offset) for offset in range(6))
    }
    options = {"name": "s", "source": "test", "seed": 3, "judge": lambda q: shop.judge(q, last), "progress": str}
    made, reused = assemble(store, days, **options)
    assert not reused
    assert assemble(store, days, **options) == (made, True)
    assert assemble(store, days, **options, near_duplicates="merge")[1] is False
    dataset = load_dataset(store.local_path(made))
    assert [step["name"] for step in dataset.info["preparation"]][:2] == ["personal data", "normalize texts"]
    held_out = dataset.queries.filter(pl.col("split") != "train")["query_id"].to_list()
    assert sorted(dataset.info["slices"]["segment"]) == sorted(held_out)
