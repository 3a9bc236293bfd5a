"""The gate lets equally good models through, stops worse ones, and says why and what to do."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from rankops.errors import BadInput, GateFailed
from rankops.evaluation.gate import GateDecision, decide, decide_compression
from rankops.specs import CompressionSpec, GateSpec

QUICK = GateSpec(resamples=300)
NO_FLOORS = GateSpec(resamples=300, floors=())


def tables(values: dict[str, np.ndarray], *, categories: int = 4) -> tuple[pl.DataFrame, pl.DataFrame]:
    n = len(next(iter(values.values())))
    ids = [f"q{i:04d}" for i in range(n)]
    queries = pl.DataFrame(
        {
            "query_id": ids,
            "group_id": [f"g{i:04d}" for i in range(n)],
            "popularity": [("head", "torso", "tail")[i % 3] for i in range(n)],
            "category": [f"c{i % categories}" for i in range(n)],
        }
    )
    parts = [
        pl.DataFrame({"system": s, "query_id": ids, "ndcg@10": v, "recall@100": v, "mrr@10": v})
        for s, v in values.items()
    ]
    return pl.concat(parts), queries


def scores(rng: np.random.Generator, n: int, difference: float, spread: float = 0.1) -> dict[str, np.ndarray]:
    champion = rng.beta(4, 2, n)
    return {
        "champion": champion,
        "challenger": champion + difference + rng.normal(0, spread, n),
        "random": champion - 0.6,
        "bm25": champion - 0.2 + rng.normal(0, 0.1, n),
        "base": champion - 0.2 + rng.normal(0, 0.1, n),
    }


def run_gate(values: dict[str, np.ndarray], spec: GateSpec = QUICK, champion: str | None = "champion") -> GateDecision:
    per_query, queries = tables(values)
    return decide(spec, per_query, queries, challenger="challenger", champion=champion)


def passes(decision: GateDecision) -> dict[str, bool]:
    return {check.name: check.passed for check in decision.checks}


def pass_rate(difference: float, n: int, *, trials: int = 200, spread: float = 0.1) -> float:
    rng = np.random.default_rng(42)
    return float(np.mean([run_gate(scores(rng, n, difference, spread)).passed for _ in range(trials)]))


def test_an_equally_good_retrained_model_passes_in_at_least_ninety_five_percent_of_evaluations() -> None:
    # Another seed's model: single queries move by 0.1, the true quality is the same.
    assert pass_rate(0.0, n=200) >= 0.95


def test_the_very_same_rankings_always_pass_as_challenger() -> None:
    values = scores(np.random.default_rng(0), 40, 0.0)
    decision = run_gate({**values, "challenger": values["champion"]})
    assert decision.passed
    assert next(c for c in decision.checks if c.name == "not-worse-than-champion").measured == 0.0


def test_a_clearly_worse_model_never_passes() -> None:
    assert pass_rate(-0.05, n=200, trials=80) == 0.0


def test_a_model_that_is_worse_by_twice_its_noise_rarely_passes() -> None:
    assert pass_rate(-0.03, n=200, trials=100) <= 0.05


def test_a_better_model_passes_and_the_reasons_give_numbers() -> None:
    decision = run_gate(scores(np.random.default_rng(0), 200, 0.05))
    assert decision.passed and all(passes(decision).values())
    assert any("better than bm25: nDCG@10 +" in reason for reason in decision.reasons)


@pytest.mark.parametrize("floor", ["random", "bm25", "base"])
def test_a_model_that_is_not_proven_above_a_floor_is_blocked(floor: str) -> None:
    values = scores(np.random.default_rng(0), 200, 0.0)
    values[floor] = values["challenger"]
    decision = run_gate(values)
    assert not decision.passed
    assert [name for name, passed in passes(decision).items() if not passed] == [f"above-{floor}"]
    assert any(f"not proven better than {floor}" in reason for reason in decision.reasons)


@pytest.mark.parametrize(("above", "passed"), [(-0.02, True), (0.0, True), (0.02, True), (0.1, False)])
def test_a_proven_gain_over_the_champion_is_not_lost_to_a_floor_that_is_not_proven_better(
    above: float, passed: bool
) -> None:
    rng = np.random.default_rng(0)
    values = scores(rng, 200, 0.05)
    noise = rng.normal(0, 0.4, 200)
    values["base"] = values["challenger"] + above + noise - noise.mean()
    decision = run_gate(values)
    assert decision.passed is passed
    (told,) = [c.explanation for c in decision.checks if c.name == "above-base"]
    assert ("It is not proven worse either" in told) is passed and ("proven worse than base" in told) is not passed
    assert not run_gate(values, champion=None).passed  # a first deployment must be better than each floor


def test_a_proven_loss_within_the_margin_passes_and_beyond_it_blocks() -> None:
    base = scores(np.random.default_rng(0), 200, 0.0)
    small = run_gate({**base, "challenger": base["champion"] - 0.0015})
    large = run_gate({**base, "challenger": base["champion"] - 0.0025})
    assert small.passed
    assert not passes(large)["not-worse-than-champion"]
    assert any("proven worse" in reason for reason in large.reasons)


def test_evidence_too_weak_to_rule_out_a_large_loss_blocks_and_says_how_many_queries_would_do() -> None:
    rng = np.random.default_rng(3)
    values = scores(rng, 40, 0.0)
    noise = rng.normal(0, 0.35, 40)
    decision = run_gate({**values, "challenger": values["champion"] + noise - noise.mean()}, NO_FLOORS)
    assert passes(decision)["not-worse-than-champion"] and not passes(decision)["large-loss-ruled-out"]
    assert any("judged queries would settle it (now 40)" in reason for reason in decision.reasons)


def test_a_loss_in_one_slice_blocks_even_where_the_mean_is_better() -> None:
    values = scores(np.random.default_rng(0), 240, 0.05, spread=0.05)
    hurt = np.arange(240) % 4 == 2
    values["challenger"] = np.where(hurt, values["champion"] - 0.08, values["challenger"])
    decision = run_gate(values)
    assert [name for name, passed in passes(decision).items() if not passed] == ["slice:category=c2"]


def test_slices_are_corrected_for_their_number() -> None:
    # Forty slices of equal quality: without correction one in forty would be blocked by chance in most evaluations.
    rng = np.random.default_rng(9)
    spec = GateSpec(resamples=200, floors=(), slice_margin=0.0, margin=0.5, max_plausible_loss=0.5)
    blocked = 0
    for _ in range(60):
        per_query, queries = tables(scores(rng, 1000, 0.0), categories=40)
        blocked += not decide(spec, per_query, queries, challenger="challenger", champion="champion").passed
    assert blocked / 60 <= 0.1


def test_slices_with_few_queries_are_named_and_not_judged() -> None:
    values = scores(np.random.default_rng(0), 60, 0.0)
    values["challenger"] = np.where(np.arange(60) % 4 == 1, values["champion"] - 0.2, values["champion"] + 0.1)
    decision = run_gate(values, NO_FLOORS)
    assert not any("category" in name for name in passes(decision))
    assert any("too few queries to judge (below 20): category=c0" in reason for reason in decision.reasons)


def test_too_few_queries_block_with_a_remedy() -> None:
    decision = run_gate(scores(np.random.default_rng(0), 20, 0.1))
    assert not decision.passed and not passes(decision)["enough-queries"]
    assert any("Judge more queries" in reason for reason in decision.reasons)
    assert not run_gate(scores(np.random.default_rng(0), 1, 0.1)).passed


def test_near_duplicates_of_one_query_are_one_piece_of_evidence() -> None:
    per_query, queries = tables(scores(np.random.default_rng(0), 40, 0.1))
    same = queries.with_columns(group_id=pl.lit("g"))
    decision = decide(QUICK, per_query, same, challenger="challenger", champion="champion")
    assert not decision.passed and "1 groups" in decision.reasons[0]


def test_a_first_deployment_is_decided_by_the_floors_and_says_so() -> None:
    decision = run_gate(scores(np.random.default_rng(0), 100, 0.0), champion=None)
    assert decision.passed
    assert set(passes(decision)) == {"enough-queries", "above-random", "above-bm25", "above-base"}
    assert any("first deployment" in reason for reason in decision.reasons)


TASK_FLOORS = {
    "retrieval": ("random", "bm25", "base"),
    "recommendation": ("random", "popularity", "item-item", "text"),
    "matching": ("random", "text", "base"),
}


@pytest.mark.parametrize("task", TASK_FLOORS)
def test_the_first_deployment_of_each_task_needs_every_floor_of_it(task: str) -> None:
    floors = TASK_FLOORS[task]
    spec = GateSpec(resamples=300, floors=floors)  # type: ignore[arg-type]
    rng = np.random.default_rng(1)
    ours = rng.beta(4, 2, 120)
    values = {"challenger": ours, **{floor: ours - 0.2 + rng.normal(0, 0.1, 120) for floor in floors}}
    decision = run_gate(values, spec, champion=None)
    assert decision.passed and set(passes(decision)) == {"enough-queries", *(f"above-{floor}" for floor in floors)}
    for floor in floors:
        blocked = run_gate({**values, floor: ours + rng.normal(0, 0.01, 120)}, spec, champion=None)
        assert [name for name, passed in passes(blocked).items() if not passed] == [f"above-{floor}"]


def test_only_the_named_dimensions_can_block() -> None:
    values = scores(np.random.default_rng(0), 240, 0.05, spread=0.05)
    hurt = np.arange(240) % 4 == 2
    values["challenger"] = np.where(hurt, values["champion"] - 0.08, values["challenger"])
    assert not run_gate(values).passed
    assert run_gate(values, GateSpec(resamples=300, slices=("popularity", "brand"))).passed


def test_a_missing_system_is_an_error_and_not_a_pass() -> None:
    per_query, queries = tables(scores(np.random.default_rng(0), 40, 0.0))
    with pytest.raises(BadInput, match="'bm25' is scored on 0 queries"):
        decide(QUICK, per_query.filter(pl.col("system") != "bm25"), queries, challenger="challenger", champion=None)


def test_systems_scored_on_different_queries_cannot_be_compared() -> None:
    per_query, queries = tables(scores(np.random.default_rng(0), 40, 0.0))
    part = per_query.filter((pl.col("system") != "champion") | (pl.col("query_id") != "q0003"))
    with pytest.raises(BadInput, match="'champion' is scored on 39 queries, the others on 40"):
        decide(QUICK, part, queries, challenger="challenger", champion="champion")


def test_a_closed_gate_raises_with_the_failing_reasons() -> None:
    decision = run_gate(scores(np.random.default_rng(0), 200, -0.3))
    with pytest.raises(GateFailed, match="proven worse"):
        decision.require("release abc")
    run_gate(scores(np.random.default_rng(0), 200, 0.1)).require("release abc")


def compression(loss: float, n: int = 100) -> GateDecision:
    rng = np.random.default_rng(0)
    before = rng.beta(4, 2, n)
    noise = rng.normal(0, 0.01, n)
    after = before * (1 - loss) + noise - noise.mean()
    ids = [f"q{i}" for i in range(n)]
    fp32 = pl.DataFrame({"query_id": ids, "ndcg@10": before})
    shuffled = pl.DataFrame({"query_id": ids, "ndcg@10": after}).sample(fraction=1.0, shuffle=True, seed=1)
    return decide_compression(CompressionSpec(), fp32, shuffled, resamples=300)


@pytest.mark.parametrize(
    ("loss", "passed"), [(0.0, True), (0.0049, True), (0.0051, False), (0.2, False), (-0.02, True)]
)
def test_compression_may_lose_its_budget_and_no_more(loss: float, passed: bool) -> None:
    decision = compression(loss)
    check = decision.checks[0]
    assert decision.passed is passed
    assert check.measured == pytest.approx(loss, abs=1e-9) and check.bound == 0.005
    assert check.interval is not None and check.interval.low < loss < check.interval.high


def test_compression_is_compared_on_the_same_queries_only() -> None:
    fp32 = pl.DataFrame({"query_id": ["a", "b"], "ndcg@10": [0.5, 0.6]})
    with pytest.raises(BadInput, match="fp32 is scored on 2 queries, compressed on 1"):
        decide_compression(CompressionSpec(), fp32, fp32.head(1))
    with pytest.raises(BadInput, match=r"fp32 model's ndcg@10 is 0\.0"):
        zero = fp32.with_columns(pl.lit(0.0).alias("ndcg@10"))
        decide_compression(CompressionSpec(), zero, zero)
