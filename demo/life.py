"""The stages in their order, each the job or sensor of the Dagster UI, run in this process on one state."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from demo.found import DATASET, ENVIRONMENT, deploys, drift_facts, jargon_query, pull_requests, relevance
from demo.telling import compact_logger, console, say
from rankops.errors import GateFailed
from rankops.state import REPOSITORY, LocalState

if TYPE_CHECKING:
    from dagster import DagsterInstance, Definitions

    from rankops.specs import Metric, ModelSpec

HISTORY_DAYS = 14
DRIFTED_DAYS = 3
MODEL = "retriever"
OTHER_DOORS = {"ranking": "/rerank", "recommendation": "/recommend"}
COMPACT: dict[str, Any] = {"loggers": {"compact": {}}}


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
        facts["pull_requests"] = pull_requests(demo.state, model)
    return {**facts, "deploys": deploys(model), "relevance": relevance(demo.state, model, metric)}


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


def ask(demo: Demo) -> dict[str, Any]:
    """Start what the overlay says and search for something that only this shop's customers call so."""
    from resources.cluster import LocalCluster
    from resources.gitops import GitOps
    from resources.kustomize import Kustomize

    query = jargon_query(demo.state)
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
