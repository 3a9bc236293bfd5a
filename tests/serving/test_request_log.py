from __future__ import annotations

import os
import subprocess
import sys
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

    def slow(folder, records, queries):
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


def test_days_that_are_too_old_go_whatever_the_space(tmp_path):
    today = datetime.now(UTC)
    for days in (0, 3, 8, 40):
        log = RequestLog(tmp_path, max_bytes=10**9)
        log.append(record(when=today - timedelta(days=days)))
        log.close()
    (tmp_path / "day=other").mkdir()
    used: list[int] = []
    log = RequestLog(tmp_path, max_bytes=10**9, max_days=7, used=used.append)
    log.append(record(when=today))
    log.close()
    kept = sorted(p.name for p in tmp_path.iterdir())
    assert kept == sorted([f"day={(today - timedelta(days=d)).date()}" for d in (0, 3)] + ["day=other"])
    assert used[-1] == sum(p.stat().st_size for p in tmp_path.rglob("*.parquet"))


def test_a_smaller_budget_counts_from_the_start_and_not_from_the_next_write(tmp_path):
    for days in range(4):
        log = RequestLog(tmp_path, max_bytes=10**9)
        log.append(record(when=NOON + timedelta(days=days)))
        log.close()
    size = next(tmp_path.glob("day=*/*.parquet")).stat().st_size
    RequestLog(tmp_path, max_bytes=int(size * 2.5)).close()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["day=2026-03-03", "day=2026-03-04"]


def test_a_query_that_may_name_somebody_is_dropped_where_that_is_asked_for(tmp_path):
    log = RequestLog(tmp_path, max_bytes=10**9, is_personal=lambda query: "schmidt" in query)
    log.append(record(1, query="anna schmidt"))
    log.append(record(2, query="order for anna schmidt"))
    log.close()
    assert [r["query"] for r in rows(tmp_path)] == ["<dropped>", "order for <name>"]


KILLED = """
import os, sys, threading, time
from datetime import UTC, datetime
from pathlib import Path
from rankops.serving.request_log import LogRecord, RequestLog
log = RequestLog(Path(sys.argv[1]), max_bytes=10**9, flush_seconds=0.005, flush_records=50)
print("ready", flush=True)
for number in range(10**9):
    log.append(LogRecord(datetime.now(UTC), f"r{number}", "red shoe", ["p1"] * 50, 0.5, 1.0, "a" * 64))
    if number % 200 == 0:
        time.sleep(0.001)
"""


def test_a_process_that_is_killed_while_it_writes_leaves_whole_parts_only(tmp_path):
    """kill -9 in the middle, several times on the same folder: every part that is there can be read."""
    for round_number in range(4):
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        before = len(list(tmp_path.rglob("*.parquet")))
        wait_for(lambda before=before: len(list(tmp_path.rglob("*.parquet"))) > before + 3)
        time.sleep(0.013 * round_number)
        process.kill()
        process.wait()
        process.stdout.close()
    parts = list(tmp_path.rglob("*.parquet"))
    assert sum(pq.ParquetFile(part).read().num_rows for part in parts) >= len(parts) > 12
    half = tmp_path / parts[0].parent.name / ".part-1.parquet.x.tmp"
    half.write_bytes(b"half")
    fresh = tmp_path / parts[0].parent.name / ".part-2.parquet.x.tmp"
    fresh.write_bytes(b"of another process, that still writes it")
    os.utime(half, (time.time() - 3600, time.time() - 3600))
    RequestLog(tmp_path, max_bytes=10**9).close()
    assert not half.exists()
    assert fresh.exists()
