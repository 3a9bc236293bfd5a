"""What a Flux Kustomization and its source say about a commit.

Fields and reasons are those of ``kustomize.toolkit.fluxcd.io/v1`` (kustomize-controller) and
``source.toolkit.fluxcd.io/v1`` (source-controller). ``lastAttemptedRevision`` is set once the artifact was fetched and
the path found; ``lastAppliedRevision`` only after apply, prune and health checks succeeded. A Kustomization that waits
for health may cover a whole environment: then the health of other models is part of what it reports.
"""

from __future__ import annotations

import re

from rankops.overlays.objects import Object, dig
from rankops.overlays.sync.state import (
    OURS,
    Relate,
    Relation,
    SyncState,
    condition,
    elsewhere,
    git_commit,
    number,
    text,
)

GROUP, VERSION, PLURAL = "kustomize.toolkit.fluxcd.io", "v1", "kustomizations"
SOURCE_GROUP = "source.toolkit.fluxcd.io"
_SOURCE_COMMAND = {"GitRepository": "git", "OCIRepository": "oci", "Bucket": "bucket"}
_CHECKING = re.compile(r"Running health checks for revision (\S+)")
SOURCES = {
    "GitRepository": "gitrepositories",
    "OCIRepository": "ocirepositories",
    "Bucket": "buckets",
    "ExternalArtifact": "externalartifacts",
}
"""Kinds that ``spec.sourceRef`` may name, and how the API calls their collections."""


def kustomization_state(kustomization: Object, source: Object | None, relate: Relate) -> SyncState:
    """Has this Kustomization applied our commit, and is it healthy?

    ``source`` is what its ``sourceRef`` names, where it could be read: it explains why our commit does not arrive.
    """
    if (halted := _halted(kustomization)) is not None:
        return halted
    ready = condition(kustomization, "Ready")
    if ready is None:
        return SyncState("progressing", None, "was not reconciled yet", "NotReconciled")
    if not _is_current(ready, kustomization):
        return _unobserved(kustomization)
    if ready.get("status") == "True":
        return _ready(kustomization, source, relate)
    if ready.get("status") == "False":
        return _not_ready(kustomization, ready, source, relate)
    working = condition(kustomization, "Reconciling") or ready
    message = text(working, "message")
    checked = _CHECKING.match(message)
    commit = git_commit(checked[1]) if checked else None
    applied = commit is not None and relate(commit) in OURS
    return SyncState("progressing", _applied(kustomization), message, text(working, "reason"), applied=applied)


def source_problem(source: Object | None) -> SyncState | None:
    """Why a source brings no new revision, or None where it does its work."""
    if source is None:
        return None
    subject = f"{source.get('kind', 'source')} {text(source, 'metadata', 'name')}"
    revision = git_commit(dig(source, "status", "artifact", "revision"))
    if dig(source, "spec", "suspend") is True:
        kind = _SOURCE_COMMAND.get(str(source.get("kind")), "...")
        remedy = f"flux resume source {kind} {text(source, 'metadata', 'name')}"
        return SyncState("suspended", revision, "is suspended", "Suspended", remedy).about(subject)
    stalled = condition(source, "Stalled")
    if stalled and stalled.get("status") == "True":
        return SyncState("stalled", revision, text(stalled, "message"), text(stalled, "reason")).about(subject)
    for kind, bad in (("FetchFailed", "True"), ("SourceVerified", "False"), ("Ready", "False")):
        found = condition(source, kind)
        if found and found.get("status") == bad and _is_current(found, source):
            return SyncState("failed", revision, text(found, "message"), text(found, "reason")).about(subject)
    return None


def _halted(kustomization: Object) -> SyncState | None:
    """Suspended by a person, or stalled by an error that the controller does not try again."""
    if dig(kustomization, "spec", "suspend") is True:
        remedy = f"flux resume kustomization {text(kustomization, 'metadata', 'name')}"
        return SyncState("suspended", _applied(kustomization), "is suspended", "Suspended", remedy)
    stalled = condition(kustomization, "Stalled")
    if stalled and stalled.get("status") == "True" and _is_current(stalled, kustomization):
        return SyncState("stalled", _applied(kustomization), text(stalled, "message"), text(stalled, "reason"))
    return None


def _ready(kustomization: Object, source: Object | None, relate: Relate) -> SyncState:
    if number(kustomization, "status", "observedGeneration") < number(kustomization, "metadata", "generation"):
        return _unobserved(kustomization)
    applied = _applied(kustomization)
    relation = relate(applied) if applied else None
    if relation in OURS:
        return SyncState("healthy", applied, text(condition(kustomization, "Ready"), "message"), str(relation))
    if relation == "superseded":
        return elsewhere(relation, applied)
    return _not_arrived(kustomization, applied, relation, source, relate)


def _not_ready(kustomization: Object, ready: Object, source: Object | None, relate: Relate) -> SyncState:
    reason, message = text(ready, "reason"), text(ready, "message")
    applied = _applied(kustomization)
    if reason == "DependencyNotReady":
        return SyncState("progressing", applied, message, reason)
    attempted = git_commit(dig(kustomization, "status", "lastAttemptedRevision"))
    relation = relate(attempted) if attempted else None
    if relation == "superseded":
        return elsewhere(relation, attempted, message)
    # An artifact that cannot be fetched, or lacks the path, fails before anything is attempted: it concerns our commit
    # as much as the one that was attempted before.
    if relation in OURS or reason == "ArtifactFailed":
        checked = relation in OURS and reason == "HealthCheckFailed"  # apply and prune came before, and succeeded
        return SyncState("failed", attempted, message, reason, applied=checked)
    late = _not_arrived(kustomization, attempted, relation, source, relate)
    return SyncState(late.phase, late.revision, f"{late.message}; its last attempt failed: {message}", late.reason)


def _not_arrived(
    kustomization: Object, revision: str | None, relation: Relation | None, source: Object | None, relate: Relate
) -> SyncState:
    """The Kustomization stands somewhere else: is our commit at least on its way?"""
    if (problem := source_problem(source)) is not None:
        return problem
    fetched = git_commit(dig(source, "status", "artifact", "revision"))
    if fetched and relate(fetched) in OURS:
        name = text(kustomization, "metadata", "name")
        return SyncState("progressing", revision, f"{fetched[:12]} is fetched; {name} has yet to apply it", "Fetched")
    return elsewhere(relation or "older", revision)


def _applied(kustomization: Object) -> str | None:
    """The Git commit that was applied: for OCI artifacts, that of the origin."""
    status = dig(kustomization, "status")
    return git_commit(dig(status, "lastAppliedOriginRevision")) or git_commit(dig(status, "lastAppliedRevision"))


def _is_current(found: Object, owner: Object) -> bool:
    """Was the condition written for the spec that stands now? Conditions without a generation are taken to be."""
    seen = found.get("observedGeneration")
    return not isinstance(seen, int) or seen >= number(owner, "metadata", "generation")


def _unobserved(kustomization: Object) -> SyncState:
    generation = number(kustomization, "metadata", "generation")
    message = f"generation {generation} of its spec was not reconciled yet"
    return SyncState("progressing", _applied(kustomization), message, "GenerationNotObserved")
