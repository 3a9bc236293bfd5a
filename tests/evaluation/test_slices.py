"""Slices are made of what the data has, and a team adds its own by one function."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl
import pytest

from rankops.dataset import Dataset
from rankops.drift.languages import guess_language
from rankops.evaluation import slices
from rankops.evaluation.evaluate import evaluate
from rankops.evaluation.render import slices_markdown
from rankops.evaluation.slices import new_brands, new_products, slicer, with_slices
from rankops.specs import GateSpec
from tests.evaluation.rich_shop import rich_shop
from tests.evaluation.samples import noisy_run, small_shop


@pytest.fixture(scope="module")
def rich() -> Dataset:
    return rich_shop()


@pytest.fixture
def registry() -> Iterator[None]:
    before = dict(slices._SLICERS)
    yield
    slices._SLICERS.clear()
    slices._SLICERS.update(before)


def labels(dataset: Dataset, name: str, **more) -> dict[str, str | None]:
    table, _ = with_slices(dataset, dataset.split("test"), more=more)
    return dict(table.select("query_id", name).iter_rows())


def test_each_dimension_that_divides_the_queries_is_there(rich: Dataset) -> None:
    def language(_: Dataset, queries: pl.DataFrame) -> pl.Series:
        return pl.Series([guess_language(query) for query in queries["query"].to_list()], dtype=pl.String)

    table, names = with_slices(rich, rich.split("test"), more={"language": language})
    assert names == ["popularity", "category", "brand", "product_age", "length", "user_segment", "language"]
    first = table.filter(pl.col("query_id") == "q000").row(0, named=True)
    assert {name: first[name] for name in names[2:]} == {
        "brand": "newcomer",
        "product_age": "new",
        "length": "4 or more",
        "user_segment": "occasional",
        "language": "de",
    }
    assert labels(rich, "user_segment")["q001"] == "regular"


def test_what_the_data_does_not_know_is_no_slice() -> None:
    plain = small_shop()
    one_brand, _ = plain.catalogue["brand"].unique().to_list(), None
    assert len(one_brand) == 1
    assert with_slices(plain, plain.split("test"))[1] == ["popularity", "category"]
    unknown = plain.queries.with_columns(pl.lit(None, pl.String).alias("category"))
    assert with_slices(plain, unknown)[1] == ["popularity"]


def test_a_brand_is_new_when_all_of_it_is(rich: Dataset) -> None:
    fresh, brand = new_products(rich), new_brands(rich)
    assert fresh is not None and brand is not None
    by_brand = rich.catalogue.select("brand", brand.alias("new"), fresh.alias("fresh"))
    assert by_brand.filter(pl.col("new"))["brand"].unique().to_list() == ["newcomer"]
    old = by_brand.filter(~pl.col("new"))
    assert old["fresh"].any()  # some of their products are new, the brands are not


@pytest.mark.usefixtures("registry")
def test_a_teams_slice_is_reported_and_can_gate(rich: Dataset) -> None:
    @slicer("season")
    def season(_: Dataset, queries: pl.DataFrame) -> pl.Series:
        return pl.Series(["winter" if i % 2 else None for i in range(queries.height)], dtype=pl.String)

    @slicer("weekday")
    def weekday(_: Dataset, queries: pl.DataFrame) -> pl.Series:
        return pl.Series(["mon" if i % 2 else "tue" for i in range(queries.height)])

    runs = {"challenger": noisy_run(rich, 1.0, 1), "champion": noisy_run(rich, 1.0, 2)}
    spec = GateSpec(floors=(), resamples=200, slices=("weekday",))
    found = evaluate(rich, runs, challenger="challenger", champion="champion", spec=spec)
    names = {part.name for part in found.slices}
    assert {"weekday=mon", "weekday=tue", "brand=brand1"} <= names
    assert not any(name.startswith("season") for name in names)  # one value divides nothing
    checks = {check.name for check in found.decision.checks}
    assert {"slice:weekday=mon", "slice:weekday=tue"} == {name for name in checks if name.startswith("slice:")}


def test_the_table_shows_what_loses_most_first_and_counts_the_rest(rich: Dataset) -> None:
    runs = {"challenger": noisy_run(rich, 1.2, 1), "champion": noisy_run(rich, 1.0, 2)}
    spec = GateSpec(floors=(), resamples=200, min_slice_queries=12)
    found = evaluate(rich, runs, challenger="challenger", champion="champion", spec=spec)
    lines = [line for line in slices_markdown(found).splitlines() if line.startswith("| ")][2:]
    means = [float(line.split(" | ")[4].split(" ")[0]) for line in lines]
    assert means == sorted(means) and len(means) <= 20
    assert all(part.q_value is not None for part in found.slices if part.difference is not None)
