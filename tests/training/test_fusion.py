"""The weights follow what the judged queries say, from the right splits, and the prior where nobody says anything."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from rankops.dataset import Dataset
from rankops.specs import HybridSpec, WordModelSpec
from rankops.training.fusion import fit_fusion
from tests.evaluation.samples import WordEncoder, small_shop

SPEC = HybridSpec(fields=("title",))


class Noise:
    """Vectors that know nothing."""

    def encode(self, texts, *, role):
        vectors = np.random.default_rng(len(texts)).normal(size=(len(texts), 16)).astype(np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def dev_shop() -> Dataset:
    shop = small_shop(40)
    split = pl.when(pl.col("query_id") < "q030").then(pl.lit("dev")).otherwise(pl.lit("test"))
    return replace(shop, queries=shop.queries.with_columns(split.alias("split")))


def fit(dataset: Dataset, encoder: object, spec: HybridSpec = SPEC):
    return fit_fusion(dataset, encoder, spec, seed=1, progress=lambda _: None)  # type: ignore[arg-type]


def test_vectors_that_know_nothing_lose_their_weight_to_the_words() -> None:
    learned = fit(dev_shop(), Noise())
    assert learned.weights["dense"] + learned.weights["feedback"] < 0.2
    assert sum(learned.weights.values()) == pytest.approx(1) == sum(learned.first.values())
    assert learned.facts["queries"] == 30 and learned.facts["loss_after"] < learned.facts["loss_before"]


def test_words_that_mislead_lose_their_weight_to_the_vectors() -> None:
    dataset = dev_shop()
    other = (pl.col("product_id").str.slice(1, 3).cast(pl.Int32) + 1) % 40
    brand = pl.format("thing{} kind{}", other, other % 7)  # the words of the next query
    misled = replace(dataset, catalogue=dataset.catalogue.with_columns(brand.alias("brand")))
    learned = fit(misled, WordEncoder(4096), HybridSpec(fields=("brand",)))
    assert learned.first["dense"] > 0.9


def test_the_same_inputs_give_the_same_weights_and_test_queries_do_not_count() -> None:
    dataset = dev_shop()
    first = fit(dataset, WordEncoder(4096))
    test_queries = dataset.split("test")["query_id"].to_list()
    without = dataset.judgements.filter(~pl.col("query_id").is_in(test_queries))
    assert fit(replace(dataset, judgements=without), WordEncoder(4096)) == first


def test_strong_regularization_keeps_the_prior() -> None:
    learned = fit(dev_shop(), Noise(), HybridSpec(fields=("title",), regularization=1e6))
    assert learned.first["dense"] == pytest.approx(0.5, abs=1e-3)


def test_without_judged_queries_and_for_rank_fusion_nothing_is_learned() -> None:
    dataset = dev_shop()
    unjudged = replace(dataset, judgements=dataset.judgements.clear())
    assert fit(unjudged, Noise()).weights["dense"] == 0.3
    assert fit(dataset, Noise(), HybridSpec(method="rank")).weights == {}


def slang_shop(dev: int = 120) -> Dataset:
    """Two kinds of products, asked for by words that stand in none of their texts."""
    kinds = {"zork": "alpha beta", "quux": "gamma delta"}
    shop = small_shop(1)
    products = [
        (f"p{i:02d}", f"{list(kinds.values())[i % 2]} no {i}", "", "goods", "acme", "", 9.5, None) for i in range(40)
    ]
    asked, judged = [], []
    for number, split in enumerate(["train"] * 100 + ["dev"] * dev + ["test"] * 20):
        asked.append((f"q{number:03d}", f"{list(kinds)[number % 2]} {number}", f"g{number}", split, "head", "goods"))
        judged += [(f"q{number:03d}", f"p{i:02d}", 3) for i in range(number % 2, 40, 8)]
    tables = {
        name: pl.DataFrame(rows, schema=getattr(shop, name).schema, orient="row")
        for name, rows in (("catalogue", products), ("queries", asked), ("judgements", judged))
    }
    return replace(shop, **tables)


def test_words_that_stand_in_no_text_are_taught_by_train_pairs_and_weighed_on_dev() -> None:
    spec = HybridSpec(fields=("title",), taught=WordModelSpec(min_chance=0.02))
    learned = fit(slang_shop(), Noise(), spec)
    assert learned.fields == ("title", "taught") and learned.weights["taught"] > 0.3
    words = learned.taught_words([{"product_id": "a", "title": "alpha beta"}, {"product_id": "b", "title": "delta"}])
    assert words is not None and words[0]["zork"] > 0.3 and "zork" not in words[1] and words[1]["quux"] > 0.1
    assert not any(word.isdigit() and int(word) >= 100 for known in learned.taught.values() for word in known)
    assert fit(slang_shop(), Noise(), spec) == learned


def test_where_dev_is_too_small_to_weigh_taught_words_there_are_none() -> None:
    spec = HybridSpec(fields=("title",), taught=WordModelSpec())
    few = fit(slang_shop(dev=50), Noise(), spec)
    assert few == fit(slang_shop(dev=50), Noise()) and "taught" not in few.fields
