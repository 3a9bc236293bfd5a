"""What is known beside the gate's metric, as Markdown."""

from __future__ import annotations

from rankops.evaluation.decision_quality import DecisionQuality
from rankops.evaluation.fairness import Fairness
from rankops.evaluation.leaks import Leak
from rankops.evaluation.markdown import cell, mean_cell, table
from rankops.evaluation.power import CAUGHT, GatePower
from rankops.evaluation.results import Breadth, Evaluation
from rankops.evaluation.robustness import Robustness
from rankops.specs import LABELS

_EXAMPLES = 5


def breadth_markdown(evaluation: Evaluation, breadth: Breadth) -> str:
    """Every part under a heading of its own."""
    sections = []
    if breadth.reported:
        sections += ["### Further metrics", reported_markdown(evaluation, breadth)]
    if breadth.decisions is not None:
        sections += ["### Decisions and probabilities", decisions_markdown(breadth.decisions)]
    sections += [
        f"### Robustness: {LABELS[evaluation.metric]} when asked in other words",
        robustness_markdown(breadth.robustness),
        "### Exposure: who is shown, against what is relevant",
        fairness_markdown(breadth.fairness, evaluation.challenger),
        "### Leaks",
        leaks_markdown(breadth.leaks),
        "### What this gate can see",
        power_markdown(breadth.power, evaluation),
    ]
    return "\n\n".join(sections)


def reported_markdown(evaluation: Evaluation, breadth: Breadth) -> str:
    """One row for each system, in the order of the gate's metric."""
    order = sorted(evaluation.systems, key=lambda score: -score.metrics[evaluation.metric].mean)
    rows = [
        [f"`{score.system}`", *(mean_cell(interval) for interval in breadth.reported[score.system].values())]
        for score in order
        if score.system in breadth.reported
    ]
    names = next(iter(breadth.reported.values()))
    return table(["system", *(breadth.labels.get(name, name) for name in names)], rows)


def decisions_markdown(quality: DecisionQuality) -> str:
    """The measures of one system's decisions."""
    rows = [[name, mean_cell(interval)] for name, interval in quality.metrics.items()]
    told = f"{quality.n:,} pairs, {quality.positives:,} of them matches; yes from {quality.threshold:.3f}."
    return f"{told}\n\n{table(['', f'`{quality.system}`'], rows)}"


def robustness_markdown(robustness: Robustness) -> str:
    """One row for each kind of probe, the largest drop first, and the queries that lost most."""
    if robustness.skipped is not None:
        return f"Not measured: {robustness.skipped}."
    others = sorted({system for result in robustness.probes for system in result.others} - {"random"})
    rows = [
        [
            cell(result.probe),
            str(result.n),
            f"{result.before:.3f} → {result.after:.3f}",
            f"{-result.drop.mean:+.3f} [{-result.drop.high:+.3f}, {-result.drop.low:+.3f}]",
            *(f"{-result.others[system]:+.3f}" if system in result.others else "" for system in others),
        ]
        for result in robustness.probes
    ]
    header = ["probe", "queries", "before → after", "change", *(f"change of `{system}`" for system in others)]
    examples = [(result.probe, worst) for result in robustness.probes for worst in result.worst[:1]]
    listed = [
        f"- {kind}: {cell(worst.query)} → {cell(worst.asked)} ({worst.before:.2f} → {worst.after:.2f})"
        for kind, worst in examples[:_EXAMPLES]
    ]
    return "\n\n".join([table(header, rows), *(["Hit hardest:\n\n" + "\n".join(listed)] if listed else [])])


def fairness_markdown(fairness: Fairness, challenger: str) -> str:
    """One row for each group: shares, and exposure by relevance with its interval."""
    if fairness.skipped is not None:
        return f"Not measured: {fairness.skipped}."
    rows = []
    for row in fairness.rows:
        others = [f"`{name}` {share:.1%}" for name, share in row.exposure.items() if name not in (challenger, "random")]
        rows.append(
            [
                cell(f"{row.kind}: {row.group}" if row.kind == "brand" else row.group),
                f"{row.products:,}",
                f"{row.relevance:.1%}",
                f"{row.exposure[challenger]:.1%}",
                f"{row.ratio.mean:.2f} [{row.ratio.low:.2f}, {row.ratio.high:.2f}]",
                ", ".join(others),
            ]
        )
    header = ["group", "products", "of what is relevant", "of exposure", "ratio", "exposure by others"]
    told = table(header, rows)
    if fairness.gini is not None:
        ginis = ", ".join(f"`{name}` {value:.2f}" for name, value in fairness.gini.items())
        told += f"\n\nGini index of exposure over brands: {ginis}."
    return told


def leaks_markdown(leaks: list[Leak]) -> str:
    """One row for each kind of overlap that was looked for."""
    if not leaks:
        return "There was nothing to check."
    rows = [
        [
            leak.kind,
            f"{leak.looked_at:,}",
            f"**{leak.found:,}**" if leak.found else "none",
            cell("; ".join(leak.examples)),
        ]
        for leak in leaks
    ]
    return table(["overlap", "looked at", "found", "examples"], rows)


def power_markdown(power: GatePower | None, evaluation: Evaluation) -> str:
    """How often the gate passes an equally good model and catches a seeded loss, at this data set's size."""
    if power is None:
        return "No slice of the gate has enough queries to simulate a loss."
    known = power.passes_retrained is not None
    passes = ["no loss (passes)", f"{power.passes_unchanged:.0%}", f"{power.passes_retrained:.0%}" if known else ""]
    rows = [passes] + [
        [
            f"{row.loss:.0%} ({row.loss * power.level:.4f})",
            f"{row.unchanged:.0%}",
            "" if row.retrained is None else f"{row.retrained:.0%}",
        ]
        for row in power.caught
    ]
    header = [f"loss of {LABELS[evaluation.metric]} in {cell(power.slice)}", "caught, same model", "caught, retrained"]
    return f"{power_sentence(power)}\n\n{table(header, rows)}"


def power_sentence(power: GatePower) -> str:
    """What the gate sees and what it cannot, in words."""

    def told(loss: float | None) -> str:
        tried = power.caught[-1].loss if power.caught else 0.0
        return f"a loss of {loss:.0%} or more" if loss is not None else f"no loss up to {tried:.0%}"

    text = (
        f"With {power.n} queries in {power.slice} (mean {power.level:.3f}) this gate catches, in at least "
        f"{CAUGHT:.0%} of {power.draws} simulated evaluations, {told(power.smallest_unchanged)} in a model "
        "that is otherwise unchanged"
    )
    if power.passes_retrained is None:
        end = ". How much a retraining moves is not known before there is a champion."
    else:
        end = f", and {told(power.smallest_retrained)} in one that was retrained."
    return f"{text}{end} The loss falls on one in ten of the slice's queries (on more where it is large)."
