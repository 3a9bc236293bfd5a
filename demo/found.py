"""What stands in the store, in Git and in the forge after a stage: the facts that the demo tells and keeps."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

from demo.telling import say
from rankops.errors import RankopsError
from rankops.specs import Metric
from rankops.state import LocalState
from rankops.store import ArtifactStore

DATASET, ENVIRONMENT = "shop", "staging"


def pull_requests(state: LocalState, model: str) -> list[dict[str, Any]]:
    """The model's open pull requests in the local forge."""
    from rankops.forge.local import LocalForge
    from rankops.overlays.layout import branch_prefix
    from resources.gitops import GitOps

    forge, prefix = LocalForge(state.root / "forge", GitOps().remote()), branch_prefix("production", model)
    theirs = [p for p in forge.all() if p.state == "open" and p.head.startswith(prefix)]
    shown = [{"number": p.number, "title": p.title, "url": p.url} for p in theirs]
    for pull in shown:
        say(f"#{pull['number']} {pull['title']}  (rankops pr show {pull['number']})")
    return shown


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


def jargon_query(state: LocalState) -> str:
    """The most asked held-out query whose words are in no product title: keyword search finds nothing for it."""
    import polars as pl

    from rankops.artifacts import StoredArtifact
    from rankops.dataset import load_dataset
    from resources.store import read_reference

    store = ArtifactStore(state.store_url)
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


def relevance(state: LocalState, model: str, metric: Metric) -> dict[str, Any]:
    """The metric of every system on the held-out queries, of each release that was deployed here."""
    from rankops.evaluation.storage import load_evaluation
    from rankops.overlays.history import current, earlier_pins
    from rankops.overlays.transaction import Target
    from resources.gitops import GitOps

    store, remote, target = ArtifactStore(state.store_url), GitOps().remote(), Target(ENVIRONMENT, model)
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
