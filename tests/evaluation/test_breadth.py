"""What is known beside the gate's metric travels with the evaluation, is drawn, and reads well."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from rankops.evaluation.breadth import broaden
from rankops.evaluation.evaluate import evaluate
from rankops.evaluation.probes import with_probes
from rankops.evaluation.render import evaluation_markdown
from rankops.evaluation.results import Evaluation
from rankops.evaluation.storage import load_evaluation
from rankops.specs import EvaluationSpec, GateSpec, ModelSpec, RankingSpec
from rankops.stages import breadth as glue
from tests.evaluation.rich_shop import rich_shop
from tests.evaluation.samples import noisy_run

SPEC = GateSpec(floors=("random",), resamples=200)


@pytest.fixture(scope="module")
def broad() -> Evaluation:
    dataset = rich_shop()
    probed = with_probes(dataset, 40, min_grade=2)
    noise = {"random": 30.0, "champion": 1.1, "challenger": 0.8}
    runs = {name: noisy_run(probed.dataset, level, seed) for seed, (name, level) in enumerate(noise.items())}
    narrow = evaluate(dataset, runs, challenger="challenger", champion="champion", spec=SPEC)
    return broaden(narrow, dataset, runs, task="retrieval", gates=SPEC, spec=EvaluationSpec(), probes=probed.table)


def test_breadth_survives_the_folder_with_its_plots(broad: Evaluation, tmp_path: Path) -> None:
    broad.save(tmp_path)
    assert load_evaluation(tmp_path).model_dump() == broad.model_dump()
    assert {"robustness.png", "exposure.png", "power.png"} <= {path.name for path in tmp_path.iterdir()}
    for name in ("robustness.png", "exposure.png", "power.png"):
        width, height = struct.unpack(">II", (tmp_path / name).read_bytes()[16:24])
        assert width >= 900 and 200 <= height <= 1500


def test_the_report_has_every_part(broad: Evaluation) -> None:
    report = evaluation_markdown(broad)
    for heading in ("Further metrics", "Robustness", "Exposure", "Leaks", "What this gate can see"):
        assert f"### {heading}" in report
    assert "MAP@100" in report and "Gini index" in report and "| no-leak" not in report.split("### Systems")[1]
    for line in report.splitlines():
        if line.startswith("|"):
            assert line.endswith("|")


def test_a_clean_dataset_adds_one_check_that_passed(broad: Evaluation) -> None:
    assert [check.name for check in broad.decision.checks][-1] == "no-leak" and broad.decision.passed


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        (ModelSpec(name="m", task="recommendation"), "products have no typos"),
        (ModelSpec(name="m", task="ranking", ranking=RankingSpec(objective="match")), "titles"),
        (ModelSpec(name="m", task="retrieval", evaluation=EvaluationSpec(probe_queries=0)), "probe_queries is 0"),
    ],
)
def test_what_cannot_be_probed_says_why(spec: ModelSpec, reason: str) -> None:
    found = glue.asked(rich_shop(6), spec)
    assert found.probes is None and reason in found.unprobed


def test_a_ranker_is_asked_a_quarter_of_the_probes() -> None:
    dataset = rich_shop(60)
    probes = glue.asked(dataset, ModelSpec(name="m", task="ranking")).probes
    assert probes is not None and probes["query_id"].n_unique() == 25
