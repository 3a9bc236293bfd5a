"""What is known beside the gate's metric, as pictures: PNG bytes."""

from __future__ import annotations

from rankops.evaluation.decision_quality import DecisionQuality
from rankops.evaluation.fairness import Exposure, Fairness
from rankops.evaluation.figures import (
    GAIN,
    GREY,
    LOSS,
    OTHER,
    OURS,
    as_png,
    name_rows,
    new_figure,
    notice,
    set_title,
    shortened,
)
from rankops.evaluation.power import CAUGHT, GatePower
from rankops.evaluation.results import Breadth, Evaluation
from rankops.evaluation.robustness import Robustness
from rankops.specs import LABELS, Metric


def breadth_pngs(evaluation: Evaluation, breadth: Breadth) -> dict[str, bytes]:
    """``{file name: PNG}`` of whatever was measured."""
    found = {}
    if breadth.robustness.probes:
        found["robustness.png"] = robustness_png(breadth.robustness, evaluation.metric, evaluation.challenger)
    if breadth.fairness.rows:
        found["exposure.png"] = exposure_png(breadth.fairness, evaluation.challenger)
    if breadth.power is not None:
        found["power.png"] = power_png(breadth.power, evaluation.metric)
    if breadth.decisions is not None:
        found["reliability.png"] = reliability_png(breadth.decisions)
    return found


def robustness_png(robustness: Robustness, metric: Metric, challenger: str) -> bytes:
    """The change of the metric for each kind of probe, with its interval, beside that of the other systems."""
    figure, axes = new_figure(rows=len(robustness.probes) + 1)
    axes.axvline(0, color=GREY, linewidth=1)
    others = sorted({system for result in robustness.probes for system in result.others} - {"random"})
    markers = dict(zip(others, "^svDP*X", strict=False))
    shown = robustness.probes[::-1]
    for place, result in enumerate(shown):
        axes.plot([-result.drop.high, -result.drop.low], [place, place], color=OURS, linewidth=2)
        axes.plot(-result.drop.mean, place, "o", color=OURS, markersize=8, label=challenger if place == 0 else None)
        for system, marker in markers.items():
            if system in result.others:
                label = system if place == 0 else None
                axes.plot(-result.others[system], place - 0.22, marker, color=OTHER, markersize=5, label=label)
    name_rows(axes, [f"{result.probe}  (n={result.n})" for result in shown])
    axes.set_xlabel(f"change of {LABELS[metric]} when asked in other words")
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    worst = robustness.probes[0]
    lost = f"{worst.probe} costs most ({-worst.drop.mean:+.3f})" if worst.drop.mean > 0 else "no probe costs anything"
    set_title(figure, f"{challenger} asked in other words: {lost}")
    return as_png(figure)


def exposure_png(fairness: Fairness, challenger: str) -> bytes:
    """Exposure by relevance for each group, with its interval: 1 is what is due."""
    if not fairness.rows:
        return notice("There are no groups of products to compare")
    shown = fairness.rows[::-1]
    figure, axes = new_figure(rows=len(shown))
    axes.axvline(1, color=GREY, linewidth=1)
    for place, row in enumerate(shown):
        colour = LOSS if row.ratio.high < 1 else GAIN if row.ratio.low > 1 else OTHER
        axes.plot([row.ratio.low, row.ratio.high], [place, place], color=colour, linewidth=2)
        axes.plot(row.ratio.mean, place, "o", color=colour, markersize=7)
    name_rows(axes, [_group(row, challenger) for row in shown])
    axes.set_xlabel("exposure by relevance (attention by rank, first ten results; 1 is what is due)")
    short = sum(row.ratio.high < 1 for row in fairness.rows)
    told = (
        f"{short} of {len(fairness.rows)} groups are shown less than their due"
        if short
        else "no group is provably shown less than its due"
    )
    set_title(figure, f"{challenger}: {told}")
    return as_png(figure)


def power_png(power: GatePower, metric: Metric) -> bytes:
    """The share of simulated evaluations that the gate blocks, by the size of the loss."""
    figure, axes = new_figure(rows=6)
    losses = [0.0, *(row.loss for row in power.caught)]
    places = range(len(losses))
    still = [1 - power.passes_unchanged, *(row.unchanged for row in power.caught)]
    axes.plot(places, still, "o-", color=OURS, label="same model otherwise")
    if power.passes_retrained is not None:
        again = [1 - power.passes_retrained, *(row.retrained or 0.0 for row in power.caught)]
        axes.plot(places, again, "s--", color=LOSS, label="retrained model")
    axes.axhline(CAUGHT, color=GREY, linewidth=1, linestyle=":")
    axes.set_xticks(list(places), [f"{loss:.0%}" for loss in losses])
    axes.set_ylim(-0.02, 1.04)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.grid(axis="y", color="#e5e5e5", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel(f"loss of {LABELS[metric]} in {power.slice} ({power.n} queries), share of its mean")
    axes.set_ylabel("blocked")
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    smallest = power.smallest_unchanged
    told = (
        f"a loss of {smallest:.0%} in {power.slice} is caught"
        if smallest
        else f"no tried loss in {power.slice} is caught"
    )
    set_title(figure, f"What the gate can see: {told} in a model that is otherwise unchanged")
    return as_png(figure)


def reliability_png(quality: DecisionQuality) -> bytes:
    """How often a probability was right, by bin (the reliability diagram); the area of a dot is its number of pairs."""
    figure, axes = new_figure(rows=7)
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--", label="perfectly calibrated")
    most = max(part.n for part in quality.bins)
    axes.plot([p.probability for p in quality.bins], [p.frequency for p in quality.bins], color=OURS, linewidth=1.5)
    sizes = [30 + 270 * part.n / most for part in quality.bins]
    axes.scatter([p.probability for p in quality.bins], [p.frequency for p in quality.bins], s=sizes, color=OURS)
    for part in quality.bins:
        axes.annotate(
            f"{part.n:,}", (part.probability, part.frequency), (9, -11), textcoords="offset points", fontsize=8
        )
    axes.axvline(quality.threshold, color=LOSS, linewidth=1, label=f"threshold {quality.threshold:.2f}")
    axes.set_xlim(-0.03, 1.05)
    axes.set_ylim(-0.05, 1.08)
    axes.set_xlabel("probability that the model gives (mean of the bin)")
    axes.set_ylabel("share that are matches")
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    error = quality.metrics["calibration error"]
    set_title(figure, f"{quality.system}: probabilities are off by {error.mean:.3f} on average ({quality.n:,} pairs)")
    return as_png(figure)


def _group(row: Exposure, challenger: str) -> str:
    return f"{shortened(row.group, 18)}  ({row.exposure[challenger]:.1%} of {row.relevance:.1%})"
