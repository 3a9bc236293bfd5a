from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from rankops.errors import BadInput
from rankops.load.arrivals import arrivals
from rankops.load.generator import Generator, Options
from rankops.load.http import Target
from tests.load.models import waits
from tests.load.stand_in import Behaviour, Server, ok, serving


@pytest.fixture
def generator_for() -> Iterator[object]:
    opened: list[Generator] = []

    def make(url: str, bodies: Sequence[dict[str, object]] = ({"query": "red shoe"},), **options: object) -> Generator:
        target = Target.parse(url)
        requests = [target.post("/search", body) for body in bodies]
        opened.append(Generator(target, requests, Options(**options)))  # type: ignore[arg-type]
        return opened[-1]

    yield make
    for generator in opened:
        generator.close()


def always(seconds: float, answer: bytes | None = None) -> Behaviour:
    return lambda server, number: (seconds, answer or ok())


def test_every_request_is_sent_whole_in_order_and_counted(generator_for) -> None:
    with serving(always(0.0, ok(headers="X-Rankops-Release: abc\r\n"))) as (url, server):
        result = generator_for(url, [{"query": "a"}, {"query": "bé"}]).open_loop(arrivals("constant", 200, 0.5))
    assert result.sent == result.answered == 100 and result.failed == 0
    assert result.statuses == {200: 100} and result.labels == {"abc": 100}
    assert {request.partition(b"\r\n\r\n")[2] for request in server.requests} == {
        b'{"query": "a"}',
        b'{"query": "b\\u00e9"}',
    }


def test_a_stall_of_a_second_shows_in_the_percentiles_although_one_request_met_it(generator_for) -> None:
    """Coordinated omission: a closed loop sees one slow request, the open loop everyone who would have asked."""

    def stalls_once(server: Server, number: int) -> tuple[float, bytes]:
        return (1.0 if number == 50 else 0.0005), ok()

    with serving(stalls_once) as (url, _):
        open_ = generator_for(url, connections=1).open_loop(arrivals("constant", 100, 2.0))
    with serving(stalls_once) as (url, _):
        closed = generator_for(url).closed_loop(1, 2.0)
    assert open_.sent == 200
    assert open_.latency.share_above(0.25) > 0.3  # about 75 of the 200 were meant to be sent while it stalled
    assert open_.percentile_ms(75) > 250
    assert closed.latency.share_above(0.25) < 0.02
    assert open_.lag.percentile(75) > 0.2  # and it says that they could not leave in time


def test_latencies_of_a_queue_are_those_that_the_arrivals_imply(generator_for) -> None:
    service, times = 0.005, arrivals("poisson", 140, 2.0, seed=5)  # M/D/1 at 70 %
    expected = waits(times, service) + service
    for _ in range(3):  # a busy machine adds to it, seldom three times
        with serving(always(service)) as (url, _):
            result = generator_for(url).open_loop(times, rate=140)
        assert result.answered == len(times)
        assert result.latency.mean >= 0.95 * float(np.mean(expected))
        if result.latency.mean < 1.5 * float(np.mean(expected)) + 0.005 + result.lag.mean:
            return
    if result.lag.percentile(99) > 0.02:
        pytest.skip("this machine is too busy to time a queue")
    pytest.fail(f"mean {result.latency.mean:.4f} s, the arrivals imply {float(np.mean(expected)):.4f} s")


def test_closed_loop_clients_wait_for_their_answer(generator_for) -> None:
    with serving(always(0.01)) as (url, server):
        result = generator_for(url).closed_loop(4, 0.5)
    assert server.connections == 4
    assert result.answered <= 60  # one queue, 10 ms each
    assert result.percentile_ms(50) > 30  # four take turns


def test_answers_during_warm_up_do_not_count(generator_for) -> None:
    with serving(always(0.0)) as (url, server):
        result = generator_for(url).open_loop(arrivals("constant", 100, 1.0), warm_up=0.5)
    assert len(server.requests) == 100
    assert result.sent == 50


def test_statuses_time_outs_and_lost_connections_are_counted_by_kind(generator_for) -> None:
    def behaviour(server: Server, number: int) -> tuple[float, bytes] | None:
        if number == 5:
            return 0.0, ok(status="503 Service Unavailable")
        if number in (10, 11):  # also the second try, on a fresh connection
            return None
        return 0.0, b"nonsense\r\n\r\n" if number == 20 else ok()

    with serving(behaviour) as (url, _):
        result = generator_for(url).open_loop(arrivals("constant", 50, 1.0))
    assert result.failures == {"status 503": 1, "closed": 1, "malformed": 1}
    assert result.sent == 50 and result.answered == 47 and result.reconnects == 1


def test_a_time_out_counts_with_the_time_that_was_waited(generator_for) -> None:
    def behaviour(server: Server, number: int) -> tuple[float, bytes]:
        return (5.0 if number == 9 else 0.0), ok()

    with serving(behaviour) as (url, _):
        result = generator_for(url, timeout=0.3).open_loop(arrivals("constant", 50, 0.2))
    assert result.failures == {"timeout": 1}
    assert result.sent == 10
    assert result.latency.maximum >= 0.3


def test_an_idle_connection_that_the_server_closed_is_no_failure(generator_for) -> None:
    def behaviour(server: Server, number: int) -> tuple[float, bytes]:
        return 0.0, ok(headers="Connection: close\r\n")

    with serving(behaviour) as (url, server):
        result = generator_for(url).open_loop(arrivals("constant", 100, 0.3))
    assert result.failed == 0 and server.connections == 30


def test_chunked_answers_and_answers_without_a_length_end_where_they_end(generator_for) -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    with serving(always(0.0, b"HTTP/1.1 100 Continue\r\n\r\n" + chunked)) as (url, _):
        assert generator_for(url).open_loop(arrivals("constant", 50, 0.2)).answered == 10


def test_a_server_that_is_not_there_fails_every_request(generator_for) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    result = generator_for(f"http://127.0.0.1:{port}").open_loop(arrivals("constant", 50, 0.2))
    assert result.failures == {"connect": 10} and result.throughput == 0.0


def test_ticks_come_while_it_runs(generator_for) -> None:
    seen: list[float] = []
    with serving(always(0.0)) as (url, _):
        generator_for(url).open_loop(arrivals("constant", 20, 1.0), tick=seen.append)
    assert len(seen) >= 3 and seen == sorted(seen)


@pytest.mark.parametrize("url", ["https://127.0.0.1:1", "127.0.0.1:80", "http://", "http://h:port"])
def test_only_plain_http_addresses_are_taken(url: str) -> None:
    with pytest.raises(BadInput, match="http://host:port"):
        Target.parse(url)
