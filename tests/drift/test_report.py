from __future__ import annotations

import json
import re
import socket
from pathlib import Path

import polars as pl
import pytest

from rankops.drift.evidently_report import ColumnDrift, column_drift
from rankops.drift.findings import Finding
from rankops.drift.render import report_markdown
from rankops.drift.report import DriftReport, _unexplained, build_report, load_report
from rankops.drift.summaries import DaySummary
from rankops.drift.summarize import Traffic, summarize_days
from rankops.drift.traffic_frame import SCHEMA
from rankops.errors import BadInput
from tests.drift.conftest import FIRST_DAY, ToyShop

RELEASE = "a" * 64


def drifted_day() -> Traffic:
    shop = ToyShop(seed=5, slang=("yeezles", "</script><b>"), slang_share=0.2)
    traffic = shop.traffic(offset=10, requests=80)
    hostile = pl.col("category").str.replace("Garden", "Garden</script><script>alert(1)</script>")
    return Traffic(traffic.interactions, traffic.catalogue.with_columns(hostile), traffic.requests)


@pytest.fixture(scope="module")
def built(reference: Traffic, tmp_path_factory: pytest.TempPathFactory) -> tuple[DriftReport, Path, list[str]]:
    """A report built while every connection to the outside is refused."""
    said: list[str] = []
    out = tmp_path_factory.mktemp("report")
    refused = pytest.MonkeyPatch()
    refused.setattr(socket.socket, "connect", _refuse)
    day = drifted_day()
    try:
        report = build_report(
            reference, day, model="retriever", day=day.days[0], release=RELEASE, out=out, progress=said.append
        )
    finally:
        refused.undo()
    return report, out, said


def _refuse(_self: socket.socket, address: object) -> None:
    raise AssertionError(f"phoned {address}")


def test_the_report_names_the_drift_and_writes_three_files(built: tuple[DriftReport, Path, list[str]]) -> None:
    report, out, said = built
    assert sorted(path.name for path in out.iterdir()) == ["drift.json", "report.html", "summary.png"]
    assert report.drifted and "new_slang" in report.names
    assert (report.reference.searches, report.current.searches) == (1800, 300)
    compared = {column.column for column in report.columns}
    assert compared == set(SCHEMA) - {"query_tokens"}, "every column but the one that is constant in this shop"
    assert next(c for c in report.columns if c.column == "unseen_token_share").drifted
    assert (out / "summary.png").read_bytes().startswith(b"\x89PNG")
    assert load_report(out) == report
    assert len(said) == 3


def test_the_page_needs_no_network_and_hostile_names_stay_text(built: tuple[DriftReport, Path, list[str]]) -> None:
    html = (built[1] / "report.html").read_text()
    assert not re.findall(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=[\"']?(?:https?:)?//", html)
    assert "Garden(/script" in html
    assert "Garden</script" not in html


def test_markdown_cells_cannot_be_broken_by_queries(built: tuple[DriftReport, Path, list[str]]) -> None:
    text = report_markdown(built[0])
    assert "**drifted: " in text
    assert "<script>" not in text
    rows = [line for line in text.splitlines() if line.startswith("| **new_slang**")]
    assert len(rows) == 1 and "yeezles" in rows[0]


def test_the_fingerprint_is_the_content(
    reference: Traffic, built: tuple[DriftReport, Path, list[str]], tmp_path: Path
) -> None:
    day = drifted_day()
    days = summarize_days(reference)
    again = build_report(days, day, model="retriever", day=day.days[0], release=RELEASE, out=tmp_path / "a")
    assert again == built[0]
    assert (tmp_path / "a" / "drift.json").read_bytes() == (built[1] / "drift.json").read_bytes()
    other = build_report(days, day, model="retriever", day=day.days[0], release="b" * 64, out=tmp_path / "b")
    assert other.fingerprint != again.fingerprint


def test_a_normal_day_has_not_drifted(reference: Traffic, tmp_path: Path) -> None:
    day = ToyShop(seed=77).traffic(offset=10, requests=80)
    report = build_report(reference, day, model="retriever", day=day.days[0], release=RELEASE, out=tmp_path)
    assert not report.drifted and report.names == []
    assert "**nothing drifted**" in report_markdown(report)


def test_an_empty_day_is_refused_with_its_date_and_nothing_is_written(reference: Traffic, tmp_path: Path) -> None:
    empty = Traffic(reference.interactions.clear(), reference.catalogue)
    with pytest.raises(BadInput, match=r"2026-03-02: retriever saw no traffic(.|\n)*remedy: check that the event feed"):
        build_report(reference, empty, model="retriever", day=FIRST_DAY, release=RELEASE, out=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_an_empty_reference_and_another_day_are_refused(reference: Traffic, tmp_path: Path) -> None:
    day = ToyShop(seed=77).traffic(offset=10)
    with pytest.raises(BadInput, match="the reference of retriever for 2026-03-02 holds no search"):
        build_report([DaySummary()], day, model="retriever", day=FIRST_DAY, release=RELEASE, out=tmp_path)
    with pytest.raises(BadInput, match="the traffic given for 2026-03-02 is of 2026-03-12"):
        build_report(reference, day, model="retriever", day=FIRST_DAY, release=RELEASE, out=tmp_path)


def test_a_missing_report_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"drift\.json is missing"):
        load_report(tmp_path)


def test_columns_without_values_are_left_out() -> None:
    rows = {name: [None] * 40 for name in SCHEMA} | {
        "query_tokens": [float(i % 4) for i in range(40)],
        "clicked": ["yes", "no"] * 20,
    }
    frame = pl.DataFrame(rows, schema=SCHEMA)
    columns, html = column_drift(frame, frame)
    assert [(c.column, c.score, c.drifted) for c in sorted(columns, key=lambda c: c.column)] == [
        ("clicked", 0.0, False),
        ("query_tokens", 0.0, False),
    ]
    assert "<html" in html


def test_the_page_says_drifted_where_one_column_is() -> None:
    rows = {name: [None] * 400 for name in SCHEMA} | {
        "query_tokens": [float(i % 4) for i in range(400)],
        "query_length": [float(i % 9) for i in range(400)],
        "clicked": ["yes", "no"] * 200,
    }
    before = pl.DataFrame(rows, schema=SCHEMA)
    columns, html = column_drift(before, before.with_columns(pl.col("query_length") + 9))
    assert sum(column.drifted for column in columns) == 1
    assert "Dataset Drift is detected" in html and "is NOT detected" in column_drift(before, before)[1]


def test_drift_that_evidently_sees_and_nobody_explains_is_said_so() -> None:
    moved = ColumnDrift(column="query_length", method="wasserstein", score=0.4, threshold=0.1, drifted=True)
    still = ColumnDrift(column="clicked", method="jensenshannon", score=0.0, threshold=0.1, drifted=False)
    finding = _unexplained([], [moved, still])
    assert finding is not None and finding.drifted and finding.name == "unexplained_shift"
    assert _unexplained([], [moved, still, still]) is None
    named = Finding(name="new_slang", score=1, threshold=0.1, significant=True, evidence="x")
    assert _unexplained([named], [moved]) is None


def test_the_record_is_plain_json(built: tuple[DriftReport, Path, list[str]]) -> None:
    record = json.loads((built[1] / "drift.json").read_text())
    assert set(record) == set(DriftReport.model_fields)


def test_the_categories_that_are_drawn_are_those_that_moved_however_small() -> None:
    from rankops.drift.plots import moved_most

    before = {f"old{n:02}": 1000 for n in range(12)}
    rows = moved_most(before, {**before, "pets": 40, "old00": 900}, most=3)
    shown = [name for name, _, _ in rows]
    assert len(rows) == 3 and {"pets", "old00"} < set(shown)
    assert shown[0] == "pets"  # the largest share is drawn on top, so the smallest comes first
    assert moved_most({}, {}) == []
