from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from rankops.data.raters import RATINGS, agreement, consensus, fleiss_kappa, krippendorff_alpha
from rankops.errors import BadInput

KRIPPENDORFF = """
1 2 3 3 2 1 4 1 2 . . .
1 2 3 3 2 2 4 1 2 5 . 3
. 3 3 3 2 3 4 2 2 5 1 .
1 2 3 3 2 4 4 1 2 5 1 .
"""
FLEISS = [
    [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
]  # fmt: skip


def test_krippendorffs_alpha_is_that_of_his_published_example():
    tally = np.zeros((12, 5))
    for line in KRIPPENDORFF.strip().splitlines():
        for unit, value in enumerate(line.split()):
            if value != ".":
                tally[unit, int(value) - 1] += 1
    assert krippendorff_alpha(tally, "nominal") == pytest.approx(0.743, abs=5e-4)
    assert krippendorff_alpha(tally) == pytest.approx(0.815, abs=5e-4)


def test_fleiss_kappa_is_that_of_the_textbook_example():
    assert fleiss_kappa(np.array(FLEISS, dtype=float)) == pytest.approx(0.210, abs=5e-4)


def simulated(seed: int = 4, items: int = 600) -> tuple[pl.DataFrame, np.ndarray]:
    """Two careful raters, one who is often a grade too strict, and two who guess."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(4, items, p=[0.4, 0.2, 0.15, 0.25])
    guess = lambda: rng.integers(0, 4, items)  # noqa: E731
    careful = [np.where(rng.random(items) < 0.85, truth, guess()) for _ in range(2)]
    strict = np.where(rng.random(items) < 0.8, np.maximum(truth - 1, 0), truth)
    raters = {"a": careful[0], "b": careful[1], "strict": strict, "x": guess(), "y": guess()}
    rows = [(f"q{i}", "p", name, int(grades[i])) for name, grades in raters.items() for i in range(items)]
    return pl.DataFrame(rows, schema=list(RATINGS), orient="row"), truth


def accuracy(table: pl.DataFrame, truth: np.ndarray) -> float:
    by_item = dict(table.select("query_id", "grade").iter_rows())
    return float(np.mean([by_item[f"q{i}"] == grade for i, grade in enumerate(truth)]))


def test_dawid_skene_is_closer_to_the_truth_than_the_majority_and_knows_who_guesses():
    ratings, truth = simulated()
    majority = ratings.group_by("query_id").agg(pl.col("grade").mode().sort().first())
    found = consensus(ratings)
    assert accuracy(found.table, truth) > accuracy(majority, truth) + 0.05
    assert accuracy(consensus(ratings, "weighted-median").table, truth) > 0.7
    assert max(found.weights["x"], found.weights["y"]) < 0.2 < 0.6 < min(found.weights["a"], found.weights["b"])
    sure = found.table.filter(pl.col("confidence") > 0.9)
    kept = {f"q{i}": grade for i, grade in enumerate(truth)}
    right = np.mean([kept[q] == g for q, g in sure.select("query_id", "grade").iter_rows()])
    assert right > 0.88, "what it is sure of is right"
    assert consensus(ratings.sample(fraction=1, shuffle=True, seed=1)).table.equals(found.table)


def test_agreement_leaves_out_what_one_rater_saw_and_says_when_kappa_is_undefined():
    rows = [("q1", "p", "a", 3), ("q1", "p", "b", 3), ("q2", "p", "a", 0), ("q2", "p", "b", 1), ("q3", "p", "a", 2)]
    found = agreement(pl.DataFrame(rows, schema=list(RATINGS), orient="row"))
    assert (found.items, found.raters, found.ratings, found.exact) == (2, 2, 4, 0.5)
    assert found.facts()["fleiss_kappa"] is not None
    more = pl.DataFrame([*rows, ("q1", "p", "c", 3)], schema=list(RATINGS), orient="row")
    assert agreement(more).facts()["fleiss_kappa"] is None
    assert agreement(more).facts()["krippendorff_alpha_ordinal"] > 0


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([("q", "p", "a", 4)], "grade 4 of q"),
        ([("q", "p", "a", 1), ("q", "p", "a", 2)], "twice"),
        ([], "no ratings"),
    ],
)
def test_ratings_that_break_a_rule_are_refused(rows, words):
    with pytest.raises(BadInput, match=words):
        consensus(
            pl.DataFrame(
                rows,
                schema={"query_id": pl.String, "product_id": pl.String, "rater": pl.String, "grade": pl.Int64},
                orient="row",
            )
        )
