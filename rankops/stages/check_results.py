"""What a check of overlays found: plain values that the command line prints in several forms."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong. ``file`` is relative to the repository; a ``warning`` alone fails nothing."""

    rule: str
    message: str
    file: str
    remedy: str | None = None
    level: Literal["error", "warning"] = "error"


@dataclass(frozen=True)
class OverlayReport:
    """One overlay: how many objects it renders, which release it pins and what is known of it, what is wrong.

    ``diff`` is the change of the rendered text against the base (empty without one), ``seconds`` the time it took.
    """

    name: str
    folder: str
    objects: int
    release: str | None
    state: str
    problems: tuple[Problem, ...] = ()
    diff: str = ""
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """True where nothing but warnings was found."""
        return not any(problem.level == "error" for problem in self.problems)


@dataclass(frozen=True)
class CheckResult:
    """A whole check. ``commits`` are problems of the commits between ``base`` and ``head``, which no overlay owns."""

    overlays: tuple[OverlayReport, ...]
    commits: tuple[Problem, ...] = ()
    base: str | None = None
    head: str | None = None
    untouched: int = 0
    kubernetes: tuple[str, ...] = field(default=())

    @property
    def problems(self) -> list[Problem]:
        """Everything that was found: of the commits first, then overlay by overlay."""
        return [*self.commits, *(problem for overlay in self.overlays for problem in overlay.problems)]

    @property
    def ok(self) -> bool:
        """True where the change may be merged."""
        return not any(problem.level == "error" for problem in self.problems)

    def as_json(self) -> dict[str, Any]:
        """The result for machines."""
        from dataclasses import asdict

        overlays = [{**asdict(overlay), "ok": overlay.ok} for overlay in self.overlays]
        return {**asdict(self), "ok": self.ok, "overlays": overlays}
