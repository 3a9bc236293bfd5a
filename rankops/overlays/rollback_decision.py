"""Whether a symptom takes the live release out of service: a pure function, and the record it leaves also for "no".

A machine rolls back at most once for each release that goes live, never what came back by a rollback, and never for
a symptom that may be older than the release. Everything else is a person's decision, and the record says so.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from rankops.files import digest_of
from rankops.store import ArtifactStore

Verdict = Literal["roll back", "not now", "no", "a person must decide"]

NAMED = 12
"""Digits of a digest that name a release; metrics and alerts carry so many."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Symptom(_Frozen):
    """Something that speaks against what is live.

    ``since`` is the earliest time at which it can have begun (with time zone), ``release`` the digest, or at least
    its first twelve digits, of the release that it names. ``about_release`` is False where the check itself could
    not be made (no network, no cluster): then it says nothing about the release.
    """

    kind: Literal["verification", "alert"]
    name: str
    evidence: str
    release: str | None
    since: datetime
    source: str = Field(description="run id of a verification, fingerprint of an alert")
    about_release: bool = True

    @property
    def fingerprint(self) -> str:
        """Equal for the same symptom seen again, also where an alert flickers."""
        return digest_of([self.kind, self.name, self.release, self.source])

    @property
    def reason(self) -> str:
        """One line for the commit and the quarantine."""
        return one_line(f"{self.kind} {self.name}: {self.evidence}")


class RollbackPolicy(_Frozen):
    """How freely a machine may roll back."""

    window: timedelta = Field(
        default=timedelta(hours=2),
        description="a symptom that names no release blames one that went live at most this long before it began",
    )
    cooldown: timedelta = Field(default=timedelta(minutes=30), description="after any rollback here")
    most_a_day: int = Field(default=3, ge=1, description="rollbacks here within 24 hours, people's included")
    max_attempts: int = Field(default=2, ge=1, description="runs for the same live release, failed ones")


class RollbackAttempt(_Frozen):
    """One run that was started to take a release out. ``started_at`` carries a time zone."""

    release: str
    attempt: int = Field(ge=1)
    started_at: datetime
    status: Literal["running", "succeeded", "failed"]


class Situation(_Frozen):
    """What stands, from Git and the records of verifications.

    ``live_since`` is when the branch got the live release, ``came_back_by`` the rollback that brought it (None for a
    deployed one), ``candidate`` the release that would come back, ``rollbacks`` the times of earlier ones.
    """

    environment: str
    model: str
    live: str | None = None
    live_since: datetime | None = None
    live_commit: str | None = None
    came_back_by: str | None = None
    candidate: str | None = None
    quarantined: tuple[str, ...] = ()
    rollbacks: tuple[datetime, ...] = ()
    attempts: tuple[RollbackAttempt, ...] = ()

    @property
    def tries(self) -> tuple[RollbackAttempt, ...]:
        """Attempts against the live release since it went live; it may have been live before."""
        since = self.live_since
        return tuple(a for a in self.attempts if a.release == self.live and since is not None and a.started_at >= since)


class RollbackDecision(_Frozen):
    """Why a machine did, or did not, roll back."""

    environment: str
    model: str
    verdict: Verdict
    reasons: tuple[str, ...]
    symptom: Symptom
    live: str | None
    candidate: str | None
    attempt: int
    run_key: str
    decided_at: datetime

    @property
    def record_name(self) -> str:
        """Where :func:`save_decision` puts it below the store's root: one record a symptom and live release."""
        live = (self.live or "nothing")[:NAMED]
        return f"rollbacks/{self.environment}/{self.model}/{live}-{self.symptom.fingerprint[:NAMED]}.json"


def decide(symptom: Symptom, situation: Situation, policy: RollbackPolicy, now: datetime) -> RollbackDecision:
    """Roll back where the symptom is about the live release and nothing speaks against it.

    Every objection is listed. "no" outweighs "a person must decide", and that "not now", which alone is worth asking
    again. ``now`` must carry a time zone.
    """
    no = _not_about_it(symptom, situation, policy)
    person = _for_a_person(situation, policy, now)
    later = _not_yet(situation, policy, now)
    verdict: Verdict = "no" if no else "a person must decide" if person else "not now" if later else "roll back"
    attempt = 1 + max((a.attempt for a in situation.tries), default=0)
    live, commit = (situation.live or "nothing")[:NAMED], (situation.live_commit or "nothing")[:NAMED]
    return RollbackDecision(
        environment=situation.environment,
        model=situation.model,
        verdict=verdict,
        reasons=(*no, *person, *later) or (symptom.reason,),
        symptom=symptom,
        live=situation.live,
        candidate=situation.candidate,
        attempt=attempt,
        run_key=f"rollback-{situation.environment}-{situation.model}-{live}-{commit}-{attempt}",
        decided_at=now,
    )


def names(named: str, release: str) -> bool:
    """True where ``named`` (a whole digest or at least its first twelve digits) is ``release``."""
    return len(named) >= NAMED and release.startswith(named)


def one_line(text: str, limit: int = 300) -> str:
    """``text`` without line breaks and control characters, cut at ``limit``."""
    flat = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def _not_about_it(symptom: Symptom, situation: Situation, policy: RollbackPolicy) -> list[str]:
    live, since = situation.live, situation.live_since
    if live is None or since is None:
        return ["nothing is released here"]
    found = []
    if not symptom.about_release:
        found.append(f"the check could not be made, which says nothing about the release: {one_line(symptom.evidence)}")
    if symptom.release is not None and not names(symptom.release, live):
        out = any(names(symptom.release, digest) for digest in situation.quarantined)
        found.append(
            f"it speaks of release {symptom.release[:NAMED]}, {'quarantined already' if out else 'not the live one'}; "
            f"{live[:NAMED]} is live"
        )
    if symptom.since < since:
        found.append(
            f"it may have begun {symptom.since:%Y-%m-%d %H:%M:%S}, before {live[:NAMED]} went live "
            f"({since:%Y-%m-%d %H:%M:%S})"
        )
    elif symptom.release is None and symptom.since > since + policy.window:
        found.append(
            f"it names no release, and {live[:NAMED]} had been live since {since:%Y-%m-%d %H:%M}, longer than "
            f"{_span(policy.window)} before it began"
        )
    return found


def _for_a_person(situation: Situation, policy: RollbackPolicy, now: datetime) -> list[str]:
    found = []
    if situation.came_back_by is not None:
        found.append(
            f"{(situation.live or '')[:NAMED]} came back by rollback {situation.came_back_by[:NAMED]}, and a machine "
            "does not undo that"
        )
    if situation.candidate is None:
        found.append("no earlier release that verified here and is not quarantined could come back")
    if sum(now - when < timedelta(days=1) for when in situation.rollbacks) >= policy.most_a_day:
        found.append(f"{policy.most_a_day} rollbacks within a day are the limit")
    tries = situation.tries
    if any(a.status == "succeeded" for a in tries):
        found.append("its rollback was proposed already; merge or close that pull request")
    elif sum(a.status == "failed" for a in tries) >= policy.max_attempts:
        found.append(f"{policy.max_attempts} attempts to roll back failed: look at their runs")
    return found


def _not_yet(situation: Situation, policy: RollbackPolicy, now: datetime) -> list[str]:
    found = []
    if any(a.status == "running" for a in situation.tries):
        found.append("a run that rolls it back is on its way")
    until = max(situation.rollbacks, default=None)
    if until is not None and now < until + policy.cooldown:
        found.append(f"the last rollback was {until:%Y-%m-%d %H:%M}; {_span(policy.cooldown)} must pass before another")
    return found


def _span(value: timedelta) -> str:
    minutes = int(value.total_seconds() // 60)
    return f"{minutes // 60} h" if minutes % 60 == 0 else f"{minutes} min"


def save_decision(store: ArtifactStore, decision: RollbackDecision) -> tuple[str, bool]:
    """Write the record and return ``(its URL, whether it says anything new)``.

    A changed answer replaces the record and keeps what it said before in its list ``earlier``; the same answer again
    writes nothing, so that an alert that never resolves leaves one record and not one a tick.
    """
    value = decision.model_dump(mode="json")
    standing = store.read_json(decision.record_name)
    earlier: list[object] = []
    if standing is not None:
        if _said(standing) == _said(value):
            return f"{store.root}/{decision.record_name}", False
        earlier = [*standing.pop("earlier", []), standing]
    return store.write_json(decision.record_name, {**value, "earlier": earlier}), True


def decision_markdown(decision: RollbackDecision) -> str:
    """The verdict, why, and about what."""
    symptom = decision.symptom
    rows = [
        ("symptom", symptom.reason),
        ("since", f"{symptom.since:%Y-%m-%d %H:%M:%S %Z}"),
        ("live release", (decision.live or "none")[:NAMED]),
        ("would come back", (decision.candidate or "none")[:NAMED]),
        ("attempt", str(decision.attempt)),
        ("decided at", f"{decision.decided_at:%Y-%m-%d %H:%M:%S %Z}"),
    ]
    where = f"{decision.model} in {decision.environment}"
    lines = [f"{where}: **{decision.verdict}**", "", *_bullets(decision.reasons), "", "| | |", "|---|---|"]
    return "\n".join([*lines, *(f"| {name} | {_plain(value)} |" for name, value in rows)]) + "\n"


def _bullets(reasons: Iterable[str]) -> list[str]:
    return [f"- {_plain(reason)}" for reason in reasons]


def _plain(text: str) -> str:
    """Alerts carry text from outside: no markup, pipe or line end of theirs may escape from its place."""
    flat = one_line(text, 1000).replace("\\", "\\\\").replace("|", "\\|").replace("`", "\\`")
    return flat.replace("<", "&lt;").replace(">", "&gt;").replace("[", "\\[").replace("*", "\\*")


def _said(value: dict[str, object]) -> dict[str, object]:
    return {key: value.get(key) for key in ("verdict", "reasons", "attempt")}
