from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankops.augmentation import augment_pairs, keyboard_neighbours, learn_synonyms, with_typo, without_a_word
from rankops.data.splits import within_one_edit
from rankops.pairs import training_pairs
from rankops.specs import AugmentationSpec
from rankops.training.examples import build_examples, text_numbers

WORDS = st.text(alphabet="abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=9)


@settings(max_examples=200, deadline=None)
@given(st.lists(WORDS, min_size=1, max_size=4).map(" ".join), st.integers(0, 2**32 - 1))
def test_a_typo_is_one_edit_in_one_plain_word_and_never_in_a_code(query, seed):
    made = with_typo(query, np.random.default_rng(seed))
    able = [word for word in query.split() if len(word) >= 4 and word.isalpha()]
    assert (made is None) == (not able)
    if made is not None:
        changed = [(a, b) for a, b in zip(query.split(" "), made.split(" "), strict=True) if a != b]
        ((before, after),) = changed
        assert before in able
        assert within_one_edit(before, after)


def test_neighbours_are_mutual_and_those_of_a_keyboard():
    around = keyboard_neighbours()
    assert set(around["s"]) == set("awedxz")
    assert all(key in around[other] for key, others in around.items() for other in others)
    assert len(around) == 26


def test_back_off_drops_what_the_product_does_not_explain_and_leaves_short_queries():
    generator = np.random.default_rng(1)
    assert without_a_word("cheap red boots", "Red leather boots", generator) == "red boots"
    assert without_a_word("red boots", "Red boots", generator) is None


def test_synonyms_come_from_equal_clicks_and_from_titles():
    titles = {f"s{i}": f"Leather sofa {name}" for i, name in enumerate("abcd")}
    titles |= {f"l{i}": f"Oak lamp {name}" for i, name in enumerate("efghijklmnopqrstuvwx")}
    clicks = [(query, f"s{i}") for query in ("red couch", "red settee") for i in range(4)]
    clicks += [("red lamp", f"l{i}") for i in range(4)]
    pairs = pl.DataFrame(clicks, schema=["query", "product_id"], orient="row")
    found = learn_synonyms(pairs, titles)
    assert "settee" in found["couch"]
    assert "couch" in found["settee"]
    assert "sofa" in found["couch"], "the catalogue's word for it"
    assert "lamp" not in {word for words in found.values() for word in words}


def test_copies_keep_their_product_weigh_less_and_never_are_a_known_or_held_out_query(dataset):
    pairs = training_pairs(dataset)
    spec = AugmentationSpec(typos=0.5, synonyms=0.5, back_off=0.5, weight=0.25)
    made = augment_pairs(dataset, pairs, spec, seed=3)
    copies = made.filter(pl.col("query") != pl.col("source"))
    assert copies.height > 0.3 * pairs.height
    assert not set(copies["query"]) & set(dataset.queries["query"])
    origin = copies.join(pairs, left_on=["source", "product_id"], right_on=["query", "product_id"], suffix="_of")
    assert origin.height == copies.height
    assert (origin["weight"] - 0.25 * origin["weight_of"]).abs().max() == pytest.approx(0.0, abs=1e-12)
    assert made.equals(augment_pairs(dataset, pairs, spec, seed=3))
    assert not made.equals(augment_pairs(dataset, pairs, spec, seed=4))
    assert augment_pairs(dataset, pairs, AugmentationSpec(), seed=3).drop("source").equals(pairs)


def test_a_copy_belongs_to_the_group_of_its_source_and_is_never_its_negative(dataset):
    pairs = training_pairs(dataset)
    made = augment_pairs(dataset, pairs, AugmentationSpec(typos=1.0), seed=3)
    examples = build_examples(dataset, made, text_numbers(dataset.product_texts()))
    group_of = dict(zip(examples.queries, examples.groups, strict=True))
    sources = dict(made.select("query", "source").iter_rows())
    assert all(group_of[query] == group_of[source] for query, source in sources.items() if source == sources[source])
    plain = build_examples(dataset, pairs, text_numbers(dataset.product_texts()))
    assert set(examples.groups) == set(plain.groups)
    assert replace(examples).relevant == plain.relevant
