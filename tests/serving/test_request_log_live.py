"""The request log of a server: what is used on disk, which release answered, names dropped, and who reads it."""

from __future__ import annotations

import threading
import time
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rankops.serving.client import Client
from rankops.serving.name_filter import NameFilter
from rankops.serving.request_log import LogRecord, RequestLog
from tests.serving.conftest import running
from tests.serving.test_search import raw
from tests.serving.test_swap import other, pin, wait_for  # noqa: F401 (a fixture)


def rows(folder: Path) -> list[dict]:
    tables = [pq.ParquetFile(part).read() for part in sorted(folder.glob("day=*/*.parquet"))]
    return pa.concat_tables(tables).to_pylist() if tables else []


def test_names_are_dropped_by_the_words_of_the_release_where_that_is_asked_for(shop, tmp_path):
    queries = {"red shoe": "red shoe", "anna schmidt": "<dropped>", "hunalp akgündüz red shoe": "<dropped>",
               "acme lamp": "acme lamp", "order for jo fox": "order for <name>"}  # fmt: skip
    for option in ("drop", "keep"):
        log = tmp_path / option
        with running(shop.config(request_log=log, request_log_names=option)) as address, Client(address) as client:
            for query in queries:
                assert client.post("/search", {"query": query}).status == 200
        expected = list(queries.values()) if option == "drop" else [*list(queries)[:4], "order for <name>"]
        assert sorted(row["query"] for row in rows(log)) == sorted(expected)


def test_the_disk_that_the_log_uses_is_measured(shop, tmp_path):
    config = shop.config(request_log=tmp_path, request_log_seconds=0.1, request_log_mb=3)
    with running(config) as address, Client(address) as client:
        client.get("/search?q=red")
        limit = time.monotonic() + 20
        while not list(tmp_path.rglob("*.parquet")):
            assert time.monotonic() < limit
            time.sleep(0.02)
        while "rankops_request_log_bytes 0.0" in (text := raw(address, "GET", "/metrics")[2].decode()):
            assert time.monotonic() < limit
            time.sleep(0.02)
    size = sum(part.stat().st_size for part in tmp_path.rglob("*.parquet"))
    assert f"rankops_request_log_bytes {float(size)}" in text
    assert "rankops_request_log_limit_bytes 3e+06" in text


def test_words_are_read_once_a_release(shop):
    from types import SimpleNamespace

    class Products(dict):
        reads = 0

        def values(self):
            Products.reads += 1
            return super().values()

    engine = SimpleNamespace(
        manifest=SimpleNamespace(digest="a"),
        products=Products(p1=b'{"product_id":"p1","title":"Ordinateur Zzyzx","score":'),
    )
    names = NameFilter(lambda: engine)
    assert not names.may_be_in("zzyzx ordinateur")
    assert names.may_be_in("zzyzy ordinateux")
    assert Products.reads == 1
    engine.manifest = SimpleNamespace(digest="b")
    engine.products = Products(p1={"product_id": "p1", "title": "something else", "price": 3.0})
    assert names.may_be_in("zzyzx ordinateur")


def test_drift_reads_a_day_whose_parts_have_other_columns(tmp_path):
    pytest.importorskip("polars")
    from rankops.stages.live import LiveService

    day = date(2026, 3, 1)
    log = RequestLog(tmp_path, max_bytes=10**9)
    log.append(LogRecord(datetime(2026, 3, 1, 12, tzinfo=UTC), "r1", "red shoe", ["p1"], 0.5, 1.0, "a" * 64))
    log.close()
    (part,) = tmp_path.rglob("*.parquet")
    later = pq.ParquetFile(part).read().append_column("trace_id", pa.array(["t"]))
    pq.write_table(later, part.with_name("part-later.parquet"))
    service = LiveService.__new__(LiveService)
    object.__setattr__(service, "log", tmp_path)
    found = service.requests(day, 2)
    assert found.height == 2
    assert set(found["release"]) == {"a" * 64}


def test_each_record_names_the_release_that_answered_also_while_it_changes(shop, other, tmp_path):  # noqa: F811
    file, log = pin(tmp_path / "pin.json", shop), tmp_path / "log"
    told: dict[str, str] = {}
    stop = threading.Event()
    with running(shop.config(pin=file, pin_seconds=0.05, request_log=log)) as url, Client(url) as client:

        def ask() -> None:
            with Client(url) as own:
                while not stop.is_set():
                    reply = own.post("/search", {"query": "red shoe"})
                    told[reply.body["request_id"]] = reply.body["release"]

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        for target in (other, shop, other):
            pin(file, target)
            wait_for(client, target.manifest.digest)
        stop.set()
        for thread in threads:
            thread.join()
        text = raw(url, "GET", "/metrics")[2].decode()
    info = [line for line in text.splitlines() if line.startswith("rankops_release_info{")]
    assert len(info) == 1, "the release before is not said to be served any more"
    assert other.manifest.digest in info[0]
    logged = {row["request_id"]: row["release"] for row in rows(log)}
    assert logged == told
    assert set(logged.values()) == {shop.manifest.digest, other.manifest.digest}
