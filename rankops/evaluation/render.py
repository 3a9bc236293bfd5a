"""An evaluation as Markdown, for the Dagster UI and for the body of a pull request.

Tables are GitHub-flavoured. Text that people typed (queries, titles) is escaped, so that it can neither break a
table nor ping somebody.
"""

from __future__ import annotations

from collections.abc import Sequence

from rankops.evaluation.gate import GateCheck, GateDecision
from rankops.evaluation.markdown import cell, difference_cell, escape, mean_cell, table
from rankops.evaluation.render_breadth import breadth_markdown
from rankops.evaluation.results import Evaluation, RegressedQuery
from rankops.specs import LABELS

_LONGEST = 60
_MOST_SLICES = 20
_LIKELY = 0.05
_MEANING = {
    "challenger": "the model that wants to be released",
    "quantized": "the challenger after compression",
    "champion": "the release that is live",
    "dense": "the challenger's vectors alone, without words",
    "base": "the same model before fine-tuning",
    "bm25": "keyword search",
    "popularity": "the best sellers",
    "item-item": "what was bought together",
    "text": "the products whose texts are most alike",
    "random": "any order",
}


def evaluation_markdown(evaluation: Evaluation) -> str:
    """The whole report: outcome, systems, comparisons, slices and regressed queries."""
    sections = [
        f"## Evaluation of `{evaluation.challenger}` on the {evaluation.split} split",
        decision_markdown(evaluation.decision),
        f"### Systems ({evaluation.n_queries} queries)",
        systems_markdown(evaluation),
        _who(evaluation),
        f"### Differences: `{evaluation.challenger}` minus the other, paired by query",
        comparisons_markdown(evaluation),
    ]
    if evaluation.reference is not None:
        sections += [
            f"### {LABELS[evaluation.metric]} by slice, against `{evaluation.reference}`",
            slices_markdown(evaluation),
            f"### Queries that lost most against `{evaluation.reference}`",
            worst_queries_markdown(evaluation),
        ]
    if evaluation.breadth is not None:
        sections.append(breadth_markdown(evaluation, evaluation.breadth))
    if evaluation.skipped_queries:
        sections.append(f"{evaluation.skipped_queries} queries without a relevant product were left out.")
    return "\n\n".join(section for section in sections if section) + "\n"


def _who(evaluation: Evaluation) -> str:
    """What the systems' names mean."""
    known = [f"`{score.system}`: {_MEANING[score.system]}" for score in evaluation.systems if score.system in _MEANING]
    return "; ".join(known) + "." if known else ""


def decision_markdown(decision: GateDecision) -> str:
    """The outcome with its reasons, and a table of every check."""
    head = "**Gate: passed**" if decision.passed else "**Gate: blocked**"
    reasons = "\n".join(f"- {escape(reason)}" for reason in decision.reasons)
    checks = table(["", "check", "measured", "bound", "interval"], [_check_row(check) for check in decision.checks])
    return f"{head}\n\n{reasons}\n\n{checks}"


def systems_markdown(evaluation: Evaluation) -> str:
    """One row for each system, means with intervals, the best mean of each column in bold."""
    ranked = sorted(evaluation.systems, key=lambda score: -score.metrics[evaluation.metric].mean)
    best = {metric: max(score.metrics[metric].mean for score in ranked) for metric in evaluation.metrics}
    rows = []
    for score in ranked:
        cells = [
            mean_cell(score.metrics[metric], bold=score.metrics[metric].mean == best[metric])
            for metric in evaluation.metrics
        ]
        rows.append([f"`{score.system}`", *cells, f"{score.judged_at_10:.0%}"])
    return table(["system", *(LABELS[metric] for metric in evaluation.metrics), "judged@10"], rows)


def comparisons_markdown(evaluation: Evaluation) -> str:
    """One row for each other system; each cell is the paired difference with its interval and verdict."""
    found = {(comparison.other, comparison.metric): comparison for comparison in evaluation.comparisons}
    rows = []
    for other in dict.fromkeys(comparison.other for comparison in evaluation.comparisons):
        pairs = [found[other, metric] for metric in evaluation.metrics]
        cells = [f"{difference_cell(pair.difference)} {pair.verdict.replace('_', ' ')}" for pair in pairs]
        rows.append([f"`{other}`", *cells])
    return (
        table(["against", *(LABELS[metric] for metric in evaluation.metrics)], rows)
        if rows
        else "There is no other system to compare with."
    )


def slices_markdown(evaluation: Evaluation) -> str:
    """One row for each slice that is large enough, those that lose most first; a line counts the others.

    A difference is marked where it holds after Benjamini and Hochberg's correction over all slices.
    """
    if evaluation.reference is None:
        return "There is no other system to compare with."
    compared = [(part, part.difference) for part in evaluation.slices if part.difference is not None]
    ranked = sorted(compared, key=lambda pair: pair[1].mean)
    rows = []
    for part, difference in ranked[:_MOST_SLICES]:
        ours, theirs = part.means[evaluation.challenger], part.means[evaluation.reference]
        sure = "" if part.q_value is None else f"{'**' if part.q_value <= _LIKELY else ''}{part.q_value:.3f}"
        sure += "**" if sure.startswith("**") else ""
        rows.append(
            [cell(part.name), str(part.n), _bold(ours, theirs), _bold(theirs, ours), difference_cell(difference), sure]
        )
    header = ["slice", "queries", f"`{evaluation.challenger}`", f"`{evaluation.reference}`", "difference", "q"]
    small = len(evaluation.slices) - len(compared)
    notes = [f"{len(ranked) - _MOST_SLICES} slices that lose less or gain are left out."] * (len(ranked) > _MOST_SLICES)
    notes += [f"{small} slices have too few queries to compare."] * (small > 0)
    return "\n\n".join([table(header, rows), " ".join(notes)]).strip() if rows else " ".join(notes)


def worst_queries_markdown(evaluation: Evaluation, limit: int = 10) -> str:
    """The queries that lost most, with both scores and the titles of the first results of both systems."""
    if not evaluation.regressed:
        return "No query lost against the reference."
    rows = [_regressed_row(query) for query in evaluation.regressed[:limit]]
    header = ["query", LABELS[evaluation.metric], f"`{evaluation.challenger}` shows", f"`{evaluation.reference}` shows"]
    return table(header, rows)


def _check_row(check: GateCheck) -> list[str]:
    interval = "" if check.interval is None else difference_cell(check.interval)
    return [
        "pass" if check.passed else "**FAIL**",
        f"`{check.name}`",
        f"{check.measured:.4g}",
        f"{check.bound:g}",
        interval,
    ]


def _regressed_row(query: RegressedQuery) -> list[str]:
    def titles(names: Sequence[str]) -> str:
        return "<br>".join(f"{i}. {cell(_short(name))}" for i, name in enumerate(names, 1)) or "(nothing)"

    change = f"{query.reference_score:.3f} → {query.challenger_score:.3f}"
    return [cell(_short(query.query)), change, titles(query.challenger_titles), titles(query.reference_titles)]


def _bold(own: float, other: float) -> str:
    return f"**{own:.3f}**" if own >= other else f"{own:.3f}"


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
