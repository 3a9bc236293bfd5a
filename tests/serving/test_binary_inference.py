"""Binary tensors that break the extension: every one is 400 with a text, never 500."""

from __future__ import annotations

import gzip
import http.client
import json
import zlib

import pytest

from rankops.serving.tensors import HEADER_LENGTH, encode_texts
from tests.serving.test_v2 import MODEL

TEXTS = ["red shoe", "Größe"]


def post(address, body, headers=None, path=f"{MODEL}/infer"):
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=10)
    try:
        connection.request("POST", path, body, headers or {})
        response = connection.getresponse()
        content = response.read()
    finally:
        connection.close()
    return response.status, dict(response.getheaders()), content


def framed(texts=TEXTS, *, binary=None, size=None, parameters=None, **changes):
    """Body and headers of a binary request."""
    blob = encode_texts(texts) if binary is None else binary
    tensor = {"name": "query", "datatype": "BYTES", "shape": [len(texts)]}
    tensor["parameters"] = {"binary_data_size": len(blob) if size is None else size}
    head = json.dumps({"inputs": [tensor | changes], "parameters": parameters or {}}).encode()
    return head + blob, {HEADER_LENGTH: str(len(head))}


def error(status, headers, content):
    assert headers["content-type"] == "application/json"
    body = json.loads(content)
    assert list(body) == ["error"]
    return status, body["error"]


def test_a_binary_request_is_answered_in_json_unless_bytes_are_asked_for(address):
    status, headers, content = post(address, *framed())
    assert (status, headers["content-type"]) == (200, "application/json")
    assert json.loads(content)["outputs"][0]["shape"] == [2, 32]
    status, headers, content = post(address, *framed(parameters={"binary_data_output": True}))
    head = int(headers["inference-header-content-length"])
    assert (status, headers["content-type"]) == (200, "application/octet-stream")
    assert json.loads(content[:head])["outputs"][0]["parameters"] == {"binary_data_size": 2 * 32 * 4}
    assert len(content) == head + 2 * 32 * 4


def test_a_request_that_is_cut_off_at_any_byte_is_400(address):
    body, headers = framed(["red", "x"])
    for cut in range(len(body)):
        status, message = error(*post(address, body[:cut], headers))
        assert status == 400, (cut, message)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (framed(size=3), "say 3 bytes, 23 bytes follow"),
        (framed(size=-1), "'binary_data_size' must be a number of bytes"),
        (framed(size=True), "'binary_data_size' must be a number of bytes"),
        (framed(size="22"), "'binary_data_size' must be a number of bytes"),
        (framed(size=10**30), "23 bytes follow"),
        (framed(data=["a", "b"]), "both 'data' and 'binary_data_size'"),
        (framed(shape=[3]), "its shape has 3 elements, its data 2"),
        (framed(shape=[1]), "left behind element 1"),
        (framed(shape=[]), "the model takes [n]"),
        (framed(shape=[-2]), "'inputs[0].shape[0]' must be a whole number from 0 up"),
        (framed(shape=[10**9]), "at most 64"),
        (framed([], shape=[0]), "not empty"),
        (framed(binary=b"\x01\x00\x00\x00\xff", shape=[1]), "not UTF-8"),
        (framed(binary=b"\xff\xff\xff\xff", shape=[1]), "4294967295 bytes, 0 are left"),
        (framed(parameters={"binary_data_output": "yes"}), "must be true or false"),
        ((framed()[0], {HEADER_LENGTH: "99999"}), "the body has"),
        ((framed()[0], {HEADER_LENGTH: "-1"}), "whole number of bytes"),
        ((framed()[0], {}), "not JSON"),
        ((b"\xff", {HEADER_LENGTH: "0"}), "not UTF-8"),
        ((b"", {HEADER_LENGTH: "0"}), "not empty"),
    ],
)
def test_what_breaks_the_extension_is_400_and_says_how(address, request_, message):
    status, said = error(*post(address, *request_))
    assert status == 400
    assert message in said


@pytest.mark.parametrize(
    ("body", "headers", "status", "message"),
    [
        (gzip.compress(framed()[0])[:-4], {"Content-Encoding": "gzip"}, 400, "cut off"),
        (gzip.compress(framed()[0]) + b"x", {"Content-Encoding": "gzip"}, 400, "cut off"),
        (b"plain", {"Content-Encoding": "gzip"}, 400, "not gzip"),
        (b"plain", {"Content-Encoding": "deflate"}, 400, "not deflate"),
        (b"", {"Content-Encoding": "gzip"}, 400, "cut off"),
        (b"plain", {"Content-Encoding": "br"}, 415, "gzip, deflate"),
        (gzip.compress(b" " * 1_000_000), {"Content-Encoding": "gzip"}, 413, "4096 bytes"),
        (zlib.compress(b" " * 1_000_000), {"Content-Encoding": "deflate"}, 413, "4096 bytes"),
        (b"a=b", {"Content-Type": "application/x-www-form-urlencoded"}, 415, "application/json"),
        (b"{}", {"Content-Type": "text/plain"}, 415, "application/json"),
    ],
)
@pytest.mark.parametrize("path", [f"{MODEL}/infer", "/search"])
def test_a_body_that_cannot_be_read_has_its_own_status(address, path, body, headers, status, message):
    found, said = error(*post(address, body, headers, path))
    assert found == status
    assert message in said


def test_deflate_without_zlibs_header_is_read_too(address):
    writer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    body = writer.compress(b'{"query": "red shoe"}') + writer.flush()
    assert post(address, body, {"Content-Encoding": "deflate"}, "/search")[0] == 200
