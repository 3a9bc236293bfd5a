from __future__ import annotations

import http.client
import json
import threading
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rankops.release.searcher import Searcher
from rankops.serving.client import Client
from tests.serving.conftest import running
from tests.support.tiny_release import make_hybrid, make_release, write_catalogue


def golden(shop):
    return json.loads((shop.release / "golden.json").read_text())["requests"]


def test_search_answers_as_the_offline_golden_answers_say(shop, client):
    for entry in golden(shop):
        reply = client.post("/search", entry["request"])
        assert reply.status == 200
        assert [r["product_id"] for r in reply.body["results"]] == entry["product_ids"]
        assert [r["score"] for r in reply.body["results"]] == pytest.approx(entry["scores"], abs=1e-6)


def test_a_result_is_a_product_for_display_and_the_answer_names_the_release(shop, client):
    reply = client.get("/search?q=Red%20%20SHOE&k=3")
    assert set(reply.body) == {"release", "query", "results", "took_ms", "request_id"}
    assert reply.body["release"] == reply.headers["x-rankops-release"] == shop.manifest.digest
    assert reply.body["query"] == "Red  SHOE"
    assert reply.body["request_id"] == reply.headers["x-request-id"]
    assert [set(r) for r in reply.body["results"]] == [
        {"product_id", "title", "score", "category", "brand", "price"}
    ] * 3
    assert reply.body == client.post("/search", {"query": "red shoe", "k": 3}).body | {
        name: reply.body[name] for name in ("query", "took_ms", "request_id")
    }


def test_ten_results_unless_asked(client):
    assert len(client.get("/search?q=red").body["results"]) == 10
    assert len(client.get("/search?q=red&k=100").body["results"]) == 60


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "'query' is missing; it must be a text that is not empty"),
        ({"query": ""}, "not empty"),
        ({"query": " \n\t"}, "not empty"),
        ({"query": 3}, "must be a text"),
        ({"query": None}, "must be a text"),
        ({"query": "x" * 513}, "has 513 characters, at most 512"),
        ({"query": "\ud800"}, "not JSON"),
        ({"query": "a", "k": 0}, "from 1 to 100"),
        ({"query": "a", "k": 101}, "from 1 to 100"),
        ({"query": "a", "k": True}, "from 1 to 100"),
        ({"query": "a", "k": 2.5}, "from 1 to 100"),
        ({"query": "a", "k": "many"}, "from 1 to 100"),
        ({"query": "a", "size": 3}, "unknown field size"),
        (["a"], "must be an object"),
        ("a", "must be an object"),
    ],
)
def test_a_bad_search_is_400_and_says_what_is_wrong(client, body, message):
    reply = client.post("/search", body)
    assert reply.status == 400
    assert message in reply.body["error"]


@pytest.mark.parametrize("path", ["/search", "/search?q=", "/search?q=a&k=x", "/search?q=a&k=-1", "/search?q=a&x=1"])
def test_a_bad_get_is_400(client, path):
    reply = client.get(path)
    assert reply.status == 400
    assert reply.body["error"]


def raw(address: str, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None):
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=10)
    connection.request(method, path, body, headers or {})
    response = connection.getresponse()
    return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[" * 4000])
def test_what_is_no_json_is_400(address, body):
    status, _, content = raw(address, "POST", "/search", body)
    assert status == 400
    assert "not JSON" in json.loads(content)["error"]


def test_a_body_beyond_the_limit_is_413(address):
    status, _, content = raw(address, "POST", "/search", b'{"query": "' + b"a" * 5000 + b'"}')
    assert status == 413
    assert "4096 bytes" in json.loads(content)["error"]


def test_unknown_paths_and_methods_are_json_errors_with_the_release_header(shop, address):
    for method, path, expected in (("GET", "/nowhere", 404), ("DELETE", "/search", 405)):
        status, headers, content = raw(address, method, path)
        assert status == expected
        assert json.loads(content)["error"]
        assert headers["x-rankops-release"] == shop.manifest.digest


def test_a_harmless_request_id_is_kept_and_another_is_replaced(address):
    _, headers, _ = raw(address, "GET", "/healthz", headers={"X-Request-Id": "trace-1.a"})
    assert headers["x-request-id"] == "trace-1.a"
    _, headers, _ = raw(address, "GET", "/healthz", headers={"X-Request-Id": "a b<script>"})
    assert "<" not in headers["x-request-id"]


def test_health_answers_while_the_engine_is_busy_and_overload_is_503(shop):
    busy = threading.Event()
    with running(shop.config(threads=1, queue=2)) as address, Client(address) as client:
        statuses: Counter[int] = Counter()

        def hammer():
            with Client(address) as own:
                while not busy.is_set():
                    tensor = {"name": "query", "datatype": "BYTES", "shape": [64], "data": ["red shoe"] * 64}
                    reply = own.post("/v2/models/retriever/infer", {"inputs": [tensor]})
                    statuses[reply.status] += 1

        threads = [threading.Thread(target=hammer) for _ in range(8)]
        for thread in threads:
            thread.start()
        for _ in range(50):
            assert client.get("/healthz").status == 200
            assert client.get("/readyz").status == 200
        busy.set()
        for thread in threads:
            thread.join()
        assert set(statuses) == {200, 503}


def test_metrics_count_what_happened(shop, tmp_path):
    with running(shop.config(min_score=2.0, request_log=tmp_path / "log")) as address, Client(address) as client:
        assert client.get("/search?q=red").body["results"] == []
        client.get("/search")
        client.get("/v2/models/other")
        client.get("/wp-admin.php")
        text = raw(address, "GET", "/metrics")[2].decode()
    assert f'release="{shop.manifest.digest}"' in text
    assert 'rankops_requests_total{code="200",endpoint="/search",method="GET"} 1.0' in text
    assert 'rankops_requests_total{code="400",endpoint="/search",method="GET"} 1.0' in text
    assert 'rankops_requests_total{code="404",endpoint="/v2/models/{model}",method="GET"} 1.0' in text
    assert 'rankops_requests_total{code="404",endpoint="other",method="GET"} 1.0' in text
    assert "rankops_zero_results_total 1.0" in text
    assert 'rankops_stage_seconds_count{stage="encode"} 1.0' in text
    assert "rankops_ready 1.0" in text
    assert "wp-admin" not in text
    (part,) = (tmp_path / "log").rglob("*.parquet")
    (row,) = pq.ParquetFile(part).read().to_pylist()
    assert (row["results"], row["top_score"], row["query"]) == (0, None, "red")


def test_a_hybrid_answers_with_the_fused_score_and_counts_its_stages(shop, tmp_path):
    artifact = make_hybrid(shop.artifact, tmp_path / "artifact")
    catalogue = write_catalogue(tmp_path / "catalogue.parquet")
    release = tmp_path / "release"
    manifest = make_release(release, artifact=artifact, catalogue=catalogue, private_key=shop.private_key)
    with running(shop.config(release=release, digest=manifest.digest)) as address, Client(address) as client:
        found = client.get("/search?q=red%20lamp%20acme&k=3").body["results"]
        text = raw(address, "GET", "/metrics")[2].decode()
    offline = Searcher.open(release).search("red lamp acme", 3)
    assert [(r["product_id"], r["score"]) for r in found] == list(zip(offline.product_ids, offline.scores, strict=True))
    assert found[0]["title"] == "red lamp"
    for stage in ("encode", "search", "lexical", "rerank"):
        assert f'rankops_stage_seconds_count{{stage="{stage}"}} 1.0' in text


@pytest.mark.parametrize("hybrid", [False, True])
def test_a_search_for_what_can_be_bought_is_the_whole_ranking_without_the_rest(shop, tmp_path, hybrid):
    artifact = make_hybrid(shop.artifact, tmp_path / "artifact") if hybrid else shop.artifact
    rows = pq.read_table(write_catalogue(tmp_path / "feed.parquet")).to_pylist()
    for row in rows:  # what the search finds first is gone; None: the feed does not say
        row["available"] = None if row["product_id"] == "p059" else not {"red", "lamp"} & set(row["title"].split())
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "catalogue.parquet")
    release = tmp_path / "release"
    manifest = make_release(
        release, artifact=artifact, catalogue=tmp_path / "catalogue.parquet", private_key=shop.private_key
    )
    gone = {row["product_id"] for row in rows if row["available"] is False}
    with running(shop.config(release=release, digest=manifest.digest, max_k=60)) as address, Client(address) as client:
        every = client.get("/search?q=red%20lamp&k=60").body["results"]
        for k in (3, 60):
            kept = client.get(f"/search?q=red%20lamp&k={k}&only_available=true").body["results"]
            assert kept == [one for one in every if one["product_id"] not in gone][:k]
        asked = {"query": "red lamp", "k": 3, "only_available": False}
        assert client.post("/search", asked).body["results"] == every[:3]  # not the kept answer of the other question
    assert {one["product_id"] for one in every[:3]} <= gone and "available" not in every[0]


def test_the_request_time_header_counts_only_where_it_is_trusted(shop, tmp_path):
    for trusted, folder in ((True, tmp_path / "trusting"), (False, tmp_path / "plain")):
        with running(shop.config(trust_request_time=trusted, request_log=folder)) as address:
            headers = {"X-Request-Time": "2025-11-05T10:00:00+00:00"}
            assert raw(address, "GET", "/search?q=red", headers=headers)[0] == 200
            status, _, _ = raw(address, "GET", "/search?q=red", headers={"X-Request-Time": "yesterday"})
            assert status == (400 if trusted else 200)
        days = {Path(p).parent.name for p in folder.rglob("*.parquet")}
        assert ("day=2025-11-05" in days) is trusted


def test_an_internal_failure_is_a_500_without_details_and_with_the_release_header(shop, monkeypatch):
    from rankops.serving.engines.retrieval import SearchEngine

    with running(shop.config()) as address:

        def explode(*_):
            raise RuntimeError("secret details")

        monkeypatch.setattr(SearchEngine, "search_many", explode)
        status, headers, content = raw(address, "GET", "/search?q=red")
        assert status == 500
        assert b"secret" not in content
        assert headers["x-rankops-release"] == shop.manifest.digest
        assert raw(address, "GET", "/healthz")[0] == 200


def test_kept_answers_are_counted_logged_and_can_be_declined(shop, tmp_path):
    with running(shop.config(request_log=tmp_path / "log")) as address, Client(address) as client:
        first = client.post("/search", {"query": "red shoe", "k": 3}).body
        again = client.get("/search?q=%20RED%20shoe%20&k=3").body
        assert again["results"] == first["results"]
        assert again["query"] == " RED shoe "
        assert again["request_id"] != first["request_id"]
        assert len(client.get("/search?q=red+shoe&k=4").body["results"]) == 4
        status, _, content = raw(address, "GET", "/search?q=red+shoe&k=3", headers={"Cache-Control": "no-cache"})
        assert (status, json.loads(content)["results"]) == (200, first["results"])
        text = raw(address, "GET", "/metrics")[2].decode()
    for line in (
        "rankops_cache_hits_total 1.0",
        "rankops_cache_misses_total 2.0",
        "rankops_cache_entries 2.0",
        'rankops_stage_seconds_count{stage="encode"} 3.0',
        'rankops_requests_total{code="200",endpoint="/search",method="GET"} 3.0',
    ):
        assert line in text
    rows = [row for part in (tmp_path / "log").rglob("*.parquet") for row in pq.ParquetFile(part).read().to_pylist()]
    assert [row["query"] for row in rows] == ["red shoe"] * 4
    assert len({row["request_id"] for row in rows}) == 4


def test_the_cache_can_be_switched_off(shop):
    with running(shop.config(cache_entries=0)) as address, Client(address) as client:
        for _ in range(2):
            client.get("/search?q=red")
        text = raw(address, "GET", "/metrics")[2].decode()
    assert "rankops_cache_hits_total 0.0" in text
    assert 'rankops_stage_seconds_count{stage="encode"} 2.0' in text


@pytest.mark.parametrize("entries", [0, 100])
def test_a_request_that_takes_longer_than_its_caller_allows_is_504(shop, monkeypatch, entries):
    from rankops.serving.engines.retrieval import SearchEngine

    go, search = threading.Event(), SearchEngine.search_many

    def slow(engine, wishes):
        go.wait(10)
        return search(engine, wishes)

    with running(shop.config(threads=1, cache_entries=entries)) as address, Client(address) as client:
        monkeypatch.setattr(SearchEngine, "search_many", slow)
        for _ in range(2):  # the second waits for the thread that the first still holds
            status, _, content = raw(address, "GET", "/search?q=red", headers={"X-Request-Timeout-Ms": "30"})
            assert status == 504
            assert "X-Request-Timeout-Ms" in json.loads(content)["error"]
        go.set()
        assert client.get("/search?q=red").status == 200
        assert 'rankops_refused_total{reason="deadline"} 2.0' in raw(address, "GET", "/metrics")[2].decode()
        for wrong in ("soon", "-1", "0", "nan", "1e99"):
            status, _, content = raw(address, "GET", "/search?q=blue", headers={"X-Request-Timeout-Ms": wrong})
            assert status == 400
            assert wrong in json.loads(content)["error"]


def test_the_server_has_a_time_limit_of_its_own(shop, monkeypatch):
    from rankops.serving.engines.retrieval import SearchEngine

    go = threading.Event()
    with running(shop.config(request_timeout_ms=30)) as address:
        monkeypatch.setattr(SearchEngine, "search_many", lambda *_: go.wait(10))
        status, _, _ = raw(address, "GET", "/search?q=red", headers={"X-Request-Timeout-Ms": "60000"})
        go.set()
        assert status == 504


def test_overload_says_when_to_come_back(shop, monkeypatch):
    from rankops.serving.engines.retrieval import SearchEngine

    go, search = threading.Event(), SearchEngine.search_many

    def slow(engine, wishes):
        go.wait(10)
        return search(engine, wishes)

    with running(shop.config(threads=1, queue=1, cache_entries=0)) as address:
        monkeypatch.setattr(SearchEngine, "search_many", slow)
        answers: list[int] = []
        threads = [
            threading.Thread(target=lambda: answers.append(raw(address, "GET", "/search?q=red")[0])) for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        while "rankops_in_flight 2.0" not in raw(address, "GET", "/metrics")[2].decode():
            pass
        status, headers, content = raw(address, "GET", "/search?q=red")
        assert (status, headers["retry-after"]) == (503, "1")
        assert "try again in 1 s" in json.loads(content)["error"]
        go.set()
        for thread in threads:
            thread.join()
        assert answers == [200, 200]
