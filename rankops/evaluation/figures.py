"""How this room draws: one look for every picture, with matplotlib's object API (no global state, safe in threads)."""

from __future__ import annotations

import io
import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito's palette: told apart by people with any colour vision.
OURS, OTHER, GAIN, LOSS, GREY = "#0072B2", "#555555", "#009E73", "#D55E00", "#999999"
LONGEST = 34
TITLE_WIDTH = 78


def name_rows(axes: Axes, names: list[str]) -> None:
    """Names beside the rows, and the grid of a dot plot."""
    axes.set_yticks(range(len(names)), [shortened(name, LONGEST + 10) for name in names])
    axes.set_ylim(-0.6, len(names) - 0.3)
    axes.grid(axis="x", color="#e5e5e5", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)


def new_figure(rows: int) -> tuple[Figure, Axes]:
    """A figure as tall as its rows need, and its axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.5, 1.4 + 0.45 * rows), layout="constrained")
    axes = figure.add_subplot()
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    return figure, axes


def notice(text: str) -> bytes:
    """A picture that says why there is nothing to draw."""
    figure, axes = new_figure(rows=1)
    axes.axis("off")
    axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes)
    return as_png(figure)


def as_png(figure: Figure) -> bytes:
    """PNG bytes."""
    buffer = io.BytesIO()
    # No software tag: equal evaluations give equal bytes, and so equal digests.
    figure.savefig(buffer, format="png", dpi=120, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


def set_title(figure: Figure, text: str) -> None:
    """A bold title at the figure's left edge, wrapped, so that long names stay inside the picture."""
    lines = textwrap.fill(text, TITLE_WIDTH, break_on_hyphens=False).replace("$", r"\$")
    figure.suptitle(lines, x=0.01, ha="left", weight="bold", fontsize=12)


def shortened(name: str, longest: int = LONGEST) -> str:
    """The name without its middle where it is too long: category paths and digests differ at their ends."""
    if len(name) > longest:
        tail = longest // 2
        name = f"{name[: longest - tail - 1]}…{name[-tail:]}"
    # A dollar sign would start matplotlib's math mode.
    return name.replace("$", r"\$")
