"""Alerts as they really come: from Prometheus' HTTP API, and from Alertmanager's webhook over HTTP."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from rankops.errors import BadInput, RemoteUnavailable
from rankops.stages.alert_webhook import LIMIT, create_app
from rankops.stages.alerts import Alert, Inbox, prometheus_alerts, read_webhook, symptoms
from rankops.store import ArtifactStore

TOKEN = "a-long-secret-of-this-test"
NOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
PAYLOAD: dict[str, Any] = {
    "version": "4",
    "groupKey": '{}:{alertname="RankopsErrors"}',
    "truncatedAlerts": 0,
    "status": "firing",
    "receiver": "rankops",
    "groupLabels": {"alertname": "RankopsErrors"},
    "commonLabels": {"alertname": "RankopsErrors", "model": "retriever", "namespace": "rankops-staging"},
    "commonAnnotations": {"summary": "More than 1 % of the requests fail."},
    "externalURL": "http://alertmanager:9093",
    "alerts": [
        {
            "status": "firing",
            "labels": {"alertname": "RankopsErrors", "model": "retriever", "namespace": "rankops-staging"},
            "annotations": {"summary": "More than 1 % of the requests fail."},
            "startsAt": "2026-03-04T11:30:00.123456789Z",
            "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "http://prometheus:9090/graph?g0.expr=up",
            "fingerprint": "0123456789abcdef",
        },
        {
            "status": "firing",
            "labels": {"alertname": "NodeDown"},
            "annotations": {},
            "startsAt": "2026-03-04T11:30:00Z",
            "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "",
            "fingerprint": "fedcba9876543210",
        },
    ],
}


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def wait_for(found: Callable[[], Any], seconds: float = 30.0) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if value := found():
                return value
        except (httpx.HTTPError, RemoteUnavailable):
            pass
        time.sleep(0.1)
    raise AssertionError("it never came")


@contextmanager
def process(command: list[str], log: Path, **environment: str) -> Iterator[None]:
    with log.open("wb") as out:
        started = subprocess.Popen(command, stdout=out, stderr=out, env={**os.environ, **environment})
        try:
            yield
        except AssertionError:
            print(log.read_text())
            raise
        finally:
            started.terminate()
            started.wait(20)


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(str(tmp_path / "store"))


@pytest.fixture
def receiver(tmp_path: Path, store: ArtifactStore) -> Iterator[str]:
    """``rankops alert-webhook`` as a process."""
    port = free_port()
    command = [sys.executable, "-c", "from rankops.cli import app; app()", "alert-webhook", "--port", str(port)]
    with process(command, tmp_path / "webhook.log", RANKOPS_ALERT_TOKEN=TOKEN, RANKOPS_STORE=store.root):
        url = f"http://127.0.0.1:{port}"
        wait_for(lambda: httpx.get(f"{url}/healthz").status_code == 200)
        yield f"{url}/alertmanager"


def post(url: str, body: Any, token: str = TOKEN) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return httpx.post(url, content=content, headers={"Authorization": f"Bearer {token}"})


def resolved(payload: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {**payload, "alerts": [{**payload["alerts"][0], "status": "resolved", **changes}]}


def test_the_webhook_keeps_what_fires_and_forgets_what_is_resolved(receiver: str, store: ArtifactStore) -> None:
    inbox, now = Inbox(store), datetime.now(UTC)
    for _ in range(2):  # Alertmanager repeats itself
        answer = post(receiver, PAYLOAD)
        assert (answer.status_code, answer.json()) == (200, {"about models": 1, "ignored": 1})
    (alert,) = inbox.firing(now)
    assert (alert.name, alert.summary) == ("RankopsErrors", "More than 1 % of the requests fail.")
    assert alert.since == datetime(2026, 3, 4, 11, 30, 0, 123456, tzinfo=UTC)
    assert post(receiver, resolved(PAYLOAD, startsAt="2026-03-04T10:00:00Z")).status_code == 200
    assert inbox.firing(now), "an older firing of it was resolved"
    assert post(receiver, resolved(PAYLOAD)).status_code == 200
    assert inbox.firing(now) == []


def test_only_alertmanager_with_the_token_is_listened_to(receiver: str, store: ArtifactStore) -> None:
    assert post(receiver, PAYLOAD, token="wrong").status_code == 401
    assert httpx.post(receiver, json=PAYLOAD).status_code == 401
    assert httpx.post(receiver, json=PAYLOAD, headers={"Authorization": b"Bearer \xff"}).status_code == 401
    assert post(receiver, b"x" * (LIMIT + 1)).status_code == 413
    for wrong, words in (
        (b"{", "body"),
        ({**PAYLOAD, "version": "3"}, "version"),
        (resolved(PAYLOAD, fingerprint="../../etc/passwd"), "alerts.0.fingerprint"),
        (resolved(PAYLOAD, startsAt="yesterday"), "alerts.0.startsAt"),
    ):
        answer = post(receiver, wrong)
        assert answer.status_code == 422 and words in answer.json()["problem"]
    assert Inbox(store).firing(datetime.now(UTC)) == []


def test_without_a_secret_the_webhook_does_not_open(store: ArtifactStore) -> None:
    with pytest.raises(BadInput, match="16 characters"):
        create_app(Inbox(store), "short")


def test_what_alertmanager_stopped_repeating_is_not_known_to_fire(store: ArtifactStore) -> None:
    inbox = Inbox(store)
    inbox.put(read_webhook(json.dumps(PAYLOAD).encode()), NOW)
    assert len(inbox.firing(NOW + timedelta(hours=11))) == 1
    assert inbox.firing(NOW + timedelta(hours=13)) == []


@pytest.mark.skipif(shutil.which("prometheus-alertmanager") is None, reason="prometheus-alertmanager is not installed")
def test_a_real_alertmanager_reaches_the_inbox(tmp_path: Path, receiver: str, store: ArtifactStore) -> None:
    config = f"""
route: {{receiver: rankops, group_wait: 0s, group_interval: 1s, group_by: [alertname]}}
receivers:
  - name: rankops
    webhook_configs:
      - url: {receiver}
        http_config: {{authorization: {{credentials: {TOKEN}}}}}
"""
    (tmp_path / "alertmanager.yml").write_text(config)
    port = free_port()
    command = ["prometheus-alertmanager", f"--config.file={tmp_path}/alertmanager.yml", f"--storage.path={tmp_path}/am"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address="]
    labels = {**PAYLOAD["alerts"][0]["labels"], "rankops_release": "b" * 12}
    inbox = Inbox(store)

    def tell(**more: str) -> bool:
        alerts = [{"labels": labels, "annotations": {"summary": "9 % fail"}, **more}]
        return httpx.post(f"http://127.0.0.1:{port}/api/v2/alerts", json=alerts).status_code == 200

    with process(command, tmp_path / "alertmanager.log"):
        wait_for(tell)
        (alert,) = wait_for(lambda: inbox.firing(datetime.now(UTC)))
        ((environment, symptom),) = symptoms([alert], "retriever", ["staging"], names=["RankopsErrors"])
        assert (environment, symptom.release, symptom.evidence) == ("staging", "b" * 12, "9 % fail")
        tell(endsAt=datetime.now(UTC).isoformat())
        wait_for(lambda: not inbox.firing(datetime.now(UTC)))


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed")
def test_a_real_prometheus_tells_what_fires(tmp_path: Path) -> None:
    (tmp_path / "prometheus.yml").write_text("global: {evaluation_interval: 1s}\nrule_files: [rules.yml]\n")
    labels = f"{{model: retriever, environment: staging, rankops_rollback: 'true', rankops_release: '{'b' * 12}'}}"
    rule = f"{{alert: Slow, expr: vector(1), labels: {labels}, annotations: {{summary: 'p99 is {{{{ $value }}}} s'}}}}"
    never = "{alert: Quiet, expr: vector(0) > 1}"
    (tmp_path / "rules.yml").write_text(f"groups: [{{name: g, rules: [{rule}, {never}]}}]\n")
    port = free_port()
    command = ["prometheus", f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data"]
    url = f"http://127.0.0.1:{port}"
    with process([*command, f"--web.listen-address=127.0.0.1:{port}"], tmp_path / "prometheus.log"):
        (alert,) = wait_for(lambda: prometheus_alerts(url))
    ((environment, symptom),) = symptoms([alert], "retriever", ["staging", "production"])
    assert (environment, symptom.name, symptom.release) == ("staging", "Slow", "b" * 12)
    assert symptom.evidence == "p99 is 1 s"
    assert timedelta(0) < datetime.now(UTC) - symptom.since < timedelta(minutes=2)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (503, b"Service Unavailable"),
        (200, b'{"status": "error", "error": "not ready"}'),
        (200, b"<html>a login page</html>"),
        (200, b"[]"),
    ],
)
def test_a_prometheus_that_does_not_answer_is_not_silence(status: int, body: bytes) -> None:
    seen: list[str | None] = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers["Authorization"])
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with pytest.raises(RemoteUnavailable):
            prometheus_alerts(f"http://127.0.0.1:{server.server_port}/", token="t0ken")
    finally:
        server.shutdown()
        server.server_close()
    assert seen == ["Bearer t0ken"]
    with pytest.raises(RemoteUnavailable):
        prometheus_alerts(f"http://127.0.0.1:{server.server_port}/")


def alert(source: Any = "prometheus", **labels: str) -> Alert:
    said = {"alertname": "Slow", "model": "retriever", "environment": "staging", "rankops_rollback": "true"} | labels
    said = {key: value for key, value in said.items() if value}
    return Alert(labels=said, summary="slow", since=NOW, fingerprint="0" * 16, source=source)


def about(*alerts: Alert, **more: Any) -> list[str]:
    return [environment for environment, _ in symptoms(alerts, "retriever", ["staging", "production"], **more)]


def test_only_alerts_that_were_written_for_it_and_say_where_are_symptoms() -> None:
    assert about(alert()) == ["staging"]
    assert about(alert(rankops_rollback="")) == []
    assert about(alert(rankops_rollback=""), names=["Slow"]) == ["staging"]
    assert about(alert(model="ranker")) == []
    assert about(alert(environment="", namespace="rankops-production")) == ["production"]
    assert about(alert(environment="", namespace="search"), namespaces={"search": "production"}) == ["production"]
    assert about(alert(environment="", namespace="elsewhere")) == []
    assert about(alert(environment="laptop")) == []


def test_alertmanager_says_when_it_fired_so_an_unnamed_alert_counts_as_older() -> None:
    ((_, unnamed),) = symptoms([alert("alertmanager")], "retriever", ["staging"])
    ((_, named),) = symptoms([alert("alertmanager", rankops_release="b" * 12)], "retriever", ["staging"])
    ((_, pending),) = symptoms([alert("prometheus")], "retriever", ["staging"])
    assert (NOW - unnamed.since, named.since, pending.since) == (timedelta(minutes=15), NOW, NOW)
