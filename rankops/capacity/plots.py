"""A capacity as a picture (PNG bytes)."""

from __future__ import annotations

from io import BytesIO

from rankops.release.capacity import ReleaseCapacity

_MET, _MISSED = "#1f6feb", "#c0392b"


def stages_png(capacity: ReleaseCapacity) -> bytes:
    """p99 over the rate, a point a stage (blue: it met the objective); the band is the capacity's interval."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import ScalarFormatter

    figure = Figure(figsize=(7.2, 3.0), layout="constrained")
    axes = figure.subplots()
    for stage in capacity.stages:
        colour = _MISSED if stage["missed"] else _MET
        axes.plot([stage["rate"]], [stage["p99_ms"]], "o", color=colour, markersize=4)
    axes.axhline(capacity.objective_ms, color=_MISSED, linestyle="--", linewidth=1)
    if capacity.interval is not None:
        low, high = capacity.interval
        axes.axvspan(low, high or max(stage["rate"] for stage in capacity.stages), color=_MET, alpha=0.12)
    axes.set_yscale("log")
    for axis in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        axis(ScalarFormatter())
    axes.set_xlabel(f"requests/s on {capacity.cores} core(s), Poisson arrivals")
    axes.set_ylabel("p99 in ms")
    axes.set_title(capacity.sentence(), fontsize=9, loc="left")
    target = BytesIO()
    figure.savefig(target, format="png", dpi=110)
    return target.getvalue()
