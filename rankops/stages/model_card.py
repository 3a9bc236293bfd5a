"""The model card: one page that says what a model is, what it learned from, how good it is, and where it is not.

Everything in it is read from typed records (spec, dataset, training, evaluation, compression), so that it cannot say
what was not measured. It travels in the release, and its bytes follow from the records alone: no times, no run ids
(those are in ``release.json``). The headings follow Mitchell et al., "Model Cards for Model Reporting" (FAT* 2019).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rankops.artifacts import StoredArtifact
from rankops.specs import BaseModelSpec, ModelSpec, Task, TeacherSpec

if TYPE_CHECKING:
    from rankops.evaluation.results import Evaluation, Slice
    from rankops.training.job import Teaching

_LICENCES = dict.fromkeys(
    ("sentence-transformers/all-MiniLM-L6-v2", "sentence-transformers/all-mpnet-base-v2"), "Apache-2.0"
)
_WHAT: dict[Task, str] = {
    "retrieval": "A bi-encoder that finds products of a catalogue for a search query.",
    "ranking": "A cross-encoder that scores a query (or offer) together with a product.",
    "recommendation": "A next-item model that names products which go with those in a basket or session.",
}
_NOT_FOR = "Not meant for decisions about people, nor for other catalogues than its own without a new evaluation"
_WEAKEST = 3
_SURE = 0.05
_THIN = 0.9


@dataclass(frozen=True)
class CardRecords:
    """What a card is made from. ``evaluation`` is that of the compressed artifact, which is what is released.

    ``note`` says so where the figures are of another model (:mod:`rankops.stages.refit`).
    """

    spec: ModelSpec
    dataset: StoredArtifact
    checkpoint: StoredArtifact
    artifact: StoredArtifact
    evaluation: Evaluation
    note: str = ""


def model_card(records: CardRecords) -> str:
    """The card as GitHub-flavoured Markdown; the same records give the same text."""
    sections = [
        _head(records),
        *_section("Intended use", _use(records.spec)),
        *_section("Data", _data(records.dataset)),
        *_section("Training", _training(records)),
        *_section("How good it is", _quality(records.evaluation, records.note)),
        *_section("Slices", _slices(records.evaluation)),
        *_breadth(records.evaluation),
        *_section("Compression", _compression(records.artifact)),
        *_section("Limits", _limits(records.spec.task, records.evaluation)),
    ]
    return "\n\n".join(sections) + "\n"


def licence_of(base: BaseModelSpec) -> str:
    """The licence of the base model: as the spec says, as is known for the default, or that nobody said."""
    return base.licence or _LICENCES.get(base.name) or "not stated (set base_model.licence)"


def _section(title: str, body: str) -> list[str]:
    return [f"## {title}", body]


def _head(records: CardRecords) -> str:
    from rankops.evaluation.markdown import escape

    spec, base = records.spec, records.checkpoint.facts["base"]
    about = f" {escape(spec.description)}" if spec.description else ""
    rows = {
        "task": spec.task,
        "base model": f"{base['name']} at {base['revision']} (`{base['digest'][:12]}`)",
        "licence of the base model": licence_of(spec.base_model),
        "made for": str(records.artifact.facts["target"]),
        "data": f"{spec.dataset} (`{records.dataset.digest[:12]}`)",
    }
    if first := records.checkpoint.lineage.get("first_stage"):
        found_by = f"{spec.ranking.first_stage} (checkpoint `{first[:12]}`)"
        rows["what it reorders"] = f"the first {spec.ranking.candidates} results of {found_by}"
    return f"# Model card: {spec.name}\n\n{_WHAT[spec.task]}{about}\n\n{_pairs(rows)}"


def _use(spec: ModelSpec) -> str:
    promise = f"p99 of at most {spec.serving.latency_objective_ms:g} ms, {spec.serving.top_k} results by default"
    return f"Served by rankops on `{spec.serving.target}` ({promise}). {_NOT_FOR}."


def _data(dataset: StoredArtifact) -> str:
    facts = dataset.facts
    rows = {
        "digest": f"`{dataset.digest}`",
        "days": f"{facts.get('first_day') or 'unknown'} to {facts.get('last_day') or 'unknown'}",
        "source": str(facts.get("source", "unknown")),
        "held-out grades": str(facts.get("judged_by", "as given")),
        **{name: f"{count:,}" for name, count in _counts(facts).items()},
    }
    return "\n\n".join([_pairs(rows), *_preparation(facts.get("preparation", ()))])


def _counts(facts: Mapping[str, Any]) -> dict[str, int]:
    counts = facts.get("counts", {})
    return {str(name): int(count) for name, count in counts.items()} if isinstance(counts, Mapping) else {}


def _preparation(steps: Sequence[Mapping[str, Any]]) -> list[str]:
    """What each step of the preparation dropped and changed."""
    from rankops.evaluation.markdown import cell, table

    rows = [
        [
            cell(str(step["name"])),
            cell(str(step["table"])),
            f"{step['rows_in']:,} → {step['rows_out']:,}",
            cell(", ".join(f"{reason} {count:,}" for reason, count in step["reasons"].items() if count)),
        ]
        for step in steps
    ]
    return [table(["preparation", "table", "rows", "why"], rows)] if rows else []


def _training(records: CardRecords) -> str:
    from rankops.training.job import TrainingResult

    result = TrainingResult.model_validate(records.checkpoint.facts["training"])
    spec = result.spec
    rows = {
        "examples": f"{result.pairs:,}",
        "steps": f"{result.steps:,}, the best after {result.best_step:,}"
        + (" (stopped early)" if result.stopped_early else ""),
        "parameters": f"{result.parameters:,}, {result.trained_parameters:,} of them trained",
        f"{result.metric} on dev": f"{result.dev_metric_before:.4f} before, {result.dev_metric_best:.4f} after",
        "seed": str(result.seed),
    }
    if result.teaching and spec.teacher:
        rows["teacher"] = _lessons(result.teaching, spec.teacher)
    if result.features:
        kept = [feature.name for feature in result.features if feature.kept]
        rows["tabular features"] = f"{len(kept)} of {len(result.features)}, chosen on train: {', '.join(kept)}"
    if records.spec.task != "recommendation":
        rows["method"] = (
            f"{spec.method}, batch {spec.batch_size}, learning rate {spec.learning_rate:g}, {spec.precision}"
        )
    return _pairs(rows)


def _lessons(teaching: Teaching, spec: TeacherSpec) -> str:
    return (
        f"{spec.model.name} (`{teaching.teacher[:12]}`, {licence_of(spec.model)}): before it was fine-tuned the base "
        f"model learned from it on {teaching.queries:,} made-up queries and {teaching.products:,} product texts, "
        f"without labels; agreement {teaching.before:.3f} before, {teaching.after:.3f} after"
    )


def _quality(evaluation: Evaluation, note: str) -> str:
    from rankops.evaluation.render import comparisons_markdown, systems_markdown

    told = (
        f"{evaluation.n_queries:,} held-out queries of the {evaluation.split} split, mean with "
        f"{evaluation.systems[0].metrics[evaluation.metric].confidence:.0%} interval. "
        f"`{evaluation.challenger}` is this release; it was gated by {evaluation.metric}."
    )
    noted = [f"**{note}**"] if note else []
    return "\n\n".join(
        [*noted, told, systems_markdown(evaluation), "Differences of this release:", comparisons_markdown(evaluation)]
    )


def _slices(evaluation: Evaluation) -> str:
    from rankops.evaluation.render import slices_markdown

    against = f"Against `{evaluation.reference}`, what loses most first.\n\n" if evaluation.reference else ""
    return against + slices_markdown(evaluation)


def _breadth(evaluation: Evaluation) -> list[str]:
    from rankops.evaluation.render_breadth import (
        decisions_markdown,
        fairness_markdown,
        leaks_markdown,
        power_markdown,
        reported_markdown,
        robustness_markdown,
    )

    more = evaluation.breadth
    if more is None:
        return []
    found = [*_section("Further metrics", reported_markdown(evaluation, more))] if more.reported else []
    if more.decisions is not None:
        found += _section("Decisions and probabilities", decisions_markdown(more.decisions))
    return [
        *found,
        *_section("Robustness", robustness_markdown(more.robustness)),
        *_section("Exposure", fairness_markdown(more.fairness, evaluation.challenger)),
        *_section("Leaks", leaks_markdown(more.leaks)),
        *_section("What the gate can see", power_markdown(more.power, evaluation)),
    ]


def _compression(artifact: StoredArtifact) -> str:
    """The rungs without their latencies, which differ from run to run; ``release.json`` has those."""
    from rankops.compression.report import RungResult
    from rankops.evaluation.gate import GateDecision
    from rankops.evaluation.markdown import cell, escape, table

    rungs = [RungResult.model_validate(rung) for rung in artifact.facts["rungs"]]
    rows = [
        [
            f"`{rung.name}`",
            cell(rung.what),
            _number(rung.size_mb, "{:.1f} MB"),
            _number(rung.loss_share, "{:.2%}"),
            rung.verdict,
        ]
        for rung in rungs
    ]
    decision = GateDecision.model_validate(artifact.facts["compression_gate"])
    told = " ".join(escape(reason) for reason in decision.reasons)
    return f"{told}\n\n{table(['rung', 'what', 'size', 'loss on dev', ''], rows)}"


def _limits(task: Task, evaluation: Evaluation) -> str:
    """What the records say against the model; never empty, because every evaluation has a smallest slice."""
    ours = evaluation.system(evaluation.challenger)
    compared = [part for part in evaluation.slices if part.difference is not None]
    found = [f"Slices with too few queries to say anything: {len(evaluation.slices) - len(compared)}."]
    weakest = sorted(compared, key=lambda part: part.means[evaluation.challenger])[:_WEAKEST]
    if weakest:
        told = ", ".join(f"{_slice(part)} {part.means[evaluation.challenger]:.3f}" for part in weakest)
        found.append(f"Weakest slices by {evaluation.metric}: {told}.")
    if worse := [part for part in compared if _is_worse(part)]:
        told = ", ".join(_slice(part) for part in worse)
        found.append(f"Proven worse than `{evaluation.reference}` in: {told}.")
    # A next-item question has one answer: there is no pool that could be thin.
    if task != "recommendation" and ours.judged_at_10 < _THIN:
        found.append(
            f"{ours.judged_at_10:.0%} of its first ten results have a judgement; the others count as wrong, so the "
            "metrics are a lower bound."
        )
    return "\n".join(f"- {line}" for line in [*found, *_broad_limits(evaluation)])


def _broad_limits(evaluation: Evaluation) -> list[str]:
    from rankops.evaluation.markdown import escape
    from rankops.evaluation.render_breadth import power_sentence

    more = evaluation.breadth
    if more is None:
        return ["Robustness, exposure and leaks were not measured."]
    found = []
    if more.robustness.skipped is not None:
        found.append(f"Robustness is not known: {more.robustness.skipped}.")
    found += [
        f"Asked with {result.probe} probes it loses {result.drop.mean:.3f} of {evaluation.metric} "
        f"[{result.drop.low:.3f}, {result.drop.high:.3f}]."
        for result in more.robustness.probes
        if result.drop.low > 0
    ]
    short = [escape(row.group) for row in more.fairness.rows if row.ratio.high < 1]
    found += [f"Shown less than their share of what is relevant: {', '.join(short)}."] if short else []
    return [*found, *([power_sentence(more.power)] if more.power is not None else [])]


def _is_worse(part: Slice) -> bool:
    return part.difference is not None and part.difference.mean < 0 and (part.q_value or 0.0) <= _SURE


def _slice(part: Slice) -> str:
    from rankops.evaluation.markdown import escape

    return escape(part.name.replace("=", ": "))


def _pairs(rows: Mapping[str, str]) -> str:
    from rankops.evaluation.markdown import cell, table

    return table(["", ""], [[cell(name), value.replace("|", "\\|")] for name, value in rows.items()])


def _number(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)
