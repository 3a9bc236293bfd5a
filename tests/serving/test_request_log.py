from __future__ import annotations

import os
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rankops.serving.request_log import LogRecord, RequestLog, schema

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def record(number: int = 0, when: datetime = NOON, query: str = "red shoe") -> LogRecord:
    return LogRecord(when, f"r{number}", query, ["p1", "p2"], 0.75, 1.5, "a" * 64)


def rows(folder: Path) -> list[dict]:
    tables = [pq.ParquetFile(part).read() for part in sorted(folder.glob("day=*/*.parquet"))]
    return pa.concat_tables(tables).to_pylist() if tables else []


def wait_for(condition, seconds: float = 20.0) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "it never happened"
        time.sleep(0.01)


def test_records_are_written_on_close_with_every_column_and_type(tmp_path):
    log = RequestLog(tmp_path, max_bytes=10**9)
    log.append(record())
    log.close()
    (part,) = tmp_path.glob("day=2026-03-01/part-*.parquet")
    assert pq.ParquetFile(part).schema_arrow.equals(schema())
    (row,) = rows(tmp_path)
    assert row["timestamp"] == NOON
    assert row["day"].isoformat() == "2026-03-01"
    assert (row["results"], row["product_ids"], row["top_score"]) == (2, ["p1", "p2"], 0.75)
    assert row["release"] == "a" * 64
    assert not list(tmp_path.rglob("*.tmp"))


def test_polars_reads_the_folder_as_one_table(tmp_path):
    pl = pytest.importorskip("polars")
    log = RequestLog(tmp_path, max_bytes=10**9)
    for hours in range(0, 72, 8):
        log.append(record(when=NOON + timedelta(hours=hours)))
    log.close()
    table = pl.scan_parquet(tmp_path / "**/*.parquet").collect()
    assert table.height == 9
    assert table["day"].dtype == pl.Date


def test_days_are_utc_whatever_the_time_zone_of_the_record(tmp_path):
    log = RequestLog(tmp_path, max_bytes=10**9)
    log.append(record(when=datetime(2026, 3, 2, 1, tzinfo=timezone(timedelta(hours=3)))))
    log.close()
    assert [p.name for p in tmp_path.iterdir()] == ["day=2026-03-01"]


def test_a_part_is_written_after_enough_records_or_enough_time(tmp_path):
    counted: Counter[str] = Counter()
    log = RequestLog(
        tmp_path, max_bytes=10**9, flush_records=3, flush_seconds=0.3, count=lambda o, n: counted.update({o: n})
    )
    for number in range(3):
        log.append(record(number))
    wait_for(lambda: counted["written"] == 3)
    log.append(record(4))
    wait_for(lambda: counted["written"] == 4)
    log.close()
    assert [r["request_id"] for r in rows(tmp_path)] == ["r0", "r1", "r2", "r4"]


def test_personal_data_is_removed_before_anything_is_written(tmp_path):
    log = RequestLog(tmp_path, max_bytes=10**9)
    log.append(record(query="order jane.doe@example.org 4111 1111 1111 1111"))
    log.close()
    assert [r["query"] for r in rows(tmp_path)] == ["order <email> <card>"]
    assert all(b"jane" not in part.read_bytes() for part in tmp_path.rglob("*.parquet"))


def test_the_oldest_days_go_first_when_the_disk_budget_is_used(tmp_path):
    for days in range(5):
        log = RequestLog(tmp_path, max_bytes=10**9)
        log.append(record(when=NOON + timedelta(days=days)))
        log.close()
    size = next(tmp_path.glob("day=*/*.parquet")).stat().st_size
    log = RequestLog(tmp_path, max_bytes=int(size * 3.5))
    log.append(record(when=NOON + timedelta(days=5)))
    log.close()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["day=2026-03-04", "day=2026-03-05", "day=2026-03-06"]


def test_a_single_day_is_bounded_too(tmp_path):
    for number in range(6):
        log = RequestLog(tmp_path, max_bytes=10**9)
        log.append(record(number))
        log.close()
    size = next(tmp_path.glob("day=*/*.parquet")).stat().st_size
    log = RequestLog(tmp_path, max_bytes=int(size * 2.5))
    log.append(record(6))
    log.close()
    assert [r["request_id"] for r in rows(tmp_path)] == ["r5", "r6"]


def test_appending_never_waits_and_counts_what_it_drops(tmp_path, monkeypatch):
    counted: Counter[str] = Counter()
    writing, go_on = threading.Event(), threading.Event()

    def slow(folder, records):
        writing.set()
        go_on.wait(20)

    monkeypatch.setattr("rankops.serving.request_log._write_part", slow)
    log = RequestLog(tmp_path, max_bytes=10**9, flush_records=1, capacity=5, count=lambda o, n: counted.update({o: n}))
    log.append(record())
    assert writing.wait(10)
    for number in range(12):
        log.append(record(number))  # would hang here if it waited: the writer stands still
    assert counted["dropped"] == 7
    go_on.set()
    log.close()
    assert counted["written"] == 6


def test_a_disk_that_fails_for_a_while_loses_nothing(tmp_path):
    folder = tmp_path / "log"
    folder.write_text("a file where the folder should be")
    counted: Counter[str] = Counter()
    log = RequestLog(folder, max_bytes=10**9, flush_seconds=0.05, count=lambda o, n: counted.update({o: n}))
    log.append(record())
    wait_for(lambda: counted["failed"] >= 2)
    folder.unlink()
    wait_for(lambda: counted["written"] == 1)
    log.close()
    assert len(rows(folder)) == 1
    assert counted["dropped"] == 0


def test_a_record_that_is_no_table_row_does_not_stop_the_others(tmp_path):
    counted: Counter[str] = Counter()
    log = RequestLog(tmp_path, max_bytes=10**9, flush_records=1, count=lambda o, n: counted.update({o: n}))
    log.append(record(query="\ud800"))  # half a surrogate pair has no UTF-8
    wait_for(lambda: counted["dropped"] == 1)
    log.append(record(1))
    wait_for(lambda: counted["written"] == 1)
    log.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a tmpfs needs root")
def test_a_full_disk_leaves_no_half_part(tmp_path):
    import subprocess

    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", str(tmp_path)], check=False).returncode:
        pytest.skip("tmpfs cannot be mounted here")
    try:
        counted: Counter[str] = Counter()
        log = RequestLog(tmp_path, max_bytes=10**9, flush_seconds=0.05, count=lambda o, n: counted.update({o: n}))
        for number in range(2000):
            log.append(record(number, query=f"query {number * 7919 % 1000}"))
        wait_for(lambda: counted["failed"] > 0)
        log.close()
        assert not [p for p in tmp_path.rglob("*") if p.is_file() and p.suffix == ".tmp"]
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
