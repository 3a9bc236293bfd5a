"""What a connection may do before there is a request: sizes, times, bytes that are no HTTP."""

from __future__ import annotations

import json
import socket
import time

import pytest

from tests.serving.conftest import running
from tests.serving.test_search import raw

LINE = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"


@pytest.fixture(scope="module")
def strict(shop):
    config = shop.config(header_seconds=0.4, body_seconds=0.3, max_header_bytes=1024, max_body_bytes=4096)
    with running(config) as url:
        yield url


def connected(address: str) -> socket.socket:
    host, port = address.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=10)


def answer(connection: socket.socket) -> tuple[int, dict]:
    """Status and JSON of what comes until the server closes."""
    data = b""
    try:
        while chunk := connection.recv(65536):
            data += chunk
    except ConnectionResetError:
        pass
    head, _, body = data.partition(b"\r\n\r\n")
    if not head:
        return 0, {}
    assert b"content-type: application/json" in head.lower()
    return int(head.split(b" ", 2)[1]), json.loads(body)


@pytest.mark.parametrize(
    ("sent", "status", "message"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "not HTTP/1.1"),
        (b"GET\r\n\r\n", 400, "not HTTP/1.1"),
        (b"GET /search HTTP/9.9\r\n\r\n", 400, "not HTTP/1.1"),
        (b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n", 400, "not HTTP/1.1"),
        (b"POST /search HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400, "not HTTP/1.1"),
        (b"POST /search HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400, "not HTTP/1.1"),
        (LINE + b"X: " + b"a" * 2000 + b"\r\n\r\n", 431, "1024 bytes"),
        (LINE + b"X: " + b"a" * 2000, 431, "1024 bytes"),
        (LINE + b"X: a\r\n" * 500, 431, "1024 bytes"),
        (b"GET /" + b"a" * 2000, 431, "1024 bytes"),
        (b"GET /" + b"a" * 2000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431, "1024 bytes"),
    ],
)
def test_what_is_no_request_is_a_json_error_and_the_end(strict, sent, status, message):
    with connected(strict) as connection:
        connection.sendall(sent)
        found, body = answer(connection)
    assert (found, list(body)) == (status, ["error"])
    assert message in body["error"]
    assert raw(strict, "GET", "/healthz")[0] == 200


def test_headers_that_come_one_byte_at_a_time_are_cut_off(strict):
    with connected(strict) as connection:
        started = time.monotonic()
        try:
            for _ in range(100):
                connection.sendall(b"G" if _ == 0 else LINE[_ % len(LINE) : _ % len(LINE) + 1])
                time.sleep(0.02)
        except OSError:
            pass
        assert answer(connection)[0] in (0, 408)  # 0: our last bytes met a closed door
        assert time.monotonic() - started < 9


def test_a_connection_that_says_nothing_is_closed(strict):
    with connected(strict) as connection:
        assert connection.recv(1) == b""


@pytest.mark.parametrize("framing", [b"Content-Length: 100", b"Transfer-Encoding: chunked"])
def test_a_body_that_does_not_come_is_408(strict, framing):
    with connected(strict) as connection:
        connection.sendall(b"POST /search HTTP/1.1\r\nHost: x\r\n" + framing + b"\r\n\r\n")
        status, body = answer(connection)
    assert status == 408
    assert "0.3 s" in body["error"]


def test_a_chunked_body_that_never_ends_is_413_at_the_limit(strict):
    with connected(strict) as connection:
        connection.sendall(b"POST /search HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        chunk = b"400\r\n" + b" " * 1024 + b"\r\n"
        try:
            for _ in range(50):
                connection.sendall(chunk)
        except OSError:
            pass
        assert answer(connection)[0] in (0, 413)


def test_a_declared_body_beyond_the_limit_is_413_before_it_is_sent(strict):
    with connected(strict) as connection:
        connection.sendall(b"POST /search HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999\r\n\r\n")
        status, body = answer(connection)
    assert status == 413
    assert "4096 bytes" in body["error"]


def test_requests_of_one_connection_are_limited_one_by_one(strict):
    with connected(strict) as connection:
        connection.sendall((LINE + b"X: " + b"a" * 600 + b"\r\n\r\n") * 4)
        data = b""
        while data.count(b"HTTP/1.1 200") < 4:
            data += connection.recv(65536)
        time.sleep(0.6)  # longer than headers may take: idle is something else
        connection.sendall(LINE + b"Connection: close\r\n\r\n")
        assert b"HTTP/1.1 200" in connection.recv(65536)


def test_connections_beyond_the_limit_are_told_so(shop):
    with running(shop.config(max_connections=3)) as address:
        held = [connected(address) for _ in range(3)]
        time.sleep(0.1)
        with connected(address) as connection:
            status, body = answer(connection)
        assert status == 503
        assert "too many connections" in body["error"]
        for connection in held:
            connection.close()
        time.sleep(0.1)
        assert raw(address, "GET", "/healthz")[0] == 200


def test_methods_that_are_not_there_are_405_and_options_lists_them(strict):
    status, headers, content = raw(strict, "DELETE", "/search")
    assert (status, headers["allow"]) == (405, "GET, HEAD, OPTIONS, POST")
    assert "DELETE is not possible here" in json.loads(content)["error"]
    status, headers, content = raw(strict, "OPTIONS", "/rerank")
    assert (status, headers["allow"], content) == (204, "OPTIONS, POST", b"")
    status, headers, content = raw(strict, "HEAD", "/search?q=red")
    assert (status, content) == (200, b"")
    assert int(headers["content-length"]) > 0


def test_a_websocket_is_an_ordinary_request_without_one(strict):
    headers = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Key": "a" * 24}
    assert raw(strict, "GET", "/healthz", headers=headers)[0] == 200


def test_pages_of_other_origins_may_ask_only_where_that_is_configured(shop, strict):
    origin = {"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}
    asked = origin | {"Access-Control-Request-Headers": "content-type, x-api-key"}
    _, headers, _ = raw(strict, "OPTIONS", "/search", headers=asked)
    assert "access-control-allow-origin" not in headers
    with running(shop.config(cors_origins="https://shop.example,https://b.example")) as address:
        status, headers, _ = raw(address, "OPTIONS", "/search", headers=asked)
        assert (status, headers["access-control-allow-origin"]) == (200, "https://shop.example")
        _, headers, _ = raw(address, "GET", "/search?q=red", headers={"Origin": "https://b.example"})
        assert headers["access-control-allow-origin"] == "https://b.example"
        assert "X-Request-Id" in headers["access-control-expose-headers"]
        _, headers, _ = raw(address, "GET", "/search?q=red", headers={"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in headers
    with pytest.raises(ValueError, match="cors_origins"):
        shop.config(cors_origins="shop.example")
