"""``make demo``: the whole life of a search model (and of others beside it), on this machine, in minutes.

Data → fine-tuning → evaluation → quantization → signed release → commit → live server → drift → retraining → commit.
Every stage is the asset or sensor that people use in the Dagster UI; this file only calls them in order, on the same
state (``.rankops/``), and tells what happened. Run again, it re-uses what stands and makes no commit.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

from rankops.errors import GateFailed, RankopsError
from rankops.files import write_json
from rankops.state import REPOSITORY, LocalState

if TYPE_CHECKING:
    from dagster import DagsterInstance, Definitions

    from rankops.specs import Metric, ModelSpec
    from rankops.store import ArtifactStore

HISTORY_DAYS = 14
DRIFTED_DAYS = 3
MODEL, DATASET, ENVIRONMENT = "retriever", "shop", "staging"
OTHER_DOORS = {"ranking": "/rerank", "recommendation": "/recommend"}
COMPACT: dict[str, Any] = {"loggers": {"compact": {}}}

console = Console(highlight=False)


@dataclass
class Demo:
    """What the demo works with, and what it will tell."""

    state: LocalState
    instance: DagsterInstance
    definitions: Definitions
    facts: dict[str, Any] = field(default_factory=lambda: {"stages": []})

    @contextmanager
    def stage(self, title: str) -> Iterator[None]:
        """Print a heading, time the body."""
        console.print(f"\n[bold cyan]▶ {title}[/]")
        started = time.perf_counter()
        yield
        seconds = time.perf_counter() - started
        self.facts["stages"].append({"name": title, "seconds": round(seconds, 1)})
        console.print(f"[dim]  {seconds:.1f} s[/]")

    def run_job(
        self,
        name: str,
        partition: str | None,
        *,
        config: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
        only: Sequence[Sequence[str]] = (),
    ) -> str:
        """Run a job (or ``only`` some of its assets) in this process, its log lines compact; returns the run id.

        Raises :class:`GateFailed` where a blocking check stopped the run.
        """
        from dagster import AssetKey
        from dagster._core.errors import DagsterAssetCheckFailedError

        try:
            result = self.definitions.resolve_job_def(name).execute_in_process(
                instance=self.instance,
                partition_key=partition,
                run_config={**(config or {}), **COMPACT},
                tags=dict(tags or {}),
                asset_selection=[AssetKey(key) for key in only] if only else None,
                raise_on_error=True,
            )
        except DagsterAssetCheckFailedError as error:
            failed = "; ".join(line.strip() for line in str(error).splitlines()[1:])
            raise GateFailed(f"a check stopped {name}: {failed}", "read the check's reasons (make ui)") from error
        return result.run_id


def main(arguments: list[str] | None = None) -> int:
    """Run the demo; 0 when everything worked, 1 with a clear error otherwise."""
    from assets.models import MODELS

    others = {spec.name: spec for spec in MODELS if spec.task in OTHER_DOORS}
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument(
        "--also", nargs="*", default=[], choices=sorted(others), help="take these models through the same life"
    )
    options = parser.parse_args(arguments)
    warnings.filterwarnings("ignore", module="dagster")  # beta notices of Dagster's own API, not ours to act on
    started = time.perf_counter()
    try:
        demo = prepare()
        run(demo, [others[name] for name in options.also])
    except RankopsError as error:
        console.print(f"\n[bold red]✗ {escape(str(error))}[/]")
        return 1
    demo.facts["seconds"] = round(time.perf_counter() - started, 1)
    write_json(demo.state.root / "demo.json", demo.facts)
    tell(demo.facts, demo.state)
    return 1 if "blocked" in demo.facts["decision"] else 0


def prepare() -> Demo:
    """Folders, keys, the GitOps remote, DAGSTER_HOME."""
    from automation.ui import prepare_home
    from rankops.overlays.seed import create_bare_remote
    from rankops.stages.release import signing_keys

    state = LocalState.current()
    os.environ["DAGSTER_HOME"] = str(prepare_home(state))
    from dagster import DagsterInstance

    from definitions import build_defs

    console.print("[bold]rankops demo[/]: a search model from shop data to a verified deployment, drift and retraining")
    console.print(f"[dim]state: {state.root}[/]")
    _, public = signing_keys(say)
    if state.git_url == (state.root / "gitops.git").as_uri():
        create_bare_remote(state.root / "gitops.git", REPOSITORY / "k8s-overlays", public)
    return Demo(state, DagsterInstance.get(), build_defs(loggers={"compact": compact_logger()}))


def run(demo: Demo, others: Sequence[ModelSpec] = ()) -> None:
    """The life of the model, and of the ``others`` beside it; what stands already is re-used by the assets."""
    from assets.datasets import FIRST_DAY
    from automation.jobs import release_job_name

    launch = FIRST_DAY + timedelta(days=HISTORY_DAYS - 1)
    today = launch + timedelta(days=DRIFTED_DAYS)
    with demo.stage(f"Traffic: {HISTORY_DAYS} days of the shop's old keyword engine"):
        collect(demo, FIRST_DAY, launch)
    with demo.stage("Model: dataset → fine-tuning → gate → int8 → gate → signed release → commit → verification"):
        demo.run_job(release_job_name(MODEL), ENVIRONMENT)
    with demo.stage("Search: the live server answers"):
        demo.facts["search"] = ask(demo)
    demo.facts["also"] = {spec.name: release_and_ask(demo, spec) for spec in others}
    with demo.stage(f"Traffic: {DRIFTED_DAYS} days with new words and a new family of products, served by our model"):
        collect(demo, launch + timedelta(days=1), today)
    demo.facts |= loop(demo, MODEL, "ndcg@10", today)
    for spec in others:
        demo.facts["also"][spec.name] |= loop(demo, spec.name, spec.gates.metric, today)
    remember_the_loop(demo)


def loop(demo: Demo, model: str, metric: Metric, today: date) -> dict[str, Any]:
    """Drift of ``today``, the decision with its run, production's pull request, and what came of it in ``metric``."""
    from automation.jobs import monitor_job_name, release_job_name

    told = "" if model == MODEL else f" ({model})"
    facts: dict[str, Any] = {}
    with demo.stage(f"Drift{told}: Evidently compares {today} with what the live release learned from"):
        demo.run_job(monitor_job_name(model), today.isoformat(), only=[[model, "drift_report"]])
        facts["drift"] = drift_facts(model, today)
    with demo.stage(f"Sensor{told}: a written retrain decision, and the run that it asks for"):
        facts["decision"] = tick(demo, model)
    with demo.stage(f"Production{told}: the same release as a pull request, with its evidence"):
        demo.run_job(release_job_name(model), "production", only=[[model, "deploy"]])
        facts["pull_requests"] = pull_requests(demo, model)
    return {**facts, "deploys": deploys(model), "relevance": relevance(demo, model, metric)}


def remember_the_loop(demo: Demo) -> None:
    """A later run finds nothing to do; what the loop found when it ran stays on record beside it."""
    path = demo.state.root / "demo.json"
    before = json.loads(path.read_text()) if path.is_file() else {}
    pairs = [(demo.facts, before)]
    pairs += [(facts, before.get("also", {}).get(name, {})) for name, facts in demo.facts["also"].items()]
    for facts, earlier in pairs:
        if not facts["decision"]["retrained"] and earlier.get("decision", {}).get("retrained"):
            facts["now"] = {name: facts[name] for name in ("drift", "decision")}
            facts |= {name: earlier[name] for name in ("drift", "decision")}


def pull_requests(demo: Demo, model: str) -> list[dict[str, Any]]:
    """The model's open pull requests in the local forge."""
    from rankops.forge.local import LocalForge
    from rankops.overlays.layout import branch_prefix
    from resources.gitops import GitOps

    forge, prefix = LocalForge(demo.state.root / "forge", GitOps().remote()), branch_prefix("production", model)
    theirs = [p for p in forge.all() if p.state == "open" and p.head.startswith(prefix)]
    shown = [{"number": p.number, "title": p.title, "url": p.url} for p in theirs]
    for pull in shown:
        say(f"#{pull['number']} {pull['title']}  (rankops pr show {pull['number']})")
    return shown


def collect(demo: Demo, first: date, last: date) -> None:
    """Materialize the days of traffic that are not there yet, in one run."""
    from dagster import AssetKey

    have = demo.instance.get_materialized_partitions(AssetKey([DATASET, "traffic"]))
    days = [first + timedelta(days=i) for i in range((last - first).days + 1)]
    wanted = [day.isoformat() for day in days if day.isoformat() not in have]
    if not wanted:
        say(f"{len(days)} days are collected already")
        return
    tags = {"dagster/asset_partition_range_start": wanted[0], "dagster/asset_partition_range_end": wanted[-1]}
    demo.run_job("shop_ingest", None, tags=tags)


def tick(demo: Demo, model: str) -> dict[str, Any]:
    """One tick of the model's retraining sensor, exactly as the daemon runs it, and the run that it asks for.

    A retraining that a gate blocks is an answer too: the champion stays.
    """
    from dagster import build_sensor_context

    from automation.jobs import release_job_name
    from automation.sensors import retrain_sensor_name
    from definitions import default_resources
    from resources.store import Store

    sensor = demo.definitions.resolve_sensor_def(retrain_sensor_name(model))
    context = build_sensor_context(
        instance=demo.instance, definitions=demo.definitions, resources=default_resources(), sensor_name=sensor.name
    )
    result = sensor.evaluate_tick(context)
    for event in result.asset_events:
        demo.instance.report_runless_asset_event(event)
    blocked = ""
    for request in result.run_requests or []:
        say(f"the sensor asks for a run: {request.run_key}")
        partition = request.partition_key or ENVIRONMENT
        try:
            demo.run_job(release_job_name(model), partition, config=request.run_config, tags=request.tags)
        except GateFailed as failed:
            blocked = failed.problem
            say(f"{blocked}: the live release stays")
    (event,) = result.asset_events
    uri = str(event.metadata["record"].value)
    record = Store().open().read_json(uri.partition("/store/")[2]) or {}
    retrained = bool(result.run_requests)
    say(f"decision: {'retrain' if retrained else 'do not retrain'}: {'; '.join(record['reasons'])}")
    return {"retrained": retrained, "record": record, **({"blocked": blocked} if blocked else {})}


def deploys(model: str) -> list[dict[str, Any]]:
    """Every commit that pinned a release of the model in staging, oldest first, with the diff that reviewers read."""
    from rankops.overlays.history import current, earlier_pins
    from rankops.overlays.transaction import Target
    from resources.gitops import GitOps

    remote, target = GitOps().remote(), Target(ENVIRONMENT, model)
    pins = list(earlier_pins(remote, current(remote, target).head, target))[::-1]
    return [
        {
            "commit": info.sha,
            "overlay": target.overlay,
            "release": pin.release,
            "diff": remote.diff(info.parents[0], info.sha) if info.parents else "",
        }
        for info, pin in pins
    ]


def ask(demo: Demo) -> dict[str, Any]:
    """Start what the overlay says and search for something that only this shop's customers call so."""
    from resources.cluster import LocalCluster
    from resources.gitops import GitOps
    from resources.kustomize import Kustomize

    query = jargon_query(demo)
    with LocalCluster().running(GitOps(), Kustomize(), ENVIRONMENT, MODEL, None, say) as live:
        answer = live.search(query, 5)
    for number, result in enumerate(answer["results"], 1):
        say(f"{number}. {result['title']}  ({result['score']:.3f})")
    return answer


def release_and_ask(demo: Demo, spec: ModelSpec) -> dict[str, Any]:
    """Another model of the same shop, by the same stages: released, deployed, started, and asked about what was found.

    A ranker orders what the search found; a recommender names what goes with its first product.
    """
    from automation.jobs import release_job_name
    from resources.cluster import LocalCluster
    from resources.gitops import GitOps
    from resources.kustomize import Kustomize

    found = demo.facts["search"]
    products = [result["product_id"] for result in found["results"]]
    questions: dict[str, dict[str, Any]] = {
        "/rerank": {"query": found["query"], "products": products},
        "/recommend": {"items": products[:1], "k": 5},
    }
    with demo.stage(f"Model {spec.name}: the same stages on the same data"):
        demo.run_job(release_job_name(spec.name), ENVIRONMENT)
    path = OTHER_DOORS[spec.task]
    with (
        demo.stage(f"{path}: the live {spec.name} answers"),
        LocalCluster().running(GitOps(), Kustomize(), ENVIRONMENT, spec.name, None, say) as live,
    ):
        answer = live.ask(path, questions[path])
    for number, result in enumerate(answer["results"], 1):
        say(f"{number}. {result['title']}  ({result['score']:.3f})")
    return {"path": path, "asked": questions[path], "answer": answer}


def jargon_query(demo: Demo) -> str:
    """The most asked held-out query whose words are in no product title: keyword search finds nothing for it."""
    import polars as pl

    from rankops.artifacts import StoredArtifact
    from rankops.dataset import load_dataset
    from rankops.store import ArtifactStore
    from resources.store import read_reference

    store = ArtifactStore(demo.state.store_url)
    dataset = load_dataset(store.local_path(read_reference(store, [DATASET, "dataset"], None, StoredArtifact)))
    words = {word for title in dataset.catalogue["title"] for word in title.lower().split()}
    asked = dataset.interactions.group_by(pl.col("query").str.to_lowercase()).agg(pl.col("search_id").n_unique())
    held_out = dataset.split("test").join(asked, on="query").sort(["search_id", "query"], descending=[True, False])
    queries = held_out["query"].to_list()
    return next((query for query in queries if not words & set(query.split())), queries[0])


def drift_facts(model: str, day: date) -> dict[str, Any]:
    """Names, evidence and the report's address."""
    from rankops.artifacts import StoredArtifact
    from rankops.stages.drift import load, report_url
    from resources.store import Store, read_reference

    store = Store().open()
    reference = read_reference(store, [model, "drift_report"], day.isoformat(), StoredArtifact)
    report = load(store, reference)
    for finding in report.drifted_causes:
        say(f"{finding.name}: {finding.evidence}")
    return {
        "day": day.isoformat(),
        "drifted": report.drifted,
        "causes": [{"name": f.name, "evidence": f.evidence} for f in report.drifted_causes],
        "report": str(store.local_path(reference) / "report.html"),
        "url": report_url(reference),
    }


def relevance(demo: Demo, model: str, metric: Metric) -> dict[str, Any]:
    """The metric of every system on the held-out queries, of each release that was deployed here."""
    from rankops.evaluation.storage import load_evaluation
    from rankops.overlays.history import current, earlier_pins
    from rankops.overlays.transaction import Target
    from rankops.store import ArtifactStore
    from resources.gitops import GitOps

    store, remote, target = ArtifactStore(demo.state.store_url), GitOps().remote(), Target(ENVIRONMENT, model)
    found = []
    for info, pin in earlier_pins(remote, current(remote, target).head, target):
        artifact = artifact_of(store, pin.release)
        evaluation = load_evaluation(artifact / "evaluation")
        scores = {s.system: round(s.metrics[metric].mean, 4) for s in evaluation.systems}
        gains = {
            c.other: [round(c.difference.mean, 4), round(c.difference.low, 4), round(c.difference.high, 4)]
            for c in evaluation.comparisons
            if c.metric == metric
        }
        found.append(
            {
                "release": pin.release,
                "commit": info.sha,
                metric: scores,
                "gain over": gains,
                "queries": evaluation.n_queries,
            }
        )
    return {"metric": metric, "releases": found[::-1]}


def artifact_of(store: ArtifactStore, release: str) -> Path:
    """The folder of the artifact in a release, by the memo that the release stage left."""
    for memo in sorted((_folder(store.root) / "memo" / "release").glob("*.json")):
        record = json.loads(memo.read_text())
        if record["digest"] == release:
            return _folder(store.uri("artifact", record["lineage"]["artifact"]))
    raise RankopsError(f"the store does not know release {release[:12]}", "run make demo from an empty state")


def _folder(uri: str) -> Path:
    return Path(uri.removeprefix("file://"))


def tell(facts: Mapping[str, Any], state: LocalState) -> None:
    """The closing page: commits, diff, answer, drift, relevance before and after, where to look next."""
    console.rule("[bold]what happened")
    answer = facts["search"]
    console.print(f"[bold]search[/]    {answer['query']!r} → {answer['results'][0]['title']}")
    tell_life(facts)
    for model, found in facts["also"].items():
        console.rule(f"[bold]{model}")
        console.print(f"[bold]asked[/]     {found['asked']} → {found['answer']['results'][0]['title']}")
        tell_life(found)
    console.print(f"\n[green]✓[/] {facts['seconds']:.0f} s. Machine-readable: {state.root / 'demo.json'}")
    console.print(
        "Open the UI with [bold]make ui[/] (http://127.0.0.1:3000), the overlays' history with "
        f"[bold]git -C {state.root / 'gitops.git'} log -p[/]"
    )


def tell_life(facts: Mapping[str, Any]) -> None:
    """One model's commits, drift and decision, and the metric of every system on each release's held-out part."""
    from rankops.specs import LABELS

    for number, deployed in enumerate(facts["deploys"], 1):
        console.print(f"[bold]commit {number}[/]  {deployed['commit']}  {deployed['overlay']}")
        console.print(f"          release {deployed['release']}")
    for line in changed_lines(facts["deploys"][-1]["diff"]):
        console.print(f"          [dim]{escape(line)}[/]", soft_wrap=True)
    causes = ", ".join(cause["name"] for cause in facts["drift"]["causes"]) or "none"
    console.print(f"[bold]drift[/]     {facts['drift']['day']}: {causes}")
    verdict = "retrain" if facts["decision"]["retrained"] else "do not retrain"
    console.print(f"[bold]decision[/]  {verdict}: {'; '.join(facts['decision']['record'].get('reasons', []))}")
    metric, releases = facts["relevance"]["metric"], facts["relevance"]["releases"]
    if blocked := facts["decision"].get("blocked"):
        console.print(f"[bold]blocked[/]   {blocked}: the live release stays")
    label = LABELS[metric]
    for item in releases:
        scores = "  ".join(f"{name} {value:.3f}" for name, value in item[metric].items())
        console.print(
            f"[bold]{label}[/]   release {item['release'][:12]} on {item['queries']} held-out queries: {scores}"
        )
    last = releases[-1][metric]
    if "champion" in last:
        console.print(
            f"[bold]retrained[/] on the drifted traffic's queries: {last['champion']:.3f} before → "
            f"{last['quantized']:.3f} after ({label})"
        )


def changed_lines(diff: str, most: int = 8) -> list[str]:
    """The first added and removed lines of a diff, without its headers."""
    lines = [line for line in diff.splitlines() if line[:1] in ("+", "-") and line[:3] not in ("+++", "---")]
    more = [f"… {len(lines) - most} more changed lines"] if len(lines) > most else []
    return [*lines[:most], *more]


def say(text: str) -> None:
    """One line of progress."""
    console.print(f"  [dim]│[/] {escape(str(text))}")


def compact_logger() -> Any:
    """A Dagster logger that prints what assets say, one short line each, and nothing of the engine's own events."""
    import logging

    from dagster import logger

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            meta: dict[str, Any] = getattr(record, "dagster_meta", {})
            if meta.get("dagster_event") is not None and record.levelno < logging.ERROR:
                return
            step = str(meta.get("step_key") or "").split("__")[-1]
            message = meta.get("orig_message") or record.getMessage()
            say(f"{step:<13} {message}")

    @logger
    def compact(_context: Any) -> logging.Logger:
        made = logging.getLogger("rankops.demo")
        made.setLevel(logging.INFO)
        made.handlers = [Handler()]
        made.propagate = False
        return made

    return compact


if __name__ == "__main__":
    sys.exit(main())
