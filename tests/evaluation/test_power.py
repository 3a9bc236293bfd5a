"""The gate's promise, by simulation at the size of the generated shop: equal models pass, a 1 % loss in the tail does not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from rankops.dataset import Dataset
from rankops.evaluation.gate import align, decide
from rankops.evaluation.metrics import per_query
from rankops.evaluation.power import GatePower, power
from rankops.evaluation.render_breadth import power_sentence
from rankops.specs import GateSpec
from tests.evaluation.samples import noisy_run, small_shop

SPEC = GateSpec(floors=(), resamples=200)
SIZES = {"head": 26, "torso": 122, "tail": 252}
"""Test queries of the generated shop (worlds/demo.yaml) by popularity; its categories are thirteen."""


@pytest.fixture(scope="module")
def search() -> Dataset:
    dataset = small_shop(sum(SIZES.values()), seed=1)
    popularity = np.random.default_rng(5).permutation([name for name, n in SIZES.items() for _ in range(n)])
    queries = dataset.queries.with_columns(
        pl.Series("popularity", popularity.tolist()),
        pl.Series("category", [f"c{i % 13}" for i in range(dataset.queries.height)]),
        # as there, about one query in eight has a near-duplicate
        pl.Series("group_id", [f"g{i - (i % 8 == 7)}" for i in range(dataset.queries.height)]),
    )
    return replace(dataset, queries=queries)


@pytest.fixture(scope="module")
def champion(search: Dataset) -> dict[str, list[str]]:
    return noisy_run(search, 1.5, seed=2)


def measured(search: Dataset, run: dict[str, list[str]]) -> np.ndarray:
    return per_query(run, search.judgements)["ndcg@10"].to_numpy()


def demoted(search: Dataset, run: dict[str, list[str]], share: float, seed: int) -> dict[str, list[str]]:
    """The same rankings, but in random tail queries a good product steps down by two places, until the tail's mean
    has lost ``share``."""
    rng = np.random.default_rng(seed)
    tail = search.queries.filter(pl.col("popularity") == "tail")["query_id"].to_list()
    before = dict(zip(search.queries["query_id"].to_list(), measured(search, run), strict=True))
    budget = share * sum(before[query] for query in tail)
    broken = dict(run)
    order = rng.permutation(tail).tolist()
    trial = {query: [*run[query][1:3], run[query][0], *run[query][3:]] for query in order}
    after = per_query(trial, search.judgements.filter(pl.col("query_id").is_in(order)))
    lost = dict(zip(after["query_id"].to_list(), after["ndcg@10"].to_list(), strict=True))
    for query in order:
        if budget > 0 and before[query] - lost[query] > 0:
            broken[query] = trial[query]
            budget -= before[query] - lost[query]
    return broken


def block_rate(search: Dataset, ours: np.ndarray, theirs: np.ndarray, *, trials: int, seed: int, flip: bool) -> float:
    """How often the real gate blocks, on bootstrap samples of query groups (and, with ``flip``, exchanged systems)."""
    rng = np.random.default_rng(seed)
    groups = search.queries["group_id"].to_numpy()
    names = np.unique(groups)
    members = {name: np.flatnonzero(groups == name) for name in names}
    blocked = 0
    for _ in range(trials):
        drawn = rng.choice(names, len(names))
        rows = np.concatenate([members[name] for name in drawn])
        labels = [f"{place}" for place, name in enumerate(drawn) for _ in members[name]]
        ids = [f"q{i:04d}" for i in range(len(rows))]
        swap = np.repeat(rng.random(len(drawn)) < 0.5, [len(members[name]) for name in drawn]) & flip
        a, b = np.where(swap, theirs[rows], ours[rows]), np.where(swap, ours[rows], theirs[rows])
        queries = search.queries[rows].with_columns(pl.Series("query_id", ids), pl.Series("group_id", labels))
        table = pl.concat(
            pl.DataFrame({"system": system, "query_id": ids, "ndcg@10": values})
            for system, values in (("challenger", a), ("champion", b))
        )
        blocked += not decide(SPEC, table, queries, challenger="challenger", champion="champion").passed
    return blocked / trials


@pytest.mark.parametrize("noise", [0.0, 0.05, 0.6])
def test_an_identical_model_passes_in_at_least_ninety_five_percent(search: Dataset, champion, noise: float) -> None:
    # 0: the same bytes; 0.05: near ties fall otherwise on another machine; 0.6: another seed of the training
    theirs = measured(search, champion)
    other = measured(search, noisy_run(search, 1.5, seed=3))
    ours = np.where(np.random.default_rng(1).random(len(theirs)) < noise, other, theirs)
    assert (np.abs(ours - theirs) > 0).mean() == pytest.approx(noise, abs=0.05)
    trials = 150 if noise else 20
    assert block_rate(search, ours, theirs, trials=trials, seed=4, flip=True) <= 0.05


def test_a_loss_of_one_percent_in_the_tail_is_blocked_in_at_least_eighty_percent(search: Dataset, champion) -> None:
    theirs = measured(search, champion)
    tail = (search.queries["popularity"] == "tail").to_numpy()
    rates = []
    for seed in range(4):  # four damages, each on other queries
        ours = measured(search, demoted(search, champion, 0.01, seed))
        assert ours[tail].mean() / theirs[tail].mean() == pytest.approx(0.99, abs=0.001)
        assert (ours[~tail] == theirs[~tail]).all()
        rates.append(block_rate(search, ours, theirs, trials=20, seed=seed, flip=False))
    assert np.mean(rates) >= 0.8


def simulated(search: Dataset, ours: np.ndarray, theirs: np.ndarray, **changes) -> GatePower:
    ids = search.queries["query_id"].to_list()
    table = pl.concat(
        pl.DataFrame({"system": system, "query_id": ids, "ndcg@10": values})
        for system, values in (("challenger", ours), ("champion", theirs))
    )
    scores = align(table, search.queries, ["challenger", "champion"], "ndcg@10")
    found = power(SPEC, scores, reference="champion", **{"challenger": "challenger", **changes})
    assert found is not None
    return found


def test_the_simulation_that_the_ui_shows_agrees_with_the_gate_itself(search: Dataset, champion) -> None:
    theirs, ours = measured(search, champion), measured(search, noisy_run(search, 1.5, seed=3))
    found = simulated(search, ours, theirs)
    assert (found.slice, found.n) == ("popularity=tail", 252)
    assert found.passes_unchanged == 1.0 and (found.passes_retrained or 0) >= 0.95
    assert found.smallest_unchanged == 0.01
    # a retrained model's noise hides small losses: the truth about power
    assert found.smallest_retrained is not None and found.smallest_retrained >= 0.05
    lost = np.where((search.queries["popularity"] == "tail").to_numpy(), ours - 0.1 * theirs, ours)
    row = next(row for row in found.caught if row.loss == 0.1)
    assert block_rate(search, lost, theirs, trials=40, seed=9, flip=False) == pytest.approx(row.retrained, abs=0.25)
    assert "a loss of 1% or more in a model that is otherwise unchanged" in power_sentence(found)


def test_rates_grow_with_the_loss_and_are_the_same_every_time(search: Dataset, champion) -> None:
    theirs, ours = measured(search, champion), measured(search, noisy_run(search, 1.5, seed=3))
    found = simulated(search, ours, theirs, draws=200)
    again = simulated(search, ours, theirs, draws=200)
    assert found == again
    rates = [row.retrained or 0.0 for row in found.caught]
    assert rates == sorted(rates)


def test_hits_lose_whole_hits_and_few_of_them_are_not_seen(search: Dataset) -> None:
    hits = (np.random.default_rng(0).random(400) < 0.3).astype(float)
    found = simulated(search, hits, hits, challenger=None)
    assert found.passes_retrained is None and found.caught[0].unchanged < 0.05
    assert found.smallest_unchanged is not None and found.smallest_unchanged >= 0.1
    assert "not known before there is a champion" in power_sentence(found)


def test_without_a_large_slice_there_is_no_figure(search: Dataset) -> None:
    table = pl.DataFrame({"system": "a", "query_id": search.queries["query_id"], "ndcg@10": np.ones(400)})
    scores = align(table, search.queries, ["a"], "ndcg@10")
    alone = GateSpec(floors=(), min_slice_queries=300)
    assert power(alone, scores, reference="a", challenger=None) is None
