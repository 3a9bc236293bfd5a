from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rankops.cli import app
from tests.load.stand_in import ok, serving

RUN = CliRunner()


@pytest.fixture
def queries(tmp_path: Path) -> Path:
    file = tmp_path / "queries.txt"
    file.write_text("red shoe\nblue lamp\n")
    return file


def test_rates_are_held_and_told_as_table_json_and_plot(tmp_path: Path, queries: Path) -> None:
    with serving(lambda server, number: (0.0, ok())) as (url, server):
        options = [
            "--queries",
            str(queries),
            "--rate",
            "100,200",
            "--seconds",
            "0.5",
            "--objective-ms",
            "5000",
            "--warm-up",
            "0",
            "--out",
            str(tmp_path / "out"),
        ]
        done = RUN.invoke(app, ["load-test", url, *options])
    assert done.exit_code == 0, done.output
    assert "p99 ms" in done.stdout
    record = json.loads((tmp_path / "out" / "load.json").read_text())
    assert [stage["rate"] for stage in record["stages"]] == [100.0, 200.0]
    assert all(stage["failures"] == {} and stage["sent"] > 0 for stage in record["stages"])
    assert (tmp_path / "out" / "latency.png").read_bytes().startswith(b"\x89PNG")
    assert {json.loads(r.partition(b"\r\n\r\n")[2])["query"] for r in server.requests} == {"red shoe", "blue lamp"}


def test_a_rate_that_misses_the_objective_ends_with_1_and_says_why(queries: Path) -> None:
    with serving(lambda server, number: (0.05, ok())) as (url, _):
        options = [
            "--queries",
            str(queries),
            "--rate",
            "50",
            "--seconds",
            "0.5",
            "--objective-ms",
            "20",
            "--warm-up",
            "0",
        ]
        done = RUN.invoke(app, ["load-test", url, *options])
    assert done.exit_code == 1
    assert "misses p99 <= 20 ms" in done.stdout


def test_without_a_rate_the_capacity_is_searched(tmp_path: Path, queries: Path) -> None:
    with serving(lambda server, number: (0.002, ok())) as (url, _):
        options = [
            "--queries",
            str(queries),
            "--seconds",
            "0.3",
            "--objective-ms",
            "5000",
            "--clients",
            "2",
            "--warm-up",
            "0",
            "--out",
            str(tmp_path / "out"),
        ]
        done = RUN.invoke(app, ["load-test", url, *options])
    assert done.exit_code == 0, done.output
    assert "capacity" in done.stdout
    assert 0 < json.loads((tmp_path / "out" / "load.json").read_text())["capacity"] < 575  # 2 ms a request
    assert (tmp_path / "out" / "capacity.png").is_file()


def test_what_is_wrong_is_named(tmp_path: Path, queries: Path) -> None:
    (tmp_path / "empty.txt").write_text("\n")
    for arguments, words in (
        (["http://127.0.0.1:1", "--queries", str(tmp_path / "none.txt")], "none.txt"),
        (["http://127.0.0.1:1", "--queries", str(tmp_path / "empty.txt")], "no query"),
        (["http://127.0.0.1:1", "--queries", str(queries), "--rate", "fast"], "--rate"),
        (["http://127.0.0.1:1", "--queries", str(queries), "--process", "bursts"], "poisson"),
        (["http://127.0.0.1:1", "--queries", str(queries), "--seconds", "0.2", "--warm-up", "0"], "answered nothing"),
    ):
        done = RUN.invoke(app, ["load-test", *arguments])
        assert done.exit_code == 1 and words in done.output, done.output


@pytest.mark.parametrize(
    ("name", "text", "bodies"),
    [
        ("q.tsv", "query_id\tquery\tsplit\nq1\tred shoe\ttest\n", [{"query": "red shoe"}]),
        ("q.jsonl", '{"query": "lamp", "k": 3}\n', [{"query": "lamp", "k": 3}]),
        ("q.txt", " red shoe \n\nlamp\n", [{"query": "red shoe"}, {"query": "lamp"}]),
    ],
)
def test_queries_are_read_from_the_files_that_people_have(
    tmp_path: Path, name: str, text: str, bodies: list[object]
) -> None:
    from rankops.load.http import read_bodies

    (tmp_path / name).write_text(text)
    assert read_bodies(tmp_path / name) == bodies
