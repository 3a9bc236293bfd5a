"""A short run of ``python -m benchmarks.fuzz``: real server processes of all three tasks."""

from __future__ import annotations

import json

import pytest

from benchmarks.fuzz.run import complaint, fuzz
from benchmarks.fuzz.wire import NO_ANSWER, Got, Sent
from tests.support.tiny_tasks import make_releases

ERROR = {"content-type": "application/json"}


def test_two_thousand_wrong_requests_are_refused_without_a_5xx_or_a_crash(tmp_path):
    outcome = fuzz(make_releases(tmp_path), 2_000, described=0, seed=7)
    assert outcome.wrong == []
    assert outcome.sent >= 2_000
    assert {200, 400, 404} <= set(outcome.statuses)
    assert {"binary tensors", "garbage", "json", "url"} <= set(outcome.by_kind)
    json.dumps(outcome.as_json())


def test_requests_made_from_the_document_are_answered_as_it_says(tmp_path):
    pytest.importorskip("schemathesis")
    releases = make_releases(tmp_path)
    outcome = fuzz({"retrieval": releases["retrieval"]}, 150, described=100, seed=3)
    assert outcome.wrong == []
    assert set(outcome.by_kind["described"]) >= {200, 400}


@pytest.mark.parametrize(
    ("sent", "got", "wrong"),
    [
        (Sent("x"), Got(200), False),
        (Sent("x"), Got(400, ERROR, b'{"error": "a"}'), False),
        (Sent("x", "HEAD"), Got(404), False),
        (Sent("x", raw=b"?"), Got(NO_ANSWER), False),
        (Sent("x", headers=(("X-Request-Timeout-Ms", b"1"),)), Got(504, ERROR, b'{"error": "a"}'), False),
        (Sent("x"), Got(NO_ANSWER), True),
        (Sent("x"), Got(500, ERROR, b'{"error": "a"}'), True),
        (Sent("x"), Got(504, ERROR, b'{"error": "a"}'), True),
        (Sent("x"), Got(503, ERROR, b'{"error": "a"}'), True),
        (Sent("x"), Got(400, ERROR, b"Bad Request"), True),
        (Sent("x"), Got(400, ERROR, b'{"error": 1}'), True),
        (Sent("x"), Got(400, ERROR, b'{"error": "a", "trace": "b"}'), True),
        (Sent("x"), Got(400, {"content-type": "text/plain"}, b'{"error": "a"}'), True),
    ],
)
def test_the_judge_knows_a_wrong_answer(sent, got, wrong):
    assert (complaint(sent, got) is not None) is wrong
