"""Log lines: one an event in the form that was asked for, with ids, and never with a query."""

from __future__ import annotations

import json
import logging
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rankops.errors import IntegrityError
from rankops.serving.logs import JsonLines, TextLines, configure, describe
from rankops.serving.observed import Observed, enter, leave
from rankops.serving.telemetry import _LINES_A_SECOND, Telemetry
from tests.serving.conftest import ServerProcess, running
from tests.serving.test_process import arguments, wait_until_ready
from tests.serving.test_search import raw

SECRET = "jane.doe@example.org"
# A server whose engine fails with the query in its message, as third-party code may.
FAILING = """
import sys
from rankops.serving.engines.retrieval import SearchEngine
found = SearchEngine.search_many
def search(self, wishes):
    for wish in wishes:
        if "explode" in wish.query:
            try:
                raise KeyError(wish.query)
            except KeyError as error:
                raise ValueError(f"cannot search {wish.query}") from error
    return found(self, wishes)
SearchEngine.search_many = search
from rankops.serving.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


class FailingServer(ServerProcess):
    """The same process, but for an engine that fails on purpose."""

    def __init__(self, given: list[str], environment: dict[str, str], folder: Path) -> None:
        (folder / "failing.py").write_text(FAILING)
        self._script = str(folder / "failing.py")
        super().__init__(given, {**environment, "PYTHONPATH": str(Path(__file__).parents[2])})

    def command(self) -> list[str]:
        return [sys.executable, self._script]


def hostile_traffic(server: ServerProcess) -> None:
    """Queries with an address in every place where a server could be tempted to log them."""
    get = f"/search?q={SECRET}"
    assert raw(server.url, "GET", get)[0] == 200
    assert raw(server.url, "GET", f"{get}+explode", headers={"X-Request-Id": "r-500"})[0] == 500
    body = json.dumps({"query": f"{SECRET} explode"}).encode()
    assert raw(server.url, "POST", "/search", body)[0] == 500
    assert raw(server.url, "POST", "/search", body[:-3])[0] == 400
    assert raw(server.url, "GET", f"{get}&k=0")[0] == 400
    assert raw(server.url, "GET", f"/nowhere/{SECRET}?q={SECRET}")[0] == 404
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "eA==",
    }
    raw(server.url, "GET", get, headers=upgrade)
    for request in (
        f"GET {get}\x00 HTTP/1.1\r\n\r\n",
        f"NONSENSE {get}\r\n\r\n",
        f"POST {get} HTTP/1.1\r\nContent-Length: x\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
            connection.sendall(request.encode())
            connection.shutdown(socket.SHUT_WR)
            connection.recv(4096)


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_query_reaches_no_output_whatever_goes_wrong(shop, tmp_path, form):
    environment = {"RANKOPS_LOG_FORMAT": form, "RANKOPS_LOG_SAMPLE": "1", "RANKOPS_SLOW_MS": "0.001"}
    log = tmp_path / "requests"
    with FailingServer(arguments(shop, request_log=log), environment, tmp_path) as server:
        wait_until_ready(server)
        hostile_traffic(server)
        server.process.terminate()
        assert server.process.wait(20) == 0
        out, err = server.process.communicate()
    assert SECRET not in out + err
    assert "jane" not in out + err
    assert "explode" not in out + err
    assert out == ""
    lines = err.splitlines()
    failures = [line for line in lines if "r-500" in line and "exception" in line]
    assert len(failures) == 1
    assert "ValueError (message left out: it may hold a query) at" in failures[0]
    assert "<- KeyError (message left out" in failures[0]
    assert "failing.py:" in failures[0], "the places in the code are told"
    if form == "json":
        events = [json.loads(line) for line in lines]
        assert all({"time", "level", "logger", "message"} <= event.keys() for event in events)
        (failed,) = [event for event in events if event["message"] == "failed" and event["request_id"] == "r-500"]
        assert failed["level"] == "error"
        assert (failed["endpoint"], failed["method"], failed["status"]) == ("/search", "GET", 500)
        assert failed["release"] == shop.manifest.digest
        assert failed["duration_ms"] >= failed["stages_ms"]["parse"] > 0
        assert {event["logger"] for event in events} >= {"rankops.request", "uvicorn.error"}, "uvicorn's own lines too"
    else:
        assert all(line[:4].isdigit() for line in lines), lines


def test_a_refusal_is_a_json_line_where_lines_are_json(shop):
    environment = {"RANKOPS_LOG_FORMAT": "json"}
    with ServerProcess(arguments(shop, digest="e" * 64), environment) as server:
        assert server.process.wait(30) == 3
        events = [json.loads(line) for line in server.process.communicate()[1].splitlines()]
    assert "refuses to start" in events[-1]["message"]
    assert events[-1]["level"] == "critical"


@contextmanager
def captured(form: str) -> Iterator[list[str]]:
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    handler = Keep()
    handler.setFormatter(JsonLines() if form == "json" else TextLines())
    loggers = [logging.getLogger(name) for name in ("rankops", "rankops.request")]
    before = loggers[0].level
    loggers[0].addHandler(handler)
    loggers[0].setLevel(logging.INFO)
    try:
        yield lines
    finally:
        loggers[0].removeHandler(handler)
        loggers[0].setLevel(before)


def test_slow_requests_are_told_with_their_stages_and_quick_ones_only_when_sampled(shop):
    for settings, expected in (
        ({"slow_ms": 60_000}, []),
        ({"slow_ms": 0}, []),
        ({"slow_ms": 0.001}, ["slow"]),
        ({"slow_ms": 60_000, "log_sample": 1}, ["answered"]),
    ):
        with captured("json") as lines, running(shop.config(**settings)) as address:
            headers = {"X-Request-Id": "r-1", "traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
            assert raw(address, "GET", "/search?q=red", headers=headers)[0] == 200
            assert raw(address, "GET", "/healthz")[0] == 200
        events = [event for line in lines if (event := json.loads(line))["logger"] == "rankops.request"]
        assert [event["message"] for event in events] == expected
        for event in events:
            assert (event["request_id"], event["trace_id"]) == ("r-1", "a" * 32)
            assert event["results"] == 10
            assert {"parse", "queue", "encode", "search", "serialize"} <= event["stages_ms"].keys()


def test_lines_about_requests_are_bounded_and_say_how_many_were_left_out(shop, monkeypatch):
    from rankops.serving.metrics import Metrics

    now = 100.0
    monkeypatch.setattr("rankops.serving.telemetry.time.monotonic", lambda: now)
    telemetry = Telemetry(Metrics(), slow_ms=1)
    seen = Observed("/search", "GET", "r")
    seen.code, seen.seconds = 200, 2.0
    with captured("json") as lines:
        for _ in range(_LINES_A_SECOND + 7):
            telemetry.finish(seen)
        assert len(lines) == _LINES_A_SECOND
        now = 101.0
        telemetry.finish(seen)
    assert json.loads(lines[-1])["lines_left_out"] == 7


def test_a_message_with_line_breaks_stays_one_line():
    record = logging.LogRecord("x", logging.INFO, "", 0, "first\nsecond\r\n%s", ("third\n",), None)
    for formatter in (TextLines(), JsonLines()):
        assert len(formatter.format(record).splitlines()) == 1


def test_records_name_the_request_that_they_were_made_in():
    record = logging.LogRecord("x", logging.INFO, "", 0, "hello", (), None)
    seen = Observed("/search", "GET", "r-9")
    token = enter(seen)
    try:
        assert json.loads(JsonLines().format(record)) | {"time": ""} == {
            "time": "", "level": "info", "logger": "x", "message": "hello", "request_id": "r-9", "endpoint": "/search",
        }  # fmt: skip
    finally:
        leave(token)
    assert "request_id" not in JsonLines().format(record)


def test_what_speaks_of_files_and_releases_keeps_its_message():
    try:
        raise OSError(28, "No space left on device", "/var/lib/rankops/requests")
    except OSError as error:
        told = describe(error)
    assert "No space left on device: '/var/lib/rankops/requests'" in told
    assert "test_logs.py" in told
    assert describe(IntegrityError("digest is wrong")) == "IntegrityError: digest is wrong"
    assert "jane" not in describe(UnicodeDecodeError("utf-8", b"jane\xff", 4, 5, "bad"))


def test_a_thread_that_dies_and_a_warning_take_the_same_form(capsys):
    root = logging.getLogger()
    before = (root.handlers[:], root.level, sys.excepthook, threading.excepthook)
    try:
        configure("json")

        def die() -> None:
            raise ValueError(SECRET)

        thread = threading.Thread(target=die)
        thread.start()
        thread.join()
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("something is old", UserWarning, stacklevel=1)
        err = capsys.readouterr().err
    finally:
        root.handlers[:], level, sys.excepthook, threading.excepthook = before
        root.setLevel(level)
        logging.captureWarnings(False)
    events = [json.loads(line) for line in err.splitlines()]
    assert any(event["message"] == "uncaught exception" and "ValueError" in event["exception"] for event in events)
    assert any("something is old" in event["message"] for event in events)
    assert SECRET not in err
