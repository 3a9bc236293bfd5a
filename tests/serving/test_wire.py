"""What a caller sees of an answer on the wire."""

from __future__ import annotations

import asyncio
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankops.serving.wire import _Joined
from rankops.text import normalize_query


class Recorder:
    """A transport that remembers."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        self.writes.append(bytes(data))

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def get_extra_info(self, name: str) -> str:
        return name


def played(*steps) -> Recorder:
    """Do the steps in one go, then let the loop turn once."""
    recorder = Recorder()

    async def play():
        joined = _Joined(recorder, asyncio.get_running_loop())
        for step in steps:
            step(joined)
        before = list(recorder.writes)
        await asyncio.sleep(0)
        assert joined.get_extra_info("peername") == "peername"
        recorder.before = before

    asyncio.run(play())
    return recorder


HEAD = b"HTTP/1.1 200 OK\r\n\r\n"


@pytest.mark.parametrize(
    ("writes", "seen"),
    [
        ([HEAD, b"body"], [HEAD + b"body"]),
        ([HEAD, b"a", b"b"], [HEAD + b"a", b"b"]),
        ([HEAD], [HEAD]),
        ([HEAD, b""], [HEAD]),
        ([HEAD, b"body", HEAD, b"next"], [HEAD + b"body", HEAD + b"next"]),
        ([b"body"], [b"body"]),
    ],
)
def test_a_head_leaves_with_its_body_and_nothing_is_lost_or_reordered(writes, seen):
    recorder = played(*(lambda joined, data=data: joined.write(data) for data in writes))
    assert recorder.writes == seen


def test_a_head_alone_waits_for_one_turn_of_the_loop_only():
    recorder = played(lambda joined: joined.write(HEAD))
    assert (recorder.before, recorder.writes) == ([], [HEAD])


def test_closing_writes_what_was_kept():
    recorder = played(lambda joined: joined.write(HEAD), lambda joined: joined.close())
    assert (recorder.before, recorder.closed) == ([HEAD], True)


def test_an_answer_of_the_server_comes_in_one_packet(shop, address):
    import socket

    with socket.create_connection(("127.0.0.1", int(address.rsplit(":", 1)[1]))) as connection:
        for _ in range(3):
            connection.sendall(b"GET /search?q=red HTTP/1.1\r\nHost: x\r\n\r\n")
            packet = connection.recv(65536)
            head, _, body = packet.partition(b"\r\n\r\n")
            (length,) = re.findall(rb"content-length: (\d+)", head)
            assert len(body) == int(length) > 0


def slowly_normalized(query: str) -> str:
    folded = unicodedata.normalize("NFKC", query).lower()
    printable = "".join(" " if unicodedata.category(c) in ("Cc", "Zl", "Zp") else c for c in folded)
    return re.sub(r"\s+", " ", printable).strip()


@given(st.text() | st.text(st.characters(max_codepoint=127)))
def test_the_short_way_for_plain_queries_gives_the_same(query):
    assert normalize_query(query) == slowly_normalized(query)
