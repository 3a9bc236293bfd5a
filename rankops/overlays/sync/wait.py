"""Waiting until a commit is live, or until it is clear that it will not be."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from rankops.overlays.sync.state import MANUAL_SYNC, NotLive, SyncState, Transient

_TOLD_EVERY = 30.0  # seconds between progress messages while nothing changes


@dataclass(frozen=True)
class Patience:
    """Seconds. ``failure``: how long a controller (or a kubelet) may go on trying after the first failure."""

    timeout: float = 900.0
    poll: float = 3.0
    failure: float = 120.0


@dataclass(frozen=True)
class Clock:
    """Time, for tests to replace."""

    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], datetime] = lambda: datetime.now(UTC)


def wait_until_live(
    look: Callable[[], SyncState],
    *,
    expected: str,
    patience: Patience,
    clock: Clock,
    progress: Callable[[str], None],
) -> float:
    """Look again and again until the state is healthy; the seconds that it took, 0 where the first look saw it so.

    ``expected`` is the commit, for messages.

    Gives up at once where waiting cannot help, after ``patience.failure`` of failure or suspension, and at the time
    limit: :class:`NotLive`, with the last message of the controller or the pod. A controller that tries again looks
    like progress in between, so the seconds in failure are added up. An API server that stops answering is waited for
    as long as a failure; one that never answered is not.
    """
    begun = clock.monotonic()
    watch = _Watch(expected, patience, progress)
    while True:
        now = clock.monotonic() - begun
        try:
            state = look()
        except Transient as error:
            if watch.state is None or watch.unreachable(now, error):
                raise
        else:
            if state.phase == "healthy":
                progress(f"live: {state.message}")
                return now if watch.state else 0.0
            watch.judge(state, now)
        if now >= patience.timeout:
            raise watch.timed_out()
        clock.sleep(min(patience.poll, max(patience.timeout - now, 0.0)))


def _is_failing(state: SyncState | None) -> bool:
    """In failure, or told by a person not to act (unless a person is to press Sync: that is waited for)."""
    if state is None or state.reason == MANUAL_SYNC:
        return False
    return state.phase in ("failed", "suspended")


class _Watch:
    """What was seen so far."""

    def __init__(self, expected: str, patience: Patience, progress: Callable[[str], None]) -> None:
        self._expected, self._patience, self._progress = expected, patience, progress
        self.state: SyncState | None = None
        self._failure: SyncState | None = None
        self._failing = 0.0  # seconds between looks that both saw a failure
        self._looked_at = 0.0
        self._silent_since: float | None = None
        self._told: tuple[float, str] = (0.0, "")

    def judge(self, state: SyncState, now: float) -> None:
        """Take in one state that is not healthy; raises :class:`NotLive` where it is time to give up."""
        since_last = now - self._looked_at if _is_failing(self.state) else 0.0
        self.state, self._looked_at, self._silent_since = state, now, None
        self._tell(f"{state.phase}: {state.message}", now)
        if state.is_final:
            raise self._given_up(state, "")
        if _is_failing(state):
            self._failure, self._failing = state, self._failing + since_last
            if self._failing >= self._patience.failure:
                raise self._given_up(state, f" for {self._failing:.0f} s")

    def unreachable(self, now: float, error: Transient) -> bool:
        """Note that nothing answered; True when it has been so for too long."""
        self._tell(f"asking again: {error.problem}", now)
        self._silent_since = now if self._silent_since is None else self._silent_since
        return now - self._silent_since >= self._patience.failure

    def timed_out(self) -> NotLive:
        """The error at the time limit; it tells the last failure too, where there was one."""
        state = self.state
        said = state.message if state else "nothing was seen"
        if self._failure and self._failure.message != said:
            said += f"; before that: {self._failure.message}"
        return NotLive(
            f"commit {self._expected} is not live after {self._patience.timeout:.0f} s: {said}",
            (state.remedy if state else None) or "see what the controller waits for; verify again when it is done",
            state,
        )

    def _given_up(self, state: SyncState, how_long: str) -> NotLive:
        label = f"{state.phase}{how_long}" + (f" ({state.reason})" if state.reason else "")
        by = "repair it by a commit, or roll back" if state.about_release else "repair what the message names"
        remedy = state.remedy or f"{by}; then verify again"
        return NotLive(f"commit {self._expected} is not live: {label}: {state.message}", remedy, state)

    def _tell(self, message: str, now: float) -> None:
        at, last = self._told
        if message != last or now - at >= _TOLD_EVERY:
            self._progress(message)
            self._told = (now, message)
