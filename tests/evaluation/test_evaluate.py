"""An evaluation tells the whole story: means, differences, slices, regressed queries, decision; and it travels."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import polars as pl
import pytest
from pydantic import ValidationError

from rankops.dataset import Dataset
from rankops.errors import BadInput
from rankops.evaluation.evaluate import evaluate
from rankops.evaluation.plots import deltas_png, slices_png, systems_png
from rankops.evaluation.render import escape, evaluation_markdown, systems_markdown, worst_queries_markdown
from rankops.evaluation.results import Evaluation
from rankops.evaluation.storage import load_evaluation
from rankops.runs import bm25_run, encoder_run, random_run
from rankops.specs import GateSpec
from tests.evaluation.samples import WordEncoder, noisy_run, small_shop

SPEC = GateSpec(resamples=300)


@pytest.fixture(scope="module")
def evaluation(shop: Dataset, runs) -> Evaluation:
    return evaluate(shop, runs, challenger="challenger", champion="champion", spec=SPEC)


def test_means_are_ordered_as_the_rankings_are(evaluation: Evaluation) -> None:
    means = [evaluation.system(s).metrics["ndcg@10"].mean for s in ("random", "bm25", "base", "champion", "challenger")]
    assert means == sorted(means) and evaluation.n_queries == 60 and evaluation.skipped_queries == 0
    table = evaluation.per_query.filter(pl.col("system") == "champion")
    assert evaluation.system("champion").metrics["ndcg@10"].mean == pytest.approx(table["ndcg@10"].mean())


def test_every_system_is_compared_by_every_metric_and_called_by_its_verdict(evaluation: Evaluation) -> None:
    verdicts = {(c.other, c.metric): c.verdict for c in evaluation.comparisons}
    assert len(verdicts) == 4 * 3
    assert verdicts["random", "ndcg@10"] == "better"
    assert verdicts["random", "recall@100"] == "not_worse"  # every product of the pool is within the first 100


def test_the_worse_of_two_models_is_called_worse_and_blocked(shop: Dataset, runs) -> None:
    swapped = {**runs, "champion": runs["challenger"], "challenger": runs["base"]}
    found = evaluate(shop, swapped, challenger="challenger", champion="champion", spec=SPEC)
    verdicts = {(c.other, c.metric): c.verdict for c in found.comparisons}
    assert verdicts["champion", "ndcg@10"] == "worse" and not found.decision.passed


def test_slices_cover_every_query_once_for_each_column(evaluation: Evaluation) -> None:
    for column in ("popularity", "category"):
        assert sum(s.n for s in evaluation.slices if s.name.startswith(column)) == 60


def test_regressed_queries_come_worst_first_with_titles(evaluation: Evaluation) -> None:
    losses = [q.reference_score - q.challenger_score for q in evaluation.regressed]
    assert losses and losses == sorted(losses, reverse=True) and losses[-1] > 0
    assert evaluation.regressed[0].reference_titles[0].startswith("thing")


def test_without_a_champion_the_base_model_is_the_reference(shop: Dataset, runs) -> None:
    first = {name: run for name, run in runs.items() if name != "champion"}
    found = evaluate(shop, first, challenger="challenger", champion=None, spec=SPEC)
    assert found.reference == "base" and found.decision.passed


def test_queries_with_nothing_relevant_are_skipped_and_counted(runs) -> None:
    shop = small_shop()
    judgements = shop.judgements.with_columns(
        pl.when(pl.col("query_id") == "q000")
        .then(pl.min_horizontal("grade", 1))
        .otherwise("grade")
        .cast(pl.Int8)
        .alias("grade")
    )
    poorer = Dataset(shop.catalogue, shop.interactions, shop.queries, judgements)
    found = evaluate(poorer, runs, challenger="challenger", champion="champion", spec=SPEC)
    assert (found.n_queries, found.skipped_queries) == (59, 1)
    assert "1 queries without a relevant product were left out" in evaluation_markdown(found)


def test_other_splits_are_never_scored() -> None:
    shop = small_shop()
    queries = shop.queries.with_columns(
        split=pl.when(pl.col("query_id") < "q010").then(pl.lit("train")).otherwise("split")
    )
    mixed = Dataset(shop.catalogue, shop.interactions, queries, shop.judgements)
    runs = {s: noisy_run(mixed, n, 0) for s, n in {"random": 30.0, "bm25": 3.0, "base": 3.0, "new": 0.1}.items()}
    found = evaluate(mixed, runs, challenger="new", champion=None, spec=SPEC)
    assert found.n_queries == 50 and found.per_query["query_id"].min() == "q010"


def test_a_missing_run_and_equal_names_are_refused(shop: Dataset, runs) -> None:
    without = {name: run for name, run in runs.items() if name != "bm25"}
    with pytest.raises(BadInput, match="no run of bm25"):
        evaluate(shop, without, challenger="challenger", champion=None, spec=SPEC)
    with pytest.raises(BadInput, match="both 'challenger'"):
        evaluate(shop, runs, challenger="challenger", champion="challenger", spec=SPEC)


def test_a_split_without_relevant_judgements_is_refused(shop: Dataset, runs) -> None:
    with pytest.raises(BadInput, match="none of the 0 dev queries"):
        evaluate(shop, runs, challenger="challenger", champion=None, spec=SPEC, split="dev")


def test_real_baselines_go_through_the_same_door(shop: Dataset) -> None:
    asked = list(shop.split("test").select("query_id", "query").iter_rows())
    texts, ids = shop.product_texts(), shop.catalogue["product_id"].to_list()
    runs = {
        "random": random_run([q for q, _ in asked], ids, 1),
        "bm25": bm25_run(asked, texts, ids),
        "words": encoder_run(WordEncoder(4096), asked, texts, ids),
    }
    found = evaluate(shop, runs, challenger="words", champion=None, spec=GateSpec(resamples=300, floors=("random",)))
    assert found.decision.passed and found.reference == "bm25"
    assert found.system("bm25").metrics["ndcg@10"].mean > 0.9 > 0.2 > found.system("random").metrics["ndcg@10"].mean


def test_an_evaluation_survives_the_folder(evaluation: Evaluation, tmp_path: Path) -> None:
    evaluation.save(tmp_path)
    again = load_evaluation(tmp_path)
    assert again.model_dump() == evaluation.model_dump()
    assert again.per_query.equals(evaluation.per_query)
    names = {"evaluation.json", "per_query.parquet", "report.md", "systems.png", "slices.png", "deltas.png"}
    assert {path.name for path in tmp_path.iterdir()} == names


def test_the_same_evaluation_gives_the_same_bytes(evaluation: Evaluation, shop: Dataset, runs, tmp_path: Path) -> None:
    evaluation.save(tmp_path / "a")
    evaluate(shop, runs, challenger="challenger", champion="champion", spec=SPEC).save(tmp_path / "b")
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


def test_missing_and_malformed_files_are_named(evaluation: Evaluation, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"evaluation\.json is missing"):
        load_evaluation(tmp_path)
    evaluation.save(tmp_path)
    content = json.loads((tmp_path / "evaluation.json").read_text())
    (tmp_path / "evaluation.json").write_text(json.dumps({**content, "status": "green"}))
    with pytest.raises(BadInput, match="status"):
        load_evaluation(tmp_path)
    with pytest.raises(ValidationError):
        Evaluation.model_validate({**content, "n_queries": "many"})


def test_the_best_system_is_bold_and_first(evaluation: Evaluation) -> None:
    first = systems_markdown(evaluation).splitlines()[2]
    assert first.startswith("| `challenger` | **0.9")


def test_text_from_people_can_break_no_table_and_ping_nobody(evaluation: Evaluation) -> None:
    nasty = evaluation.regressed[0].model_copy(update={"query": "a | b <img src=x> @team #12\n`x`"})
    found = worst_queries_markdown(evaluation.model_copy(update={"regressed": [nasty]}))
    assert len(found.splitlines()) == 3
    row = found.splitlines()[2]
    assert row.count(" | ") - row.count("\\| ") <= 4 and "@team" not in row and "#12" not in row and r"\<img" in row
    assert escape("a_b*c") == r"a\_b\*c"


def test_plots_are_png_of_a_readable_size(evaluation: Evaluation) -> None:
    for draw in (systems_png, slices_png, deltas_png):
        data = draw(evaluation)
        width, height = struct.unpack(">II", data[16:24])
        assert data[:8] == b"\x89PNG\r\n\x1a\n" and width >= 900 and 150 <= height <= 2000


def test_plots_have_something_to_say_when_there_is_nothing_to_compare(shop: Dataset, runs) -> None:
    alone = evaluate(
        shop, {"challenger": runs["base"]}, challenger="challenger", champion=None, spec=GateSpec(floors=())
    )
    for draw in (systems_png, slices_png, deltas_png):
        assert draw(alone)[:4] == b"\x89PNG"
    assert alone.reference is None and "regressed" not in evaluation_markdown(alone)


def test_a_dollar_sign_in_a_name_is_not_mathematics(shop: Dataset, runs) -> None:
    named = {**{k: v for k, v in runs.items() if k != "challenger"}, "cost$a_b$": runs["challenger"]}
    found = evaluate(shop, named, challenger="cost$a_b$", champion="champion", spec=SPEC)
    assert systems_png(found)[:4] == b"\x89PNG"
