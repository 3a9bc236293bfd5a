"""What the UI shows of a materialization: numbers as plain floats, Markdown, and plots as inline PNG."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dagster import AssetCheckResult, DataVersion, MaterializeResult, MetadataValue

from rankops.artifacts import StoredArtifact
from rankops.specs import LABELS

if TYPE_CHECKING:
    from rankops.drift.report import DriftReport
    from rankops.evaluation.gate import GateDecision
    from rankops.evaluation.results import Evaluation
    from rankops.forge.markdown import Rows
    from rankops.forge.protocol import PullRequest
    from rankops.overlays.deploy import DeployOutcome
    from rankops.release.manifest import ReleaseManifest
    from rankops.serving.verification import VerificationReport
    from rankops.specs import ModelSpec, Task
    from rankops.stages.live import LiveService
    from rankops.store import ArtifactStore
    from rankops.training.job import Teaching


_COMPRESSION = {
    "speedup": "times as fast as the checkpoint",
    "p50_ms": "p50 ms",
    "p50_before_ms": "p50 ms of the checkpoint",
    "p95_ms": "p95 ms",
    "p99_ms": "p99 ms",
    "size_mb": "size MB",
    "size_before_mb": "size MB of the checkpoint",
    "load_ms": "load ms",
    "peak_mb": "peak memory MB",
    "relevance": "relevance on dev",
    "loss_share": "share of it lost",
    "cosine_mean": "cosine to the checkpoint, mean",
    "cosine_worst": "cosine to the checkpoint, worst",
    "correlation": "correlation with the checkpoint",
}
"""Facts of a compression report, as the UI calls them."""
_OUTCOMES = {
    "committed": "committed: the environment is told to run it",
    "proposed": "proposed: waits for the merge of a pull request",
    "unchanged": "unchanged: the environment runs it already",
}


def plot(png: bytes, alt: str) -> MetadataValue:
    """A PNG shown inline (Dagster renders data URLs in Markdown)."""
    return MetadataValue.md(f"![{alt}](data:image/png;base64,{base64.b64encode(png).decode()})")


def artifact(reference: StoredArtifact, *, reused: bool | None = None) -> dict[str, MetadataValue]:
    """Digest, place and lineage of an artifact; whether it was made now or found in the store."""
    shown: dict[str, MetadataValue] = {
        "digest": MetadataValue.text(reference.digest),
        "uri": MetadataValue.path(reference.uri),
    }
    if reference.lineage:
        shown["lineage"] = MetadataValue.json(dict(reference.lineage))
    if reused is not None:
        shown["reused"] = MetadataValue.bool(reused)
    return shown


def materialized(
    made: StoredArtifact, shown: Mapping[str, MetadataValue], *, reused: bool
) -> MaterializeResult[StoredArtifact]:
    """What an asset yields that is an artifact.

    Its digest is the data version: where the same content was made or found again, the UI does not call what was made
    of it unsynced.
    """
    metadata = {**shown, **artifact(made, reused=reused)}
    return MaterializeResult(value=made, data_version=DataVersion(made.digest), metadata=metadata)


def numbers(values: Mapping[str, Any]) -> dict[str, MetadataValue]:
    """Numeric metadata of six significant digits; numpy and torch scalars are cast because Dagster refuses them."""
    return {name: MetadataValue.float(float(f"{value:.6g}")) for name, value in values.items()}


def training_metadata(checkpoint: StoredArtifact) -> dict[str, Any]:
    """The dev metric before and after, the curves, and the MLflow run."""
    from rankops.feature_selection import features_markdown
    from rankops.training.job import TrainingResult
    from rankops.training.plots import training_curve

    result = TrainingResult.model_validate(checkpoint.facts["training"])
    metric = result.metric
    return {
        **numbers({f"dev {metric} before": result.dev_metric_before, f"dev {metric} after": result.dev_metric_best}),
        "training": plot(training_curve(result), f"loss and dev {metric} by step"),
        **(_lessons_metadata(result.teaching) if result.teaching else {}),
        **({"features": MetadataValue.md(features_markdown(result.features))} if result.features else {}),
        "mlflow run": str(checkpoint.facts["mlflow_run"]),
    }


def _lessons_metadata(teaching: Teaching) -> dict[str, Any]:
    """How far the base model came to agree with its teacher, and the curves."""
    from rankops.training.plots import lessons_curve

    return {
        **numbers({"agreement with the teacher before": teaching.before, "agreement after": teaching.after}),
        "lessons": plot(lessons_curve(teaching), "loss and agreement with the teacher by step"),
    }


def search_metadata(spec: ModelSpec, store: ArtifactStore, made: StoredArtifact) -> dict[str, Any]:
    """What to paste into the spec, every trial, and the plots."""
    from rankops.stages.search import pictures, read_result
    from rankops.training.search_report import markdown, table

    result = read_result(store, made)
    shown = {name: plot(png, f"{name} of the search") for name, png in pictures(result).items()}
    return {
        **numbers({"dev before": result.before, "dev now": result.trials[0].value, "dev best": result.winner.value}),
        "settings": MetadataValue.md(markdown(spec, result)),
        "trials": MetadataValue.md(table(result)),
        **shown,
    }


def evaluation_pictures(evaluation: Evaluation) -> dict[str, bytes]:
    """PNGs by name: every system, the slices, and what the report draws beside the gate."""
    from rankops.evaluation.plots import slices_png, systems_png
    from rankops.evaluation.plots_breadth import breadth_pngs

    more = breadth_pngs(evaluation, evaluation.breadth) if evaluation.breadth is not None else {}
    named = {name.removesuffix(".png"): data for name, data in more.items()}
    return {"systems": systems_png(evaluation), "slices": slices_png(evaluation), **named}


def evaluation_metadata(evaluation: Evaluation, pictures: Mapping[str, bytes]) -> dict[str, Any]:
    """Means as numbers, the whole report as tables, and the plots."""
    from rankops.evaluation.render import evaluation_markdown

    challenger = evaluation.system(evaluation.challenger)
    means = {LABELS[metric]: interval.mean for metric, interval in challenger.metrics.items()}
    described = {
        "systems": f"mean {LABELS[evaluation.metric]} of every system with interval",
        "slices": "difference by slice with interval",
    }
    return {
        **numbers(means),
        "held-out queries": evaluation.n_queries,
        "evaluation": MetadataValue.md(evaluation_markdown(evaluation)),
        **{name: plot(png, described.get(name, name)) for name, png in pictures.items()},
    }


def gate_result(name: str, decision: GateDecision) -> AssetCheckResult:
    """A gate's decision as a (blocking) asset check with its reasons."""
    from rankops.evaluation.render import decision_markdown

    return AssetCheckResult(
        check_name=name,
        passed=decision.passed,
        metadata={
            "rules": MetadataValue.md(decision_markdown(decision)),
            "reasons": MetadataValue.md("\n\n".join(decision.reasons)),
        },
    )


def model_kinds(task: Task, *kinds: str) -> set[str]:
    """The tags of an asset that holds a model: a next-item model is arrays, and neither fine-tuned nor ONNX."""
    return {"numpy"} if task == "recommendation" else set(kinds)


def release_metadata(manifest: ReleaseManifest, card: str) -> dict[str, Any]:
    """Size, gates and the metrics that travel in ``release.json``, that file itself, and the model card (Markdown).

    Where the figures are of another model than the one in the bundle, the page says so.
    """
    told = [gate.explanation for gate in manifest.gates if gate.name == "refit"]
    rows = ["| system | metric | mean | interval |", "|---|---|--:|---|"]
    rows += [
        f"| {m['system']} | {m['metric']} | {m['value']:.4f} | {m['lower']:.4f} – {m['upper']:.4f} |"
        for m in manifest.metrics
    ]
    return {
        **capacity_metadata(manifest),
        **index_metadata(manifest.index),
        "files": len(manifest.files),
        "target": manifest.target,
        "gates passed": manifest.gates_passed,
        **({"whose figures": told[0]} if told else {}),
        "metrics": MetadataValue.md("\n".join(rows)),
        "model card": MetadataValue.md(card),
        "release.json": MetadataValue.json(manifest.model_dump(mode="json")),
    }


def index_metadata(index: dict[str, Any] | None) -> dict[str, Any]:
    """The index formats that were measured, which was chosen and why, and how many products had to be embedded."""
    if index is None:
        return {}
    rows = ["| format | recall@100 | ms a query | MB beside the vectors | built in | |", "|---|--:|--:|--:|--:|---|"]
    for one in index["formats"]:
        name = f"**{one['name']}**" if one["kept"] else one["name"]
        numbers = " | | | "
        if one["ms"] is not None:
            recall = "" if one["recall"] is None else f"{one['recall']:.4f}"
            size, seconds = f"{one['bytes'] / 1e6:.1f}", f"{one['build_seconds']:.1f} s"
            numbers = " | ".join([recall, f"{one['ms']:.3f}", size, seconds])
        rows.append(f"| {name} | {numbers} | {one['reason']} |")
    return {
        "index formats": MetadataValue.md("\n".join(rows)),
        "index format": str(index["format"]),
        "products": int(index["products"]),
        "products embedded": int(index["embedded"]),
        "products reused": int(index["reused"]),
    }


def capacity_metadata(manifest: ReleaseManifest) -> dict[str, Any]:
    """Queries a second per core, what was tried as a plot, and the sentence; the reason where nothing was measured."""
    from rankops.capacity.plots import stages_png

    capacity = manifest.capacity
    if capacity is None:
        return {}
    shown: dict[str, Any] = {"capacity": capacity.sentence()}
    if capacity.per_core is not None:
        shown |= numbers({"queries/s per core": capacity.per_core})
    if capacity.stages:
        shown["load"] = plot(stages_png(capacity), "p99 over the rate of requests, with the objective")
    return shown


def advice_metadata(manifest: ReleaseManifest, spec: ModelSpec, dataset: Path) -> dict[str, Any]:
    """What would make the server carry more, by how much and why, as table; where its time goes, as plot."""
    from rankops.advice.render import markdown
    from rankops.stages.advice import advice_on, pictures

    advice, facts = advice_on(manifest, spec, dataset)
    shown: dict[str, Any] = {"advice": MetadataValue.md(markdown(advice, facts))}
    return shown | {name.removesuffix(".png"): plot(data, name) for name, data in pictures(facts).items()}


def deploy_metadata(outcome: DeployOutcome) -> dict[str, Any]:
    """The commit, what it changed, and what a cluster will see of it."""
    shown: dict[str, Any] = {
        "outcome": _OUTCOMES[outcome.kind],
        "commit": outcome.commit,
        "overlay": outcome.overlay_path,
        "branch": outcome.branch,
        "release": outcome.pin.release,
        "supersedes": outcome.supersedes or "nothing",
        "attempts": outcome.attempts,
        **numbers({"seconds": outcome.seconds}),
    }
    if outcome.diff:
        shown["diff"] = MetadataValue.md(f"```diff\n{outcome.diff}\n```")
    if outcome.rendered_diff:
        shown["rendered diff"] = MetadataValue.md(f"```diff\n{outcome.rendered_diff}\n```")
    if outcome.pull_request is not None:
        shown["pull request"] = _pull_request(outcome.pull_request)
        shown["pull request body"] = MetadataValue.md(outcome.pull_request.body)
    return shown


def _pull_request(pull: PullRequest) -> MetadataValue:
    """A link; of the local forge, whose files no browser opens from here, the command that shows it."""
    if pull.url.startswith("file:"):
        return MetadataValue.text(f"#{pull.number} {pull.title} (rankops pr show {pull.number})")
    return MetadataValue.url(pull.url)


def sizing_metadata(rows: Rows) -> dict[str, Any]:
    """What its pods should ask for, from the measured capacity and the expected peak; nothing where one is unknown."""
    from rankops.forge.markdown import table

    return {"capacity advice": MetadataValue.md(table(rows))} if rows else {}


def verification_metadata(report: VerificationReport, live: LiveService) -> dict[str, Any]:
    """Each check with what was measured, the latency, and the commit with the seconds that it took to become live."""
    rows = ["| check | passed | measured | bound | |", "|---|---|---|---|---|"]
    rows += [
        f"| {c.name} | {'yes' if c.passed else '**no**'} | {c.measured} | {c.bound} | {c.explanation} |"
        for c in report.checks
    ]
    shown: dict[str, Any] = {"checks": MetadataValue.md("\n".join(rows)), "release": report.expected_digest}
    if report.latency is not None:
        shown |= numbers({"p50 ms": report.latency.p50_ms, "p99 ms": report.latency.p99_ms})
    shown["commit"] = live.commit
    if live.commit_to_live_seconds is not None:
        shown |= numbers({"commit to live s": live.commit_to_live_seconds})
    return shown


def compression_metadata(folder: Path) -> dict[str, Any]:
    """Size and latency before and after, every rung with its reason, and the plots."""
    from rankops.compression.plots import before_after, latency_by_length, relevance_against_latency
    from rankops.compression.render import page
    from rankops.compression.report import CompressionReport

    report = CompressionReport.model_validate_json((folder / "compression.json").read_text())
    facts = report.facts()
    by_length = latency_by_length(report)
    curves = {} if by_length is None else {"latency by length": plot(by_length, "latency by text length and batch")}
    return {
        "rung": report.winner,
        "target": report.target,
        **numbers({name: facts[key] for key, name in _COMPRESSION.items() if key in facts}),
        "rungs": MetadataValue.md(page(report)),
        "before and after": plot(before_after(report), "size and latency before and after"),
        "relevance and latency": plot(relevance_against_latency(report), "rungs: relevance against latency"),
        **curves,
    }


def drift_metadata(report: DriftReport, url: str, store: ArtifactStore, made: StoredArtifact) -> dict[str, Any]:
    """What drifted, as names, table and plot, and the link to Evidently's page."""
    from rankops.drift.render import report_markdown

    picture = (store.local_path(made) / "summary.png").read_bytes()
    return {
        "drifted": MetadataValue.bool(report.drifted),
        "causes": ", ".join(report.names) or "none",
        "report": MetadataValue.url(url),
        "summary": MetadataValue.md(report_markdown(report)),
        "picture": plot(picture, "drift scores against thresholds, and the category mix"),
        "searches": report.current.searches,
    }
