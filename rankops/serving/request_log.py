"""The request log: what was searched and what was answered, as Parquet parts that drift detection reads.

Layout: ``day=YYYY-MM-DD/part-<nanoseconds>-<random>.parquet``; a part is whole or absent. Requests only put a record
on a queue; one background thread writes. When the disk is slow, full or gone, requests are still answered: records
are counted as dropped, never waited for. Days are UTC.

A process that is killed loses what it had not written (at most ``flush_seconds`` of traffic) and nothing else; what it
was writing is no part, and the next process on the same folder removes it.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import secrets
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rankops.files import write_bytes
from rankops.pii import remove_pii

if TYPE_CHECKING:
    import pyarrow as pa

logger = logging.getLogger(__name__)

DROPPED = "<dropped>"
"""Stands for a query that may name somebody, where such queries are not to be logged."""
_ABANDONED_SECONDS = 60.0


@dataclass(frozen=True)
class LogRecord:
    """One answered search. ``timestamp`` is aware; ``query`` is cleaned when it is written, off the request's path."""

    timestamp: datetime
    request_id: str
    query: str
    product_ids: list[str]
    top_score: float | None
    latency_ms: float
    release: str


def schema() -> pa.Schema:
    """Columns of a part."""
    import pyarrow as pa

    return pa.schema(
        [
            ("timestamp", pa.timestamp("us", tz="UTC")),
            ("day", pa.date32()),
            ("request_id", pa.string()),
            ("query", pa.string()),
            ("product_ids", pa.list_(pa.string())),
            ("top_score", pa.float32()),
            ("results", pa.int32()),
            ("latency_ms", pa.float64()),
            ("release", pa.string()),
        ]
    )


class RequestLog:
    """Write records in the background, in at most ``max_bytes`` of disk.

    A part is written after ``flush_records`` records or ``flush_seconds`` seconds, and on :meth:`close`. ``count`` is
    told ``(outcome, n)``: written, dropped (the queue was full), failed (a write failed and will be tried again);
    ``used`` is told the bytes on disk after each write. Days that ended more than ``max_days`` days ago are removed,
    whatever the space. A query for which ``is_personal`` holds, after cleaning, is logged as ``<dropped>``.
    """

    def __init__(
        self,
        folder: Path,
        *,
        max_bytes: int,
        flush_seconds: float = 30.0,
        flush_records: int = 2000,
        capacity: int = 20_000,
        max_days: int | None = None,
        count: Callable[[str, int], None] = lambda _outcome, _n: None,
        used: Callable[[int], None] = lambda _bytes: None,
        is_personal: Callable[[str], bool] = lambda _query: False,
    ) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._flush_seconds = flush_seconds
        self._flush_records = flush_records
        self._capacity = capacity
        self._max_days = max_days
        self._count = count
        self._used = used
        self._is_personal = is_personal
        self._queue: queue.Queue[LogRecord] = queue.Queue(maxsize=capacity)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="request-log", daemon=True)
        self._thread.start()

    def append(self, record: LogRecord) -> None:
        """Take a record; never blocks and never raises."""
        try:
            self._queue.put_nowait(record)
        except queue.Full:
            self._count("dropped", 1)

    def close(self, timeout: float = 10.0) -> None:
        """Write what is waiting and stop the thread (at most ``timeout`` seconds)."""
        self._closing.set()
        self._thread.join(timeout)

    def _run(self) -> None:
        batch: list[LogRecord] = []
        self._tidy()
        due = time.monotonic() + self._flush_seconds
        while not (self._closing.is_set() and self._queue.empty()):
            with contextlib.suppress(queue.Empty):
                # short naps, so that closing does not wait for the next record
                batch.append(self._queue.get(timeout=min(0.2, self._flush_seconds)))
            if len(batch) >= self._flush_records or time.monotonic() >= due:
                batch = self._write(batch)
                due = time.monotonic() + self._flush_seconds
        if left := self._write(batch):
            self._count("dropped", len(left))

    def _write(self, batch: list[LogRecord]) -> list[LogRecord]:
        """Write a part per day; return the records to try again later."""
        waiting: list[LogRecord] = []
        for day in sorted({_day(record) for record in batch}):
            records = [record for record in batch if _day(record) == day]
            try:
                _write_part(self._folder / f"day={day.isoformat()}", records, [self._clean(r.query) for r in records])
                self._count("written", len(records))
            except OSError:
                logger.exception("request log: %d records of %s could not be written, trying again", len(records), day)
                self._count("failed", len(records))
                waiting += records
            except Exception:  # a record that Parquet cannot hold must not stop those that follow
                logger.exception("request log: %d records of %s are no table and were dropped", len(records), day)
                self._count("dropped", len(records))
        if batch and not waiting:
            self._make_room()
        if (excess := len(waiting) - self._capacity) > 0:
            self._count("dropped", excess)
        return waiting[-self._capacity :]

    def _clean(self, query: str) -> str:
        cleaned = remove_pii(query)
        return DROPPED if self._is_personal(cleaned) else cleaned

    def _tidy(self) -> None:
        """Remove what a killed process was writing, and make room: the budget may have become smaller."""
        for half in self._folder.glob("day=*/.*.tmp"):
            if time.time() - half.stat().st_mtime > _ABANDONED_SECONDS:
                half.unlink(missing_ok=True)
        try:
            self._make_room()
        except OSError:
            logger.exception("request log: %s cannot be read", self._folder)

    def _make_room(self) -> None:
        """Remove days that are too old, then the oldest days, then parts of the only day left, until the log fits."""
        sizes = {part: part.stat().st_size for part in sorted(self._folder.glob("day=*/*.parquet"))}
        days = sorted({part.parent for part in sizes})
        while days and (self._is_old(days[0]) or (sum(sizes.values()) > self._max_bytes and len(days) > 1)):
            why = (
                "is too old" if self._is_old(days[0]) else f"made room: {self._max_bytes / 1e6:.0f} MB is all there is"
            )
            oldest = days.pop(0)
            shutil.rmtree(oldest, ignore_errors=True)
            sizes = {part: size for part, size in sizes.items() if part.parent != oldest}
            logger.warning("request log: %s was removed, it %s", oldest.name, why)
        for part in list(sizes)[:-1]:
            if sum(sizes.values()) <= self._max_bytes:
                break
            part.unlink(missing_ok=True)
            del sizes[part]
        self._used(sum(sizes.values()))

    def _is_old(self, folder: Path) -> bool:
        if self._max_days is None:
            return False
        try:
            day = date.fromisoformat(folder.name.removeprefix("day="))
        except ValueError:
            return False  # not ours
        return (datetime.now(UTC).date() - day).days > self._max_days


def _day(record: LogRecord) -> date:
    return record.timestamp.astimezone(UTC).date()


def _write_part(folder: Path, records: list[LogRecord], queries: list[str]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {
        "timestamp": [r.timestamp.astimezone(UTC) for r in records],
        "day": [_day(r) for r in records],
        "request_id": [r.request_id for r in records],
        "query": queries,
        "product_ids": [r.product_ids for r in records],
        "top_score": [r.top_score for r in records],
        "results": [len(r.product_ids) for r in records],
        "latency_ms": [r.latency_ms for r in records],
        "release": [r.release for r in records],
    }
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns, schema=schema()), sink, compression="zstd")
    name = f"part-{time.time_ns():020}-{secrets.token_hex(4)}.parquet"
    write_bytes(folder / name, sink.getvalue().to_pybytes())
