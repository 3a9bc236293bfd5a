"""The end of a server: nothing that a client has sent is lost, and nobody waits for nothing."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

from rankops.errors import RemoteUnavailable
from rankops.serving.client import Client
from tests.serving.conftest import ServerProcess
from tests.serving.test_process import arguments, wait_until_ready


class Caller(threading.Thread):
    """A keep-alive client of a service: it goes on with its connection, and makes new ones while there is an endpoint.

    When the endpoint is ``withdrawn`` (what happens before a pod's preStop sleep ends) it asks on until its connection
    is closed after an answer. A request without an answer is a drop.
    """

    def __init__(self, port: int, pause: float, withdrawn: threading.Event) -> None:
        super().__init__(daemon=True)
        self._withdrawn = withdrawn
        self.answered = 0
        self.statuses: set[int] = set()
        self.dropped: list[str] = []
        self._port, self._pause = port, pause

    def run(self) -> None:
        while not self._withdrawn.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=20)
            try:
                self._ask_until_closed(connection)
            except (OSError, http.client.HTTPException) as error:
                self.dropped.append(repr(error))
            finally:
                connection.close()

    def _ask_until_closed(self, connection: http.client.HTTPConnection) -> None:
        body = json.dumps({"query": "red shoe", "k": 3})
        while True:
            connection.request("POST", "/search", body, {"Content-Type": "application/json"})
            reply = connection.getresponse()
            reply.read()
            self.statuses.add(reply.status)
            self.answered += 1
            if reply.will_close:
                return
            time.sleep(self._pause)


def wait(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_sigterm_drops_no_request_of_clients_that_keep_their_connections(shop):
    with ServerProcess(arguments(shop)) as server:
        wait_until_ready(server)
        # some always have a request under way, some are idle just then and send their next one into the draining
        withdrawn = threading.Event()
        callers = [Caller(server.port, pause, withdrawn) for pause in (0, 0, 0.003, 0.01, 0.05, 0.2, 0.5)]
        for caller in callers:
            caller.start()
        wait(lambda: all(caller.answered > 3 for caller in callers))
        withdrawn.set()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0
        for caller in callers:
            caller.join(20)
    assert [drop for caller in callers for drop in caller.dropped] == []
    assert {status for caller in callers for status in caller.statuses} == {200}


def test_while_it_drains_a_server_is_not_ready_but_answers(shop):
    with ServerProcess(arguments(shop, linger_seconds=30)) as server:
        wait_until_ready(server)
        with Client(server.url) as idle, Client(server.url) as other:
            assert idle.get("/healthz").status == 200
            server.process.send_signal(signal.SIGTERM)
            wait(lambda: other.get("/readyz").status == 503)
            assert other.get("/readyz").body == {"ready": False, "reason": "draining"}
            reply = other.post("/search", {"query": "red shoe"})
            assert reply.status == 200
            assert reply.headers["connection"] == "close"
        # the idle client is gone, too: the server does not sit out its 30 seconds
        assert server.process.wait(25) == 0


def test_idle_connections_do_not_hold_a_server_for_longer_than_it_lingers(shop):
    with ServerProcess(arguments(shop, linger_seconds=0.5)) as server:
        wait_until_ready(server)
        with Client(server.url) as idle:
            assert idle.get("/healthz").status == 200
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(20) == 0
            with pytest.raises(RemoteUnavailable):
                idle.get("/healthz")


def test_sigterm_before_there_is_anything_to_drain_ends_a_first_process_too():
    # `unshare` makes Python process 1 of its own namespace, as a container's first process is
    script = (
        "import os, signal, sys, threading, time; import rankops.serving.__main__ as server;"
        "threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGTERM)).start();"
        "server.read_config = lambda argv: time.sleep(20);"
        "sys.exit(server.main([]))"
    )
    command = [sys.executable, "-c", script]
    if subprocess.run(["unshare", "--pid", "--fork", "true"], capture_output=True, check=False).returncode == 0:
        command = ["unshare", "--pid", "--fork", *command]
    assert subprocess.run(command, check=False, timeout=15).returncode == 0
