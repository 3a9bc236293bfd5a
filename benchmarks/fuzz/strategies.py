"""What to send: hypothesis strategies for requests that are right, nearly right, and nothing of the kind."""

from __future__ import annotations

import gzip
import json
import random
import zlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import quote_from_bytes

from hypothesis import strategies as st

from benchmarks.fuzz.wire import Sent
from rankops.serving.tensors import HEADER_LENGTH, encode_texts

INPUTS = {"retriever": ("query",), "ranker": ("query", "product"), "recommender": ("items",)}
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "PROPFIND")
PATHS = (
    "/", "/search", "/recommend", "/rerank", "/healthz", "/readyz", "/metrics", "/docs", "/openapi.json", "/v2",
    "/v2/health/live", "/v2/health/ready", "/v2/models/stats", "/v2/repository/index", "/v2/logging",
)  # fmt: skip
WORDS = ("red", "shoe", "blue lamp", "p001", "p002 p003", "acme", "Größe", "青い", "", " ", "\x00", "\u2028", "a" * 600)

TEXT = st.one_of(st.sampled_from(WORDS[:6]), st.sampled_from(WORDS), st.text(max_size=30))
LEAF = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), TEXT, st.sampled_from([0, -1, 1, 10**18, 10**30, 1e308, -0.0])
)
VALUE = st.recursive(
    LEAF, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=8
)


@st.composite
def changed(draw: st.DrawFn, value: Any) -> Any:
    """``value`` with one of its parts replaced, removed or joined by another."""
    if not isinstance(value, list | dict) or not value or draw(st.integers(0, 3)) == 0:
        return draw(VALUE)
    copy: Any = value.copy()
    places = list(copy) if isinstance(copy, dict) else list(range(len(copy)))
    place = draw(st.sampled_from(places))
    action = draw(st.sampled_from(["inside", "inside", "remove", "add", "twice"]))
    if action == "inside":
        copy[place] = draw(changed(copy[place]))
    elif action == "remove":
        del copy[place]
    elif isinstance(copy, dict):
        copy[draw(TEXT)] = draw(VALUE)
    else:
        copy.append(copy[place] if action == "twice" else draw(VALUE))
    return copy


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """Bytes cut off, changed, or with more of them."""
    at = draw(st.integers(0, len(data)))
    more = draw(st.binary(max_size=8))
    action = draw(st.sampled_from(["cut", "change", "insert", "double"]))
    if action == "cut":
        return data[:at]
    if action == "change":
        return data[:at] + more + data[at + len(more) :]
    return data[:at] + more + data[at:] if action == "insert" else data + data


def bodies(model: str) -> st.SearchStrategy[tuple[str, Any]]:
    """Path and a right body of every endpoint that takes one."""
    product = st.one_of(st.sampled_from(["p001", "p002", "p003"]), st.fixed_dictionaries({"id": TEXT, "text": TEXT}))
    count = st.integers(1, 60) | st.integers(-1, 120)
    tensor = st.fixed_dictionaries({
        "name": st.sampled_from(["query", "product", "items", "x"]), "shape": st.just([1]),
        "datatype": st.sampled_from(["BYTES", "BYTES", "FP32"]), "data": st.lists(TEXT, min_size=1, max_size=3),
    })  # fmt: skip
    right = st.fixed_dictionaries({
        "inputs": st.just([{"name": n, "shape": [1], "datatype": "BYTES", "data": ["red shoe"]} for n in INPUTS[model]])
        | st.lists(tensor, max_size=3)
    }, optional={
        "id": TEXT, "outputs": st.lists(st.fixed_dictionaries({"name": TEXT}), max_size=2),
        "parameters": st.fixed_dictionaries({"binary_data_output": st.booleans()}),
    })  # fmt: skip
    search = st.tuples(st.just("/search"), st.fixed_dictionaries({"query": TEXT}, optional={"k": count}))
    recommend = st.tuples(
        st.just("/recommend"),
        st.fixed_dictionaries(
            {"items": st.lists(TEXT, max_size=5)},
            optional={"k": count, "exclude": st.lists(TEXT, max_size=3), "max_per_category": count | st.none()},
        ),
    )
    rerank = st.tuples(
        st.just("/rerank"),
        st.fixed_dictionaries({"query": TEXT, "products": st.lists(product, max_size=4)}, optional={"k": count})
        | st.fixed_dictionaries(
            {"pairs": st.lists(st.fixed_dictionaries({"query": TEXT, "product": TEXT}), max_size=3)}
        ),
    )
    own = {"retriever": search, "ranker": rerank, "recommender": recommend}[model]
    other = st.one_of(search, recommend, rerank)
    return st.one_of(own, st.tuples(st.just(f"/v2/models/{model}/infer"), right), other)


def _one_line(value: bytes) -> bytes:
    """A header's value that stays one header."""
    return bytes(byte for byte in value if byte not in b"\0\r\n")


_ODD_HEADERS = st.lists(
    st.one_of(
        st.tuples(st.just("Content-Type"), st.sampled_from([
            b"application/json", b"application/octet-stream", b"text/plain", b"application/x+json", b";", b"\xff",
        ])),
        st.tuples(
            st.just("Content-Encoding"), st.sampled_from([b"gzip", b"deflate", b"br", b"identity", b"gzip, gzip"])
        ),
        st.tuples(st.just("Accept-Encoding"), st.sampled_from([b"gzip", b"deflate;q=0.1", b"*;q=x", b"gzip;q=0, br"])),
        st.tuples(st.just(HEADER_LENGTH), st.sampled_from([b"0", b"1", b"40", b"99999", b"-1", b"x", b"1e3"])),
        st.tuples(st.sampled_from(["X-Request-Id", "traceparent", "Cookie"]), st.binary(max_size=40).map(_one_line)),
        st.tuples(st.just("Authorization"), st.sampled_from([b"Bearer", b"Bearer x", b"Basic \xff"])),
        st.tuples(st.just("Cache-Control"), st.sampled_from([b"no-cache", b"\xff"])),
        st.tuples(st.just("X-Request-Time"), st.sampled_from([b"yesterday", b"2026-01-01T00:00:00Z", b"\xff"])),
        st.tuples(st.just("X-Request-Timeout-Ms"), st.sampled_from([b"0", b"-1", b"nan", b"inf", b"x", b"60000"])),
        st.tuples(st.just("Origin"), st.sampled_from([b"null", b"https://a.example", b"\xff"])),
        st.tuples(st.just("Expect"), st.just(b"100-continue")),
        st.tuples(st.just("Accept"), st.sampled_from([b"application/openmetrics-text", b"*/*", b"\xff"])),
    ),
    max_size=3,
).map(tuple)  # fmt: skip

HEADERS = st.one_of(st.just(()), st.just(()), _ODD_HEADERS)


@st.composite
def json_requests(draw: st.DrawFn, model: str) -> Sent:
    """A body that is right, has one thing wrong, or is no JSON any more."""
    path, body = draw(bodies(model))
    how = draw(st.sampled_from(["right", "right", "right", "changed", "changed", "damaged", "any"]))
    data = _json(draw(changed(body)) if how == "changed" else draw(VALUE) if how == "any" else body)
    if how == "damaged":
        data = draw(damaged(data))
    return Sent("json", "POST", path.encode(), draw(HEADERS), data, draw(st.booleans()))


@st.composite
def url_requests(draw: st.DrawFn, model: str) -> Sent:
    """Any method, any path, any query string."""
    part = st.sampled_from(
        [*PATHS, f"/v2/models/{model}", "/ready", "/infer", "/config", "/stats", "/versions/", "/.."]
    )
    path = "".join(draw(st.lists(part, min_size=1, max_size=3))).encode() + draw(st.just(b"") | _ESCAPED)
    names = st.sampled_from([b"q", b"k", b"query", b"items", b"exclude", b"max_per_category"]) | _ESCAPED
    values = st.sampled_from([b"red", b"1", b"-1", b"9" * 30, b"p001,p002", b"", b"%", b"%ff%fe"]) | _ESCAPED
    pairs = draw(st.lists(st.tuples(names, values), max_size=4))
    query = b"&".join(name + b"=" + value for name, value in pairs)
    target = path + (b"?" + query if query else b"")
    body = draw(st.none() | st.binary(max_size=30))
    return Sent("url", draw(st.sampled_from(METHODS)), target or b"/", draw(HEADERS), body)


_ESCAPED = st.binary(max_size=12).map(lambda data: quote_from_bytes(data).encode())


@st.composite
def binary_requests(draw: st.DrawFn, model: str) -> Sent:
    """Binary tensors: sizes that lie, lengths that lie, bytes that are cut off, compressed or only said to be."""
    texts = draw(st.lists(TEXT, min_size=1, max_size=4))
    blobs, inputs = [], []
    for name in INPUTS[model]:
        blob = encode_texts(texts)
        if draw(st.integers(0, 4)) == 0:
            blob = draw(damaged(blob))
        size = len(blob) if draw(st.integers(0, 4)) else draw(st.integers(-2, 2**70))
        tensor = {"name": name, "shape": [len(texts)], "datatype": "BYTES", "parameters": {"binary_data_size": size}}
        inputs.append(draw(changed(tensor)) if draw(st.integers(0, 5)) == 0 else tensor)
        blobs.append(blob)
    request: Any = {"inputs": inputs, "parameters": {"binary_data_output": draw(st.booleans())}}
    if draw(st.integers(0, 5)) == 0:
        request = draw(changed(request))
    head = _json(request)
    body = head + b"".join(blobs)
    if draw(st.integers(0, 3)) == 0:
        body = draw(damaged(body))
    length = len(head) if draw(st.integers(0, 4)) else draw(st.integers(-1, len(body) + 3))
    headers = [(HEADER_LENGTH, b"%d" % length)]
    coding = draw(st.sampled_from([None, None, "gzip", "deflate"]))
    if coding is not None:
        body = gzip.compress(body, 1) if coding == "gzip" else zlib.compress(body, 1)
        body = draw(damaged(body)) if draw(st.integers(0, 2)) == 0 else body
        headers.append(("Content-Encoding", coding.encode()))
    target = f"/v2/models/{model}/infer".encode()
    return Sent("binary tensors", "POST", target, (*headers, *draw(HEADERS)), body, draw(st.booleans()))


@st.composite
def garbage(draw: st.DrawFn, model: str) -> Sent:
    """Bytes that are no HTTP, or were once."""
    if draw(st.integers(0, 3)) == 0:
        return Sent("garbage", raw=draw(st.binary(min_size=1, max_size=200)))
    data = draw(st.one_of(json_requests(model), url_requests(model), binary_requests(model))).framed()
    for _ in range(draw(st.integers(1, 3))):
        data = draw(damaged(data))
    return Sent("garbage", raw=data or b"\0")


def anything(model: str) -> st.SearchStrategy[Sent]:
    """All of them; binary tensors twice as often."""
    binary = binary_requests(model)
    return st.one_of(json_requests(model), binary, url_requests(model), binary, garbage(model))


def mutants(sent: Sent, chance: random.Random, count: int) -> Iterator[Sent]:
    """Copies with a few bytes of the body, or of the whole where it has none, changed: cheap, and there can be many."""
    for _ in range(count):
        if sent.raw is not None or not sent.body:
            yield replace(sent, kind="mutant bytes", raw=_bent(sent.framed(), chance) or b"\0")
        elif chance.random() < 0.1 and "Content-Encoding" not in dict(sent.headers):
            yield replace(
                sent,
                kind="mutant compressed",
                body=gzip.compress(_bent(sent.body, chance), 1),
                headers=(*sent.headers, ("Content-Encoding", b"gzip")),
            )
        else:
            yield replace(sent, kind=f"mutant {sent.kind}", body=_bent(sent.body, chance))


def _bent(data: bytes, chance: random.Random) -> bytes:
    bent = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 1, 2, 4))):
        at, width = chance.randrange(len(bent) + 1), chance.choice((1, 1, 2, 4, 8))
        action = chance.randrange(10)
        if action > 6:  # most often another letter, which leaves the form as it was
            letters = [place for place in range(at, min(at + 40, len(bent))) if bent[place : place + 1].isalnum()]
            for place in letters[:1]:
                bent[place] = chance.choice(b"abcxyz0189")
        elif action == 0:
            del bent[at:]
        elif action == 1:
            del bent[at : at + width]
        elif action == 2:
            bent[at:at] = chance.randbytes(width)
        elif action == 3:
            bent[at : at + width] = chance.randbytes(width)
        elif action == 4:
            bent[at:at] = chance.choice(_TOKENS)
        else:
            other = chance.randrange(len(bent) + 1)
            bent[at:at] = bent[other : other + 4 * width]
    return bytes(bent)


_TOKENS = (
    b"0", b"-1", b"9" * 20, b"1e999", b"null", b"true", b"{}", b"[]", b'""', b",", b":", b'"', b"\\u0000", b"\\ud800",
    b"NaN", b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"[" * 300, b"\xef\xbb\xbf", b"\r\n", b"%", b"\xe2\x82",
)  # fmt: skip
