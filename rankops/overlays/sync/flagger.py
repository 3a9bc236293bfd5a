"""What a Flagger Canary says: progressive delivery in front of the Deployment that serves.

With a Canary, the Deployment that the overlay names is the candidate; users are served by ``<name>-primary``, whose
template becomes the candidate's once the analysis has passed. Phases are those of ``flagger.app/v1beta1``.
"""

from __future__ import annotations

from rankops.overlays.objects import Object
from rankops.overlays.sync.state import SyncState, condition, number, text

GROUP, VERSION, PLURAL = "flagger.app", "v1beta1", "canaries"

_PROMOTED = ("Initialized", "Succeeded")


def canary_state(canary: Object) -> SyncState:
    """Is the candidate promoted? ``healthy``: no analysis is open (which release won is the primary's to say)."""
    phase = text(canary, "status", "phase")
    message = text(condition(canary, "Promoted"), "message")
    if phase in _PROMOTED:
        return SyncState("healthy", None, message or f"canary {phase}", phase)
    if phase == "Failed":
        return SyncState(
            "failed",
            None,
            f"the canary analysis failed and the primary was kept: {message or 'no message'}",
            "CanaryFailed",
            "kubectl describe canary tells which metric failed",
            about_release=True,
        )
    if phase in ("Terminating", "Terminated"):
        return SyncState("stalled", None, "the canary is being removed", phase)
    weight = number(canary, "status", "canaryWeight")
    said = f"canary {phase or 'not seen by Flagger yet'}, {weight} % of the traffic"
    return SyncState("progressing", None, f"{said}: {message}" if message else said, phase or "Unknown")
