"""Labels for less: proven thresholds, useful choices, and both over a real (tiny) release."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from rankops.cli import app
from rankops.data.active_learning import calibrate, choose, uncertainty
from rankops.data.pseudo_labels import Threshold, find_threshold, pseudo_labels, wilson_lower
from rankops.dataset import COLUMNS, Dataset, load_dataset
from rankops.errors import BadInput
from rankops.release.signing import create_key_pair
from rankops.stages.labelling import COLUMNS as LABEL_COLUMNS
from tests.support.tiny_artifact import make_tiny_artifact
from tests.support.tiny_release import COLOURS, THINGS, VOCABULARY, make_release, write_catalogue


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_wilson_bound_lies_below_the_share_and_rises_with_it(case):
    right, judged = case
    lower = wilson_lower(right, judged)
    assert 0 <= lower <= right / judged + 1e-12
    assert wilson_lower(right * 10, judged * 10) >= lower - 1e-12
    assert wilson_lower(right, judged, 0.99) <= lower + 1e-12


@pytest.mark.parametrize(("right", "judged"), [(45, 50), (3, 4), (20, 20), (1, 400)])
def test_the_wilson_bound_is_the_share_that_the_score_test_just_does_not_reject(right, judged):
    lower = wilson_lower(right, judged)
    assert right / judged - lower == pytest.approx(1.6448536 * np.sqrt(lower * (1 - lower) / judged))
    assert wilson_lower(0, 0) == 0.0


def test_a_proven_precision_holds_in_at_least_ninety_percent_of_new_samples():
    """The promise itself, simulated: thresholds found on one sample, their precision in the population."""
    rng = np.random.default_rng(5)
    held, found = 0, 0
    grid = np.linspace(0, 1, 2001)
    for _ in range(200):
        scores = rng.random(400)
        threshold = find_threshold(scores, rng.random(400) < scores, precision=0.8)
        if threshold is not None:
            found += 1
            held += float(grid[grid >= threshold.score].mean()) >= 0.8
    assert found > 150, "it is not merely refusing"
    assert held / found >= 0.9


def test_no_threshold_is_proven_by_few_or_wrong_pairs():
    assert find_threshold(np.array([0.9, 0.8]), np.array([True, True]), precision=0.9) is None
    scores = np.linspace(0, 1, 100)
    assert find_threshold(scores, np.zeros(100, dtype=bool), precision=0.5) is None
    with pytest.raises(BadInput, match=r"precision 1\.5"):
        find_threshold(scores, scores > 0.5, precision=1.5)


def test_what_a_person_judged_is_never_overwritten():
    scored = pl.DataFrame({"query_id": ["q", "q", "q"], "product_id": ["a", "b", "c"], "score": [0.9, 0.8, 0.1]})
    known = pl.DataFrame([("q", "a", 0)], schema=COLUMNS["judgements"], orient="row")
    assert pseudo_labels(scored, known, Threshold(0.5, 10, 10, 0.8, 0.95)).rows() == [("q", "b", 3)]


def test_the_calibration_says_how_often_a_score_is_right():
    rng = np.random.default_rng(2)
    scores = rng.normal(size=5000)
    chance = 1 / (1 + np.exp(-(2 * scores - 1)))
    found = calibrate(scores, rng.random(5000) < chance)
    assert np.abs(found(scores) - chance).max() < 0.05
    with pytest.raises(BadInput, match="5000 right and 0 wrong"):
        calibrate(scores, np.ones(5000, dtype=bool))
    assert uncertainty(np.array([0.5, 1.0, 0.0])).tolist() == pytest.approx([1.0, 0.0, 0.0], abs=1e-9)


def test_uncertain_pairs_come_first_and_twins_do_not_come_together():
    unit = np.eye(3, dtype=np.float32)
    queries, products = unit[[0, 0, 1, 2]], unit[[0, 0, 1, 2]]
    uncertain = np.array([1.0, 0.99, 0.6, 0.1])
    assert choose(uncertain, queries, products, 3) == [0, 2, 3]
    assert choose(uncertain, queries, products, 9)[:4] == [0, 2, 3, 1]
    with pytest.raises(BadInput, match="different lengths"):
        choose(uncertain, queries[:2], products, 1)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A signed release over 60 products (colour x thing), its public key, and a dataset of its catalogue."""
    root = tmp_path_factory.mktemp("labelling")
    artifact = make_tiny_artifact(root / "artifact", VOCABULARY, seed=1)
    catalogue = write_catalogue(root / "catalogue.parquet")
    private, public = create_key_pair(root / "keys")
    make_release(root / "release", artifact=artifact, catalogue=catalogue, private_key=private)
    products = pl.read_parquet(catalogue).with_columns(pl.lit(None, dtype=pl.Date).alias("added_day"))
    products = products.select(list(COLUMNS["catalogue"]))
    names = [(colour, thing) for colour in COLOURS for thing in THINGS]
    rows, judged = [], []
    for number, (colour, thing) in enumerate(names):
        split = ("train", "dev", "test")[number % 3]
        rows.append((f"q{number}", f"{colour} {thing}", f"g{number}", split, "torso", "goods"))
        if split == "dev":
            judged += [
                (f"q{number}", f"p{other:03}", 3 if other == number else 0)
                for other in range(60)
                if other % 7 == number % 7 or other == number
            ]
    dataset = Dataset(
        products, pl.DataFrame(schema=COLUMNS["interactions"]),
        pl.DataFrame(rows, schema=COLUMNS["queries"], orient="row"),
        pl.DataFrame(judged, schema=COLUMNS["judgements"], orient="row"), {"name": "tiny", "counts": {}},
    )  # fmt: skip
    (root / "dataset").mkdir()
    dataset.save(root / "dataset")
    return root / "release", public, root / "dataset"


def command(world: tuple[Path, Path, Path], name: str, out: Path, *options: str):
    release, public, dataset = world
    return CliRunner().invoke(
        app, [name, str(dataset), "--model", str(release), "--public-key", str(public), "--out", str(out), *options]
    )


def test_label_next_writes_unjudged_pairs_outside_the_test_split_and_the_same_ones_again(world, tmp_path):
    done = command(world, "label-next", tmp_path / "a.tsv", "--count", "25")
    assert done.exit_code == 0, done.output
    command(world, "label-next", tmp_path / "b.tsv", "--count", "25")
    text = (tmp_path / "a.tsv").read_text()
    assert text == (tmp_path / "b.tsv").read_text()
    head, *lines = [line.split("\t") for line in text.splitlines()]
    assert tuple(head) == LABEL_COLUMNS
    assert len(lines) == 25
    dataset = load_dataset(world[2])
    split = dict(dataset.queries.select("query_id", "split").iter_rows())
    judged = set(dataset.judgements.select("query_id", "product_id").iter_rows())
    for query_id, _query, product_id, _title, _probability, uncertain in lines:
        assert split[query_id] in ("train", "dev")
        assert (query_id, product_id) not in judged
        assert 0 < float(uncertain) <= 1
    assert len({line[0] for line in lines}) > 5, "not all of one query"


def test_pseudo_labels_are_right_where_dev_proves_them_and_refused_where_it_does_not(world, tmp_path):
    done = command(world, "pseudo-label", tmp_path / "more", "--precision", "0.6")
    assert done.exit_code == 0, done.output
    before, after = load_dataset(world[2]), load_dataset(tmp_path / "more")
    new = after.judgements.join(before.judgements, on=["query_id", "product_id"], how="anti")
    facts = after.info["pseudo_labels"]
    assert new.height == facts["labels"] > 0
    assert facts["lower"] >= 0.6
    train = set(before.split("train")["query_id"])
    assert set(new["query_id"]) <= train
    right = [
        query_id[1:] == str(int(product[1:])) for query_id, product in new.select("query_id", "product_id").iter_rows()
    ]
    assert np.mean(right) >= 0.6
    strict = command(world, "pseudo-label", tmp_path / "none", "--precision", "0.999")
    assert strict.exit_code == 1
    assert "is proven to be right in" in strict.output
    assert not (tmp_path / "none").exists()


def test_a_dataset_of_another_shop_is_refused(world, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(world[2], other)
    pl.read_parquet(other / "catalogue.parquet").with_columns(
        pl.concat_str(pl.lit("x"), "product_id").alias("product_id")
    ).write_parquet(other / "catalogue.parquet")
    done = command((world[0], world[1], other), "label-next", tmp_path / "a.tsv")
    assert done.exit_code == 1
    assert "give the dataset of its shop" in done.output
