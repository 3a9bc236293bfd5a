"""The dev metric against a reference implementation, the encoder, the curve, the command."""

from __future__ import annotations

import json
import signal
import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rankops.errors import BadInput
from rankops.specs import TrainingSpec
from rankops.training.__main__ import main
from rankops.training.dev import build_dev_task, ndcg_at_10
from rankops.training.job import TrainingJob, TrainingResult
from rankops.training.plots import training_curve
from rankops.training.torch_encoder import TorchEncoder
from tests.training.conftest import build_dataset


def test_ndcg_is_what_the_definition_gives_by_hand() -> None:
    ranked = np.array([7, 1, 9, 2, *range(20, 30)])
    # gains 0, 3, 0, 1 at ranks 1..4 over the ideal 3, 2, 1; linear gains as in trec_eval, ranx "ndcg"
    expected = (3 / np.log2(3) + 1 / np.log2(5)) / (3 / np.log2(2) + 2 / np.log2(3) + 1 / np.log2(4))
    assert ndcg_at_10(ranked, {1: 3, 2: 1, 5: 2}) == pytest.approx(expected, abs=1e-12)
    assert ndcg_at_10(ranked, {29: 3}) == 0.0  # rank 14
    assert ndcg_at_10(np.arange(10), {p: 3 - p // 4 for p in range(10)}) == pytest.approx(1.0)
    many = dict.fromkeys(range(40), 1)  # more relevant products than ten: the ideal list stops at ten
    assert ndcg_at_10(np.arange(10), many) == pytest.approx(1.0)


def test_the_dev_pool_holds_the_best_product_of_each_query_and_respects_the_cap() -> None:
    dataset = build_dataset()
    task = build_dev_task(dataset, seed=0, max_queries=10, max_products=12)
    assert len(task.queries) == 10 and len(task.pool) == 12 and task.pool == sorted(set(task.pool))
    assert all(len(grades) == 1 for grades in task.grades)
    assert task == build_dev_task(dataset, seed=0, max_queries=10, max_products=12)
    small = build_dev_task(dataset, seed=0, max_products=5)
    assert len(small.queries) == 5 == len(small.pool)
    perfect = np.eye(12, dtype=np.float32)
    queries = np.stack([perfect[next(iter(grades))] for grades in task.grades])
    assert task.ndcg(queries, perfect) == pytest.approx(1.0)


def test_a_dev_split_without_relevant_products_is_refused() -> None:
    dataset = build_dataset()
    with pytest.raises(BadInput, match="dev split"):
        build_dev_task(replace(dataset, judgements=dataset.judgements.clear()), seed=0)


def test_the_encoder_cuts_by_role_and_keeps_the_order_of_its_input(tiny_model: Path) -> None:
    encoder = TorchEncoder(tiny_model, max_query_tokens=8, max_product_tokens=16)
    texts = [" ".join(["lamp"] * n) + " sofa" for n in (1, 30, 9, 4)]
    queries, products = encoder.encode(texts, role="query"), encoder.encode(texts, role="product")
    assert queries.shape == (4, 32) == (len(texts), encoder.dimension) and queries.dtype == np.float32
    assert np.allclose(np.linalg.norm(products, axis=1), 1, atol=1e-6)
    alone = np.concatenate([encoder.encode([text], role="product") for text in texts])
    assert np.allclose(alone, products, atol=1e-5)
    assert np.allclose(queries[1], encoder.encode(["lamp " * 6], role="query")[0], atol=1e-5)  # cut to 6 words
    assert not np.allclose(products[2], queries[2], atol=1e-3)
    assert encoder.encode([], role="query").shape == (0, 32)


def test_the_curve_is_a_png(tmp_path: Path) -> None:
    result = TrainingResult(
        steps=4, stopped_early=True, best_step=2, dev_metric_before=0.2, dev_metric_best=0.4, seconds=1.0,
        losses=[(1, 2.0), (2, 1.5), (3, 1.2), (4, 1.1)], dev_curve=[(0, 0.2), (2, 0.4), (4, 0.35)], pairs=10, seed=1,
        parameters=9, trained_parameters=9, dev_queries=3, dev_products=5, inputs="0" * 64, spec=TrainingSpec(),
    )  # fmt: skip
    png = training_curve(result)
    width, height = struct.unpack(">II", png[16:24])
    assert png.startswith(b"\x89PNG") and width > 600 and height > 300
    assert png == training_curve(result)


@pytest.fixture
def sigterm_kept() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("sigterm_kept")
def test_under_pipes_progress_is_logged_and_the_result_is_a_custom_message(
    make_job: Callable[..., TrainingJob], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dagster_pipes import encode_param

    job, context, messages = make_job("piped", max_steps=3), tmp_path / "context.json", tmp_path / "messages.jsonl"
    nothing = dict.fromkeys(
        ["asset_keys", "code_version_by_asset_key", "provenance_by_asset_key", "partition_key", "partition_key_range",
         "partition_time_window", "job_name"]
    )  # fmt: skip
    context.write_text(json.dumps({**nothing, "run_id": "r", "retry_number": 0, "extras": {}}))
    messages.touch()
    monkeypatch.setenv("DAGSTER_PIPES_CONTEXT", encode_param({"path": str(context)}))
    monkeypatch.setenv("DAGSTER_PIPES_MESSAGES", encode_param({"path": str(messages)}))
    (tmp_path / "job.json").write_text(job.model_dump_json())
    assert main([str(tmp_path / "job.json")]) == 0
    lines = [json.loads(line) for line in messages.read_text().splitlines()]
    custom = [line["params"]["payload"] for line in lines if line["method"] == "report_custom_message"]
    logged = [line["params"]["message"] for line in lines if line["method"] == "log"]
    assert [TrainingResult.model_validate(payload).steps for payload in custom] == [3]
    assert any(line.startswith("step 3/3") and "dev nDCG@10" in line for line in logged)
    assert json.loads((job.output.parent / "result.json").read_text()) == custom[0]


@pytest.mark.usefixtures("sigterm_kept")
@pytest.mark.parametrize(
    ("content", "message"), [(None, "cannot be read"), ("{}", "spec: Field required"), ("no", "Invalid JSON")]
)
def test_a_bad_job_file_ends_with_1_and_says_why(
    content: str | None, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "job.json"
    if content is not None:
        path.write_text(content)
    assert main([str(path)]) == 1
    error = capsys.readouterr().err
    assert message in error and "remedy:" in error


@pytest.mark.usefixtures("sigterm_kept")
def test_a_missing_table_ends_with_1_and_leaves_no_checkpoint(
    make_job: Callable[..., TrainingJob], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    job = make_job("nodata").model_copy(update={"dataset": empty})
    (tmp_path / "job.json").write_text(job.model_dump_json())
    assert main([str(tmp_path / "job.json")]) == 1
    assert "catalogue.parquet is missing" in capsys.readouterr().err
    assert not job.output.exists()
