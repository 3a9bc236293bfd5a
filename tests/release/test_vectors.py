"""Each product is embedded once: after a kill, for another release, by another session; and always to the same bits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from rankops.encoding import OnnxEncoder
from rankops.errors import BadInput, IntegrityError
from rankops.release.vectors import CachedEncoder, cached_vectors, embed, write_vectors
from rankops.vector_cache import VectorCache, text_key


class Counting:
    """Encodes a text as numbers made of its hash, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def encode(self, texts, *, role):
        self.asked += texts
        found = np.stack([np.frombuffer(text_key(text), np.uint8)[:8].astype(np.float32) for text in texts])
        return found / np.linalg.norm(found, axis=1, keepdims=True)


def texts(count: int) -> list[str]:
    return [f"product {number} {'x' * (number % 17)}" for number in range(count)]


def test_vectors_are_in_the_order_of_the_texts_and_equal_texts_are_embedded_once(tmp_path):
    encoder = Counting()
    given = [*texts(600), *texts(3)]
    counts = write_vectors(encoder, given, tmp_path / "v.npy", dimension=8)
    vectors = np.load(tmp_path / "v.npy", mmap_mode="r")
    assert np.array_equal(vectors, Counting().encode(given, role="product"))
    assert counts == {"embedded": 600, "reused": 0} and len(encoder.asked) == 600
    assert [len(text) for text in encoder.asked] == sorted(map(len, encoder.asked), reverse=True)


def test_only_texts_that_changed_are_embedded_again(tmp_path):
    known = VectorCache(str(tmp_path)).of({"encoder": "a"}, 8)
    assert embed(Counting(), texts(300), known) == {"embedded": 300, "reused": 0}
    encoder, again = Counting(), VectorCache(str(tmp_path)).of({"encoder": "a"}, 8)
    changed = [*texts(299), "another text"]
    assert embed(encoder, changed, again) == {"embedded": 1, "reused": 299} and encoder.asked == ["another text"]
    assert np.array_equal(again.get(changed), Counting().encode(changed, role="product"))
    other = VectorCache(str(tmp_path)).of({"encoder": "b"}, 8)
    assert other.missing(texts(2)) == texts(2)


@pytest.mark.parametrize("root", ["local", "memory"])
def test_a_remote_store_holds_vectors_as_a_folder_does(root, tmp_path):
    url = str(tmp_path) if root == "local" else f"memory://{tmp_path.name}/vectors"
    embed(Counting(), texts(20), VectorCache(url).of({}, 8))
    assert VectorCache(url).of({}, 8).missing(texts(21)) == texts(21)[20:]


@pytest.mark.parametrize("damage", ["cut", "flip", "empty"])
def test_a_damaged_segment_is_passed_over_and_its_texts_are_embedded_again(damage, tmp_path):
    embed(Counting(), texts(10), VectorCache(str(tmp_path)).of({}, 8))
    (segment,) = tmp_path.rglob("*.vec")
    content = bytearray(segment.read_bytes())
    content[-40] ^= 0xFF
    segment.write_bytes({"cut": bytes(content[:-9]), "flip": bytes(content), "empty": b""}[damage])
    again = VectorCache(str(tmp_path)).of({}, 8)
    assert embed(Counting(), texts(10), again) == {"embedded": 10, "reused": 0}
    assert np.array_equal(again.get(texts(10)), Counting().encode(texts(10), role="product"))


def test_many_small_segments_become_few_and_an_open_reader_keeps_what_it_sees(tmp_path):
    cache = VectorCache(str(tmp_path))
    writer = cache.of({}, 8)
    for number in range(30):
        writer.put([f"text {number}"], Counting().encode([f"text {number}"], role="product"))
    reader = cache.of({}, 8)
    writer.compact()
    assert len(list(tmp_path.rglob("*.vec"))) == 1
    expected = Counting().encode([f"text {number}" for number in range(30)], role="product")
    for one in (writer, reader, cache.of({}, 8)):
        assert np.array_equal(one.get([f"text {number}" for number in range(30)]), expected)


def test_the_cache_is_bounded_and_what_was_not_used_longest_goes_first(tmp_path):
    cache = VectorCache(str(tmp_path), max_bytes=3 * 1300)
    kept = {}
    for name in ("a", "b", "c", "d"):
        kept[name] = cache.of({"encoder": name}, 8)
        embed(Counting(), texts(25), kept[name])
        time.sleep(0.002)
    cache.of({"encoder": "a"}, 8)  # used again
    assert cache.trim(keep=kept["d"]) > 0
    left = {name for name in kept if not cache.of({"encoder": name}, 8).missing(texts(25))}
    assert left == {"a", "d", "c"}


def test_vectors_of_another_form_are_refused(tmp_path):
    known = VectorCache(str(tmp_path)).of({}, 8)
    with pytest.raises(BadInput):
        known.put(["a"], np.zeros((1, 7), np.float32))
    with pytest.raises(IntegrityError, match="NaN"):
        broken = Counting()
        broken.encode = lambda texts, role: np.full((len(texts), 8), np.nan, np.float32)
        embed(broken, ["a"], known)
    assert known.missing(["a"]) == ["a"]


def test_an_evaluation_and_a_release_share_the_vectors_of_one_encoder(shop, tmp_path):
    encoder = OnnxEncoder(shop.artifact)
    titles = ["red shoe", "blue lamp", "green tent"]
    first = CachedEncoder(encoder, cached_vectors(VectorCache(str(tmp_path)), encoder))
    vectors = first.encode(titles, role="product")
    assert np.array_equal(vectors, encoder.encode(titles, role="product"))
    assert np.array_equal(first.encode(["red"], role="query"), encoder.encode(["red"], role="query"))
    known = cached_vectors(VectorCache(str(tmp_path)), OnnxEncoder(shop.artifact, threads=2))
    assert embed(Counting(), titles, known) == {"embedded": 0, "reused": 3}


def test_several_sessions_give_the_same_bits(shop, tmp_path, monkeypatch):
    monkeypatch.setattr("rankops.release.vectors._WORTH_SESSIONS", 10)
    monkeypatch.setattr("rankops.release.vectors._CHUNK", 7)
    given = [f"red shoe {'blue ' * (number % 5)}{number}" for number in range(60)]
    alone, several = OnnxEncoder(shop.artifact), OnnxEncoder(shop.artifact, threads=2)
    said: list[str] = []
    monkeypatch.setattr("rankops.release.vectors._SAY_EVERY", 0.0)
    for name, encoder in (("a", alone), ("b", several)):
        write_vectors(encoder, given, tmp_path / name, dimension=encoder.dimension, progress=said.append)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert any("to go" in line for line in said)


_SLOW = """
import sys, time
from rankops.release.vectors import embed
from rankops.vector_cache import VectorCache
from tests.release.test_vectors import Counting, texts
import rankops.release.vectors as vectors
vectors._CHUNK = 10
class Slow(Counting):
    def encode(self, texts, *, role):
        time.sleep(0.05)
        return super().encode(texts, role=role)
embed(Slow(), texts(2000), VectorCache(sys.argv[1]).of({}, 8))
"""


def test_a_killed_run_goes_on_where_it_was(tmp_path, monkeypatch):
    root = Path(__file__).resolve().parents[2]
    child = subprocess.Popen(
        [sys.executable, "-c", _SLOW, str(tmp_path)], env=os.environ | {"PYTHONPATH": str(root)}, cwd=root
    )
    deadline = time.monotonic() + 60
    while len(list(tmp_path.rglob("*.vec"))) < 3 and time.monotonic() < deadline and child.poll() is None:
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    known, encoder = VectorCache(str(tmp_path)).of({}, 8), Counting()
    missing = len(known.missing(texts(2000)))
    assert 0 < missing <= 1970
    assert embed(encoder, texts(2000), known) == {"embedded": missing, "reused": 2000 - missing}
    assert len(encoder.asked) == missing
    assert np.array_equal(known.get(texts(2000)), Counting().encode(texts(2000), role="product"))
