"""How the session of a release's model is opened, by measurement: cores of one run, and memory kept between runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from rankops.advice.rules import proven
from rankops.advice.sweep import Change, as_rows, sweep
from rankops.capacity.measure import Plan
from rankops.release.capacity import MeasuredSession

DEFAULT: dict[str, Any] = {"session_threads": 1, "session_arena": "on"}


def measure_session(
    folder: Path, public_key: Path, plan: Plan, *, progress: Callable[[str], None] = lambda _: None
) -> MeasuredSession:
    """The session with the most throughput on ``plan.cores`` cores, in about ``plan.seconds``.

    Another one than the default must be better beyond doubt (:func:`rankops.advice.rules.proven`); results do not
    depend on it. Raises :class:`rankops.errors.RankopsError` where the server does not come up.
    """
    changes = [Change("session_arena", "off")]
    if plan.cores > 1:
        changes.append(Change("session_threads", plan.cores))
    plain = replace(plan, settings={**plan.settings, **DEFAULT})
    variants = sweep(folder, public_key, plain, changes=changes, progress=progress)
    best = DEFAULT | {variant.setting: variant.value for variant in variants if proven(variant)}
    return MeasuredSession(
        threads=best["session_threads"],
        arena=best["session_arena"] == "on",
        tried=[dict(row) for row in as_rows(variants)],
    )


def as_settings(session: MeasuredSession) -> dict[str, Any]:
    """The server's settings for it, where they are not the default."""
    settings = {"session_threads": session.threads, "session_arena": "on" if session.arena else "off"}
    return {name: value for name, value in settings.items() if value != DEFAULT[name]}
