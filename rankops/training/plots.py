"""Pictures of a training run."""

from __future__ import annotations

from io import BytesIO

from rankops.training.job import TrainingResult

_LOSS, _METRIC = "#4c72b0", "#c44e52"


def training_curve(result: TrainingResult) -> bytes:
    """PNG: the loss of each step (left axis) and dev nDCG@10 at each evaluation (right axis), best step marked."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 3.6), dpi=110, layout="constrained")
    left = figure.add_subplot()
    left.plot(*zip(*result.losses, strict=True), color=_LOSS, linewidth=1.2, label="loss")
    left.set_xlabel("step")
    left.set_ylabel("training loss", color=_LOSS)
    left.set_ylim(bottom=0)
    left.grid(alpha=0.25)
    right = left.twinx()
    steps, values = zip(*result.dev_curve, strict=True)
    right.plot(steps, values, color=_METRIC, marker="o", linewidth=1.6)
    right.axhline(result.dev_metric_before, color=_METRIC, linestyle=":", linewidth=1)
    right.annotate(
        f"best {result.dev_metric_best:.3f}",
        (result.best_step, result.dev_metric_best),
        textcoords="offset points",
        xytext=(0, -16),
        ha="right",
        color=_METRIC,
    )
    right.set_ylabel(f"dev {result.metric}", color=_METRIC)
    right.margins(y=0.2)
    ended = "stopped early" if result.stopped_early else "all steps"
    left.set_title(f"{result.pairs:,} pairs, {result.steps} steps ({ended}); dotted: base model", fontsize=10)
    out = BytesIO()
    figure.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()
