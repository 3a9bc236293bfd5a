"""Alerts, autoscaling queries, canary analysis and dashboard ask for what the server really exports, and are right."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from rankops.serving.metrics import Metrics
from rankops.serving.web import endpoint_label
from tests.overlays_manifests.conftest import OVERLAYS, README, Objects, dashboard, one

# What the scrape adds to every series (components/monitoring/podmonitor.yaml and the Prometheus operator).
TARGET_LABELS = {"namespace", "pod", "model", "workload", "environment", "rankops_release"}
# What others export: kube-state-metrics, the kubelet and Flagger.
OTHERS = {
    "kube_deployment_status_replicas_available": {"namespace", "deployment"},
    "kube_deployment_spec_replicas": {"namespace", "deployment"},
    "container_memory_working_set_bytes": {"namespace", "pod", "container"},
    "flagger_canary_status": {"name"},
}
SELECTOR = re.compile(r"\b([a-z][a-z0-9_:]+)\{([^}]*)\}")
GRAFANA = {"$namespace": "rankops-production", "$model": "retriever", "$__rate_interval": "1m"}
FLAGGER = {"{{ namespace }}": "rankops-production", "{{ target }}": "retriever", "{{ interval }}": "1m"}


def exported() -> dict[str, set[str]]:
    """Every series that the server exports, with its labels."""
    found: dict[str, set[str]] = {}
    metrics = Metrics()
    for family in metrics._registry.collect():  # those of the process and of Python have no labels, or samples
        for sample in family.samples:
            found[sample.name] = {*sample.labels} | TARGET_LABELS
    for metric in vars(metrics).values():
        if isinstance(metric, MetricWrapperBase):
            (family,) = metric.collect()
            for ending in {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}.get(family.type, ("",)):
                own = {*metric._labelnames, *(["le"] if ending == "_bucket" else [])}
                found[family.name + ending] = own | TARGET_LABELS
    return found


def recorded(objects: Objects) -> dict[str, set[str]]:
    """Every series that a recording rule makes: it keeps what it is summed by, and has the model's name."""
    rules = [rule for group in one(objects, "PrometheusRule")["spec"]["groups"] for rule in group["rules"]]
    return {rule["record"]: {"namespace", *rule["labels"]} for rule in rules if "record" in rule}


def filled(text: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        text = text.replace(name, value)
    return text


def expressions(objects: Objects) -> Iterator[tuple[str, str]]:
    """``(where, PromQL)`` of everything in the overlay that asks Prometheus."""
    for group in one(objects, "PrometheusRule")["spec"]["groups"]:
        yield from ((f"alert {rule.get('alert') or rule['record']}", rule["expr"]) for rule in group["rules"])
    for trigger in one(objects, "ScaledObject")["spec"]["triggers"]:
        if trigger["type"] == "prometheus":
            yield f"trigger {trigger['name']}", trigger["metadata"]["query"]
    for template in (o for o in objects if o["kind"] == "MetricTemplate"):
        yield f"template {template['metadata']['name']}", filled(template["spec"]["query"], FLAGGER)
    for where, expression in panels(objects):
        yield where, filled(expression, GRAFANA)


def panels(objects: Objects) -> Iterator[tuple[str, str]]:
    board = json.loads(dashboard(objects)["data"]["rankops-serving.json"])
    for panel in board["panels"]:
        yield from ((f"panel {panel['title']}", target["expr"]) for target in panel.get("targets", []))
    yield from ((f"annotation {a['name']}", a["expr"]) for a in board["annotations"]["list"])


def test_every_series_and_every_label_that_is_asked_for_is_exported(canary: Objects) -> None:
    there = exported() | OTHERS | recorded(canary)
    asked = list(expressions(canary))
    assert {where.split(" ")[0] for where, _ in asked} == {"alert", "trigger", "template", "panel", "annotation"}
    for where, expression in asked:
        selectors = SELECTOR.findall(expression)
        assert selectors, where
        # A name outside of a selector would escape this test.
        assert len(re.findall(r"\b(?:rankops|kube|flagger|container|process|python)[_:][\w:]+\{", expression)) == len(
            selectors
        ), where
        for name, matchers in selectors:
            assert name in there, f"{where}: nobody exports {name}"
            labels = set(re.findall(r'(\w+)\s*(?:=~|!~|!=|=)\s*"', matchers))
            assert labels <= there[name], f"{where}: {name} has no label {labels - there[name]}"
        grouped = {
            label.strip() for by in re.findall(r"\b(?:by|on) \(([^)]*)\)", expression) for label in by.split(",")
        }
        assert grouped <= set.union(*(there[name] for name, _ in selectors)), f"{where}: groups by {grouped}"


def test_requests_of_users_are_counted_and_those_of_probes_are_not(canary: Objects) -> None:
    patterns = {p for _, e in expressions(canary) for p in re.findall(r'endpoint=~"([^"]*)"', e)}
    assert len(patterns) == 1, "one list of endpoints, everywhere"
    served = re.compile(patterns.pop())
    for path in ("/search", "/v2/models/retriever/infer", "/v2/models/retriever/versions/1/infer"):
        assert served.fullmatch(endpoint_label(path)), path
    for path in ("/", "/healthz", "/readyz", "/metrics", "/v2/health/ready", "/v2/models/retriever/ready", "/nonsense"):
        assert not served.fullmatch(endpoint_label(path)), path


def test_alerts_and_scrapes_are_about_this_model_only(canary: Objects) -> None:
    for group in one(canary, "PrometheusRule")["spec"]["groups"]:
        for rule in group["rules"]:
            selectors = SELECTOR.findall(rule["expr"])
            named = re.findall(r'\b(?:model|deployment|name)="([^"]*)"', rule["expr"])
            assert len(named) == len(selectors), rule
            assert set(named) <= {"retriever", "retriever-primary"}
            assert rule["labels"]["model"] == "retriever"


@pytest.mark.parametrize(
    ("workload", "model"),
    [("retriever", "retriever"), ("retriever-primary", "retriever"), ("re-ranker-primary", "re-ranker")],
)
def test_series_of_promoted_pods_carry_the_models_name(canary: Objects, workload: str, model: str) -> None:
    (endpoint,) = one(canary, "PodMonitor")["spec"]["podMetricsEndpoints"]
    relabelings = {step["targetLabel"]: step for step in endpoint["relabelings"]}
    assert {*relabelings, "namespace", "pod"} == TARGET_LABELS
    match = re.fullmatch(relabelings["model"]["regex"], workload)
    assert match is not None
    assert match[1] == model
    assert "regex" not in relabelings["workload"]


def test_the_dashboard_is_one_for_all_models_and_safe_from_flux(production: Objects, canary: Objects) -> None:
    config, board = dashboard(production), dashboard(production)["data"]["rankops-serving.json"]
    assert dashboard(canary)["data"] == config["data"]
    assert "retriever" not in board
    assert "${" in board, "then it needs the annotation"
    assert config["metadata"]["name"] == "retriever-dashboard"
    assert config["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert config["metadata"]["annotations"]["kustomize.toolkit.fluxcd.io/substitute"] == "disabled"
    parsed = json.loads(board)
    ids = [panel["id"] for panel in parsed["panels"]]
    assert len(set(ids)) == len(ids)
    assert [v["name"] for v in parsed["templating"]["list"]] == ["datasource", "namespace", "model"]
    for where, expression in panels(production):
        assert 'namespace="$namespace"' in expression, where


def test_one_prometheus_is_asked_by_all(canary: Objects) -> None:
    triggers = one(canary, "ScaledObject")["spec"]["triggers"]
    asked = {t["metadata"]["serverAddress"] for t in triggers if t["type"] == "prometheus"}
    asked |= {o["spec"]["provider"]["address"] for o in canary if o["kind"] == "MetricTemplate"}
    (address,) = asked
    assert f"`{address}`" in README
    holders = {p.parent.name for p in OVERLAYS.glob("components/**/*.yaml") if address in p.read_text()}
    assert holders == {"autoscale-keda", "canary"}


@pytest.fixture(scope="module")
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("needs promtool on PATH (Debian's package `prometheus` has it)")
    return found


def run(promtool: str, *arguments: str | Path) -> None:
    done = subprocess.run([promtool, *map(str, arguments)], capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_expression_is_promql(canary: Objects, tmp_path: Path, promtool: str) -> None:
    rules = [{"record": f"check:{i}", "expr": e} for i, (_, e) in enumerate(expressions(canary))]
    (tmp_path / "all.yaml").write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": rules}]}))
    run(promtool, "check", "rules", tmp_path / "all.yaml")


NS, TARGET = "rankops-production", {"namespace": "rankops-production", "model": "retriever"}
RELEASE = {"rankops_release": "0123456789ab"}
SEARCH = {**TARGET, **RELEASE, "endpoint": "/search", "method": "POST"}


def series(metric: str, values: str, /, **labels: str) -> dict[str, str]:
    inner = ",".join(f'{key}="{value}"' for key, value in labels.items())
    return {"series": f"{metric}{{{inner}}}", "values": values}


def latency(slow: int, minutes: int = 60, then: int = 0) -> list[dict[str, str]]:
    """100 searches a minute, of which ``slow`` take between 250 and 500 ms, and quick probes beside them.

    For ``then`` minutes more none is slow.
    """
    name, probe = "rankops_request_seconds_bucket", {**TARGET, "endpoint": "/healthz"}
    search, whole = {**TARGET, **RELEASE, "endpoint": "/search"}, minutes + then
    quick = f"0+{100 - slow}x{minutes}" + (f" {(100 - slow) * minutes + 100}+100x{then}" if then else "")
    return [
        series(name, quick, le="0.25", **search),
        *(series(name, f"0+100x{whole}", le=le, **search) for le in ("0.5", "+Inf")),
        series("rankops_request_seconds_count", f"0+100x{whole}", **search),
        *(series(name, f"0+9000x{whole}", le=le, **probe) for le in ("0.25", "0.5", "+Inf")),
        series("rankops_request_seconds_count", f"0+9000x{whole}", **probe),
    ]


def queue(depth: int) -> list[dict[str, str]]:
    """A queue of 128 places."""
    labels = {**TARGET, "pod": "a"}
    return [
        series("rankops_queue_depth", f"{depth}x60", **labels),
        series("rankops_queue_capacity", "128x60", **labels),
    ]


def refused(reason: str, a_minute: int) -> list[dict[str, str]]:
    """Of 1000 requests a minute."""
    return [
        series("rankops_refused_total", f"0+{a_minute}x60", reason=reason, **TARGET),
        series("rankops_requests_total", "0+1000x60", code="200", **SEARCH),
    ]


def keys(reason: str, a_minute: int) -> list[dict[str, str]]:
    """Of 1000 requests a minute."""
    return [
        series("rankops_key_refused_total", f"0+{a_minute}x60", reason=reason, **TARGET),
        series("rankops_requests_total", f"0+{1000 - a_minute}x60", code="200", **SEARCH),
        series("rankops_requests_total", f"0+{a_minute}x60", code="401", **SEARCH),
    ]


def cache(hits: str) -> list[dict[str, str]]:
    """Beside 500 misses in five minutes."""
    return [
        series("rankops_cache_hits_total", hits, **TARGET),
        series("rankops_cache_misses_total", "0+500x360", **TARGET),
    ]


def found(nothing: str) -> list[dict[str, str]]:
    """Beside 500 searches in five minutes that find something."""
    return [
        series("rankops_zero_results_total", nothing, **TARGET),
        series("rankops_top_score_count", "0+500x360", **TARGET),
    ]


def scores(high: str, low: str) -> list[dict[str, str]]:
    """Best scores from 0.7 to 0.8 (``high``) and from 0.4 to 0.5 (``low``), as counts in steps of five minutes."""
    labels = {**TARGET, "pod": "a"}, {**TARGET, "pod": "b"}
    name = "rankops_top_score_bucket"
    return [
        *(series(name, "0x360", le=le, **labels[0]) for le in ("0.4", "0.5", "0.7")),
        *(series(name, high, le=le, **labels[0]) for le in ("0.8", "+Inf")),
        series(name, "0x360", le="0.4", **labels[1]),
        *(series(name, low, le=le, **labels[1]) for le in ("0.5", "0.7", "0.8", "+Inf")),
    ]


def requests(failed: int, endpoint: str = "/search") -> list[dict[str, str]]:
    name, labels = "rankops_requests_total", {**SEARCH, "endpoint": endpoint}
    return [series(name, f"0+{failed}x60", code="503", **labels), series(name, "0+1000x60", code="200", **SEARCH)]


def deployment(name: str, wanted: int, available: int) -> list[dict[str, str]]:
    labels = {"namespace": NS, "deployment": name}
    return [
        series("kube_deployment_status_replicas_available", f"{available}x60", **labels),
        series("kube_deployment_spec_replicas", f"{wanted}x60", **labels),
    ]


Scenario = tuple[str, str, list[dict[str, str]], str, list[dict[str, str]]]
HERE = {"namespace": NS}
OVER_DAYS = {"RankopsCacheCollapsed", "RankopsZeroResults", "RankopsScoreShift", "RankopsLatencyBudgetBurns"}
"""What these look back upon takes a day: their series and evaluations are in steps of five minutes."""
SCENARIOS: list[Scenario] = [
    ("nobody serves", "RankopsNoReplica", deployment("retriever", 2, 0), "6m", [{**HERE, "deployment": "retriever"}]),
    ("one serves", "RankopsNoReplica", deployment("retriever", 2, 1), "6m", []),
    ("Flagger's target sleeps", "RankopsNoReplica", deployment("retriever", 0, 0), "6m", []),
    ("no promoted pod serves", "RankopsNoReplica", deployment("retriever-primary", 2, 0), "6m",
     [{**HERE, "deployment": "retriever-primary"}]),
    ("another model has no replica", "RankopsNoReplica", deployment("ranker", 2, 0), "6m", []),
    ("2 % fail", "RankopsErrors", requests(20), "20m", [{**HERE, **RELEASE}]),
    ("2 % fail, for the first minutes", "RankopsErrors", requests(20), "8m", []),
    ("0.5 % fail", "RankopsErrors", requests(5), "20m", []),
    ("a model loads", "RankopsErrors", requests(500, "/readyz"), "20m", []),
    ("2 % are slow", "RankopsSlow", latency(2), "30m", [{**HERE, **RELEASE}]),
    ("0.5 % are slow", "RankopsSlow", latency(0), "30m", []),
    ("records are dropped", "RankopsRequestsNotLogged",
     [series("rankops_request_log_records_total", "0+1x120", outcome="dropped", **TARGET)], "50m", [HERE]),
    ("all records are written", "RankopsRequestsNotLogged",
     [series("rankops_request_log_records_total", "0+9x120", outcome="written", **TARGET)], "50m", []),
    ("the queue is three quarters full", "RankopsQueueSaturated", queue(96), "20m", [{**HERE, "pod": "a"}]),
    ("the queue is a quarter full", "RankopsQueueSaturated", queue(32), "20m", []),
    ("2 % are refused for overload", "RankopsOverloaded", refused("overload", 20), "20m", [HERE]),
    ("0.5 % are refused for overload", "RankopsOverloaded", refused("overload", 5), "20m", []),
    ("2 % miss their deadline", "RankopsDeadlines", refused("deadline", 20), "20m", [HERE]),
    ("2 % come while it loads", "RankopsDeadlines", refused("loading", 20), "20m", []),
    ("a release is refused", "RankopsSwapRefused",
     [series("rankops_swaps_total", "0x20 1x40", outcome="refused", pod="a", **TARGET)], "25m", [{**HERE, "pod": "a"}]),
    ("it was refused long ago", "RankopsSwapRefused",
     [series("rankops_swaps_total", "0x20 1x40", outcome="refused", pod="a", **TARGET)], "40m", []),
    ("releases are taken up", "RankopsSwapRefused",
     [series("rankops_swaps_total", "0+1x60", outcome="ok", pod="a", **TARGET)], "25m", []),
    ("a server's file of keys is broken", "RankopsKeysBroken",
     [series("rankops_keys_broken", "0x5 1x40", pod="a", **TARGET), series("rankops_keys_broken", "0x50", pod="b", **TARGET)],
     "15m", [{**HERE, "pod": "a"}]),
    ("a broken file is put right at once", "RankopsKeysBroken",
     [series("rankops_keys_broken", "0x5 1x2 0x40", pod="a", **TARGET)], "15m", []),
    ("a caller's key has expired", "RankopsKeysRefused", keys("unknown", 100), "20m", [HERE]),
    ("somebody tries a few keys", "RankopsKeysRefused", keys("unknown", 10), "20m", []),
    ("somebody calls without a key", "RankopsKeysRefused", keys("missing", 100), "20m", []),
    ("the cache is of no use any more", "RankopsCacheCollapsed", cache("0+250x320 80000+10x40"), "1700m", [HERE]),
    ("a swap empties the cache", "RankopsCacheCollapsed", cache("0+250x320 80000x2 80000+250x38"), "1650m", []),
    ("the cache never was of use", "RankopsCacheCollapsed", cache("0+10x360"), "1700m", []),
    ("a third finds nothing", "RankopsZeroResults", found("0+25x320 8000+250x40"), "1700m", [HERE]),
    ("a third finds nothing, as ever", "RankopsZeroResults", found("0+250x360"), "1700m", []),
    ("5 % find nothing", "RankopsZeroResults", found("0+25x360"), "1700m", []),
    ("a third finds nothing, on the first day", "RankopsZeroResults", found("0+250x24"), "100m", [HERE]),
    ("scores fall", "RankopsScoreShift", scores("0+100x300 30000x60", "0x300 0+100x60"), "1700m", [HERE]),
    ("scores stay", "RankopsScoreShift", scores("0+100x360", "0x360"), "1700m", []),
    ("a fifth is slow for an hour", "RankopsLatencyBudgetBurnsFast", latency(20, 90), "80m", [HERE]),
    ("a tenth is slow for an hour", "RankopsLatencyBudgetBurnsFast", latency(10, 90), "80m", []),
    ("a fifth was slow, and is no more", "RankopsLatencyBudgetBurnsFast", latency(20, 60, then=60), "75m", []),
    ("a tenth is slow for half a day", "RankopsLatencyBudgetBurns", latency(10, 144), "700m", [HERE]),
    ("2 % are slow for half a day", "RankopsLatencyBudgetBurns", latency(2, 144), "700m", []),
    ("the analysis said no", "RankopsCanaryFailed",
     [series("flagger_canary_status", "0x5 2x10", name="retriever", namespace="flagger")], "8m",
     [{"name": "retriever"}]),
    ("the analysis goes on", "RankopsCanaryFailed",
     [series("flagger_canary_status", "0x20", name="retriever", namespace="flagger")], "8m", []),
]  # fmt: skip


def test_alerts_fire_when_they_should_and_only_then(canary: Objects, tmp_path: Path, promtool: str) -> None:
    groups = one(canary, "PrometheusRule")["spec"]["groups"]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": groups}))
    rules = [rule for group in groups for rule in group["rules"] if "alert" in rule]
    for step, slow in (("1m", False), ("5m", True)):
        tests = [
            {
                "name": name,
                "interval": step,
                "input_series": given,
                "alert_rule_test": [
                    {"eval_time": at, "alertname": alert, "exp_alerts": [expected(rules, alert, x) for x in fires]}
                ],
            }
            for name, alert, given, at, fires in SCENARIOS
            if (alert in OVER_DAYS) is slow
        ]
        file = tmp_path / f"tests-{step}.yaml"
        file.write_text(yaml.safe_dump({"rule_files": ["rules.yaml"], "evaluation_interval": step, "tests": tests}))
        run(promtool, "test", "rules", file)


def expected(rules: list[dict[str, Any]], alert: str, labels: dict[str, str]) -> dict[str, dict[str, str]]:
    """The alert as Prometheus sends it: own labels added, and those of the series put into the texts."""
    named = labels.get("deployment", "retriever")
    rule = next(r for r in rules if r["alert"] == alert and f'"{named}"' in r["expr"])
    values = {f"{{{{ $labels.{key} }}}}": value for key, value in labels.items()}
    return {
        "exp_labels": {**labels, **rule["labels"]},
        "exp_annotations": {key: filled(text, values) for key, text in rule["annotations"].items()},
    }


def test_every_alert_is_tried_firing_and_quiet(canary: Objects) -> None:
    rules = [rule for group in one(canary, "PrometheusRule")["spec"]["groups"] for rule in group["rules"]]
    alerts = {rule["alert"] for rule in rules if "alert" in rule}
    assert {alert for _, alert, _, _, fires in SCENARIOS if fires} == alerts
    assert {alert for _, alert, _, _, fires in SCENARIOS if not fires} == alerts
