"""Pictures of a training run."""

from __future__ import annotations

from io import BytesIO

from rankops.training.job import Teaching, TrainingResult

_LOSS, _METRIC = "#4c72b0", "#c44e52"
Curve = list[tuple[int, float]]


def training_curve(result: TrainingResult) -> bytes:
    """PNG: the loss of each step (left axis) and the dev metric at each evaluation (right axis), best step marked."""
    ended = "stopped early" if result.stopped_early else "all steps"
    return _curve(
        result.losses,
        result.dev_curve,
        best_step=result.best_step,
        metric=f"dev {result.metric}",
        title=f"{result.pairs:,} pairs, {result.steps} steps ({ended}); dotted: base model",
    )


def lessons_curve(teaching: Teaching) -> bytes:
    """PNG: the same of what the base model learned from its teacher."""
    return _curve(
        teaching.losses,
        teaching.curve,
        best_step=teaching.best_step,
        metric="agreement with the teacher",
        title=f"{teaching.queries:,} made-up queries, {teaching.products:,} product texts; dotted: base model",
    )


def _curve(losses: Curve, values: Curve, *, best_step: int, metric: str, title: str) -> bytes:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 3.6), dpi=110, layout="constrained")
    left = figure.add_subplot()
    left.plot(*zip(*losses, strict=True), color=_LOSS, linewidth=1.2, label="loss")
    left.set_xlabel("step")
    left.set_ylabel("training loss", color=_LOSS)
    left.set_ylim(bottom=0)
    left.grid(alpha=0.25)
    right = left.twinx()
    right.plot(*zip(*values, strict=True), color=_METRIC, marker="o", linewidth=1.6)
    right.axhline(values[0][1], color=_METRIC, linestyle=":", linewidth=1)
    best = dict(values)[best_step]
    right.annotate(
        f"best {best:.3f}",
        (best_step, best),
        textcoords="offset points",
        xytext=(0, -16),
        ha="right",
        color=_METRIC,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1},
    )
    right.set_ylabel(metric, color=_METRIC)
    right.margins(y=0.2)
    left.set_title(title, fontsize=10)
    out = BytesIO()
    figure.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()
