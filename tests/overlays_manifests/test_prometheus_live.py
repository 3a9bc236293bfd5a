"""A real Prometheus scrapes the real server: every panel of the dashboard shows something, and the alerts fire.

Grafana is not needed for that: a panel is its queries, and these are run as Grafana would, with its variables filled in.
"""

from __future__ import annotations

import http.client
import json
import re
import shutil
import socket
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from rankops.serving.api_keys import new_key
from rankops.serving.caller import TIMEOUT_HEADER
from tests.overlays_manifests.conftest import Objects, one
from tests.overlays_manifests.test_monitoring import GRAFANA, expressions, filled, panels
from tests.serving.conftest import Shop, running, shop  # noqa: F401 (a fixture)

TARGET = {"namespace": "rankops-production", "model": "retriever", "workload": "retriever", "environment": "production",
          "rankops_release": "0123456789ab"}  # fmt: skip
# What kube-state-metrics, the kubelet and Flagger would say.
OTHERS = """\
kube_deployment_status_replicas_available{namespace="rankops-production",deployment="retriever"} 2
kube_deployment_spec_replicas{namespace="rankops-production",deployment="retriever"} 2
container_memory_working_set_bytes{namespace="rankops-production",pod="retriever-a",container="server"} 1e8
flagger_canary_status{name="retriever"} 1
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Exporter(ThreadingHTTPServer):
    def __init__(self) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.end_headers()
                self.wfile.write(OTHERS.encode())

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()


def ask(url: str, **arguments: str) -> Any:
    with urllib.request.urlopen(f"{url}?{urllib.parse.urlencode(arguments)}", timeout=20) as answer:
        return json.load(answer)["data"]


def until(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, what
        time.sleep(0.25)


@dataclass
class Live:
    """Prometheus with two servers behind it, and the servers' addresses."""

    url: str
    servers: tuple[str, str]

    def query(self, expression: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = ask(f"{self.url}/api/v1/query", query=expression)["result"]
        return found


def traffic(address: str, rounds: int, secret: str) -> None:
    """Searches (some asked twice, some too late, some bad), an inference, and probes, on one connection."""
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=20)
    trace = {"traceparent": f"00-{'c' * 32}-{'d' * 16}-01"}
    tensor = {"name": "query", "datatype": "BYTES", "shape": [2], "data": ["red", "blue"]}
    infer = json.dumps({"inputs": [tensor]})
    for number in range(rounds):
        for method, path, body, headers in (
            ("GET", f"/search?q=red+shoe+{number}", None, trace),
            ("GET", "/search?q=red+shoe", None, {}),
            ("POST", "/search", json.dumps({"query": f"blue lamp {number}"}), {}),
            ("GET", f"/search?q=green+tent+{number}", None, {TIMEOUT_HEADER: "0.001"}),
            ("GET", "/search", None, {}),
            ("POST", "/v2/models/retriever/infer", infer, {}),
            ("GET", "/readyz", None, {}),
        ):
            connection.request(method, path, body, {**headers, "X-Api-Key": secret})
            connection.getresponse().read()
    connection.close()


def hasten(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rules as they are, but that an alert need not last for minutes before it fires."""
    return [
        {**group, "rules": [{k: v for k, v in rule.items() if k != "for"} for rule in group["rules"]]}
        for group in groups
    ]


@pytest.fixture(scope="module")
def live(_canary: Objects, shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:  # noqa: F811
    binary = shutil.which("prometheus")
    if binary is None:
        pytest.skip("needs prometheus on PATH (Debian's package `prometheus` has it)")
    root = tmp_path_factory.mktemp("prometheus")
    groups = one(_canary, "PrometheusRule")["spec"]["groups"]
    (root / "rules.yaml").write_text(yaml.safe_dump({"groups": hasten(groups)}))
    exporter, port = Exporter(), free_port()
    secret, key = new_key("shop")
    (root / "keys").write_text(key.line())
    good = shop.config(request_log=root / "a", request_log_seconds=0.2, drain_seconds=1, api_keys=root / "keys")
    nothing_found = shop.config(min_score=2.0, request_log=root / "b", request_log_seconds=0.2, drain_seconds=1)
    with running(good) as first, running(nothing_found) as second:
        targets = [
            {"targets": [address.removeprefix("http://")], "labels": {**TARGET, "pod": f"retriever-{name}"}}
            for name, address in (("a", first), ("b", second))
        ]
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(root / "rules.yaml")],
            "scrape_configs": [
                {"job_name": "servers", "static_configs": targets},
                {
                    "job_name": "others",
                    "honor_labels": True,
                    "static_configs": [{"targets": [f"127.0.0.1:{exporter.server_port}"]}],
                },
            ],
        }
        (root / "prometheus.yaml").write_text(yaml.safe_dump(config))
        command = [
            *(binary, f"--config.file={root / 'prometheus.yaml'}", f"--storage.tsdb.path={root / 'data'}"),
            *(f"--web.listen-address=127.0.0.1:{port}", "--enable-feature=exemplar-storage", "--log.level=error"),
        ]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        found = Live(f"http://127.0.0.1:{port}", (first, second))
        try:
            until(lambda: _is_ready(found.url), "Prometheus never became ready")
            until(lambda: len(found.query("rankops_ready == 1")) == 2, "the servers were never scraped")
            for _ in range(4):  # a rate needs increases between scrapes
                traffic(first, 5, secret)
                traffic(second, 5, secret)
                time.sleep(1.2)
            yield found
        finally:
            process.terminate()
            process.wait(20)
            exporter.shutdown()


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/-/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def test_every_panel_shows_data_after_some_traffic(canary: Objects, live: Live) -> None:
    empty = dict(panels(canary))
    # Nothing like it happened: a roll-out, a swap, a failure of ours. Without that, nothing is what they should show.
    expected = {"annotation Rollouts": 0}

    def show() -> bool:
        for where, expression in list(panels(canary)):
            if where in empty and live.query(filled(expression, GRAFANA)):
                del empty[where]
        return empty.keys() <= expected.keys()

    until(show, f"these show nothing: {sorted(empty)}", 30)


def test_every_expression_of_the_overlay_is_answered_by_a_real_prometheus(canary: Objects, live: Live) -> None:
    for where, expression in expressions(canary):
        live.query(expression)  # raises for what is no PromQL, or joins what cannot be joined
        # What an alert compares must be there, or it could never fire.
        for name in set(re.findall(r"\b((?:rankops|process|python)_\w+)\{", expression)):
            series = live.query(name)
            assert series, f"{where}: {name} is not in the server's /metrics"


def test_alerts_fire_for_what_goes_wrong_here_and_no_others(live: Live) -> None:
    """One of two servers finds nothing, and one request in six of each comes too late (which is a 504)."""
    wanted = {"RankopsZeroResults", "RankopsDeadlines", "RankopsErrors"}

    def firing() -> set[str]:
        alerts = ask(f"{live.url}/api/v1/alerts")["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}

    until(lambda: firing() >= wanted, "the alerts do not fire", 40)
    assert firing() == wanted
    alerts = ask(f"{live.url}/api/v1/alerts")["alerts"]
    assert {alert["labels"]["model"] for alert in alerts} == {"retriever"}
    assert not any("{{" in text for alert in alerts for text in alert["annotations"].values())


def test_prometheus_asks_for_openmetrics_and_keeps_the_exemplars(live: Live) -> None:
    found = ask(
        f"{live.url}/api/v1/query_exemplars", query="rankops_request_seconds_bucket", start="0", end="9999999999"
    )
    labels = {exemplar["labels"]["trace_id"] for series in found for exemplar in series["exemplars"]}
    assert labels == {"c" * 32}


def test_the_dashboard_has_the_form_that_grafana_reads(canary: Objects) -> None:
    from tests.overlays_manifests.conftest import dashboard

    board = json.loads(dashboard(canary)["data"]["rankops-serving.json"])
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        grid = panel["gridPos"]
        cells = {
            (x, y) for x in range(grid["x"], grid["x"] + grid["w"]) for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert grid["x"] + grid["w"] <= 24
        assert not cells & taken, f"{panel['title']} lies on another panel"
        taken |= cells
        if panel["type"] == "row":
            continue
        assert panel["type"] in {"timeseries", "stat", "table"}
        assert panel["title"]

        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert panel["fieldConfig"]["defaults"].get("unit") or panel["type"] == "table", panel["title"]
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references) > 0
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])
    names = {variable["name"] for variable in board["templating"]["list"]}
    used = {name for _, expression in panels(canary) for name in ("namespace", "model") if f"${name}" in expression}
    assert used <= names
    assert Path("rankops-serving.json").stem == board["uid"]
