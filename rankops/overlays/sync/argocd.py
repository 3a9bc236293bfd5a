"""What an Argo CD Application says about a commit.

Fields are those of ``argoproj.io/v1alpha1``. ``status.sync.revision`` is the commit that the live state was *compared*
with: only together with ``Synced`` does it say what runs. With several sources ``status.sync.revisions`` lists one
revision for each, in the order of ``spec.sources``. With a source hydrator the synced commit is a rendered one, and
``status.sourceHydrator.lastSuccessfulOperation`` names the (dry) commit that it was rendered from.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from rankops.overlays.objects import Object, dig, items, mapping, strings
from rankops.overlays.sync.state import MANUAL_SYNC, OURS, Relate, Relation, SyncState, elsewhere, git_commit, text

GROUP, VERSION, PLURAL = "argoproj.io", "v1alpha1", "applications"

_ERRORS = ("ComparisonError", "InvalidSpecError", "SyncError", "UnknownError", "DeletionError")
_SHA = re.compile(r"\b[0-9a-f]{40}\b")


def application_state(application: Object, relate: Relate, overlay: str) -> SyncState:
    """Has this Application synced our commit, and is it healthy?

    ``overlay`` is the overlay's folder in the repository: it tells which of several sources is ours.
    """
    revision = _compared(application, relate, overlay)
    found = next(_troubles(application, relate, overlay, revision), None) or _incomparable(application, revision)
    if found is not None or revision is None:
        return found or SyncState("progressing", None, "was not compared with Git yet", "Unknown")
    relation = relate(revision)
    if relation not in OURS:
        return elsewhere(relation, revision)
    if text(application, "status", "sync", "status") == "OutOfSync":
        return _out_of_sync(application, revision, relate, overlay)
    return _by_health(application, revision, relation)


def _incomparable(application: Object, revision: str | None) -> SyncState | None:
    """Why the comparison says nothing about the spec that stands now; None where it does."""
    status, compared = text(application, "status", "sync", "status"), mapping(application, "status", "sync")
    if status not in ("Synced", "OutOfSync"):
        return SyncState("progressing", revision, "was not compared with Git yet", status or "Unknown")
    if not _compares_what_is_asked(application, compared):
        return SyncState(
            "progressing", revision, "its source changed; it was not compared again yet", "StaleComparison"
        )
    if dig(application, "spec", "sourceHydrator") and _dry(application, _synced(application)) is None:
        last = _dry(application, _hydrated(application))
        message = f"stands at rendered commit {revision}, which is not the last one rendered (from {last or 'none'})"
        return SyncState("wrong-revision", revision, message, "WrongRevision")
    return None


def _troubles(application: Object, relate: Relate, overlay: str, revision: str | None) -> Iterator[SyncState]:
    """What matters more than the comparison: hydration, a running or failed operation, error conditions."""
    if dig(application, "metadata", "deletionTimestamp"):
        yield SyncState("stalled", None, "is being deleted", "Deleted")
    hydration = mapping(application, "status", "sourceHydrator", "currentOperation")
    dry = git_commit(hydration.get("drySHA"))
    if hydration.get("phase") == "Failed" and dry and relate(dry) in OURS:
        yield SyncState("failed", dry, f"hydration failed: {text(hydration, 'message')}", "HydrationFailed")
    operation = mapping(application, "status", "operationState")
    phase, message = text(operation, "phase"), text(operation, "message")
    if dig(application, "operation") or phase in ("Running", "Terminating"):
        yield SyncState("progressing", revision, f"sync operation: {message or 'started'}", phase or "Pending")
    done = _pick(application, operation, "syncResult", relate=relate, overlay=overlay)
    if phase in ("Failed", "Error") and done and relate(_dry(application, done) or done) in OURS:
        told = "; ".join([message, *_resource_messages(operation)])
        yield SyncState("failed", done, told, f"Operation{phase}")
    for condition in items(application, "status", "conditions"):
        if condition.get("type") in _ERRORS and _concerns_us(text(condition, "message"), relate):
            kind = str(condition.get("type"))
            yield SyncState("failed", revision, f"{kind}: {text(condition, 'message')}", kind)


def _concerns_us(message: str, relate: Relate) -> bool:
    """An error that names only commits other than ours (a sync that failed before our commit) is not about us."""
    named = _SHA.findall(message)
    return not named or any(relate(sha) in OURS for sha in named)


def _out_of_sync(application: Object, revision: str, relate: Relate, overlay: str) -> SyncState:
    operation = mapping(application, "status", "operationState")
    done = _pick(application, operation, "syncResult", relate=relate, overlay=overlay)
    differing = [
        f"{r.get('kind')}/{r.get('name')}"
        for r in items(application, "status", "resources")
        if r.get("status") == "OutOfSync"
    ]
    listed = f" ({', '.join(differing)})" if differing else ""
    automated = dig(application, "spec", "syncPolicy", "automated")
    if not isinstance(automated, dict) or automated.get("enabled") is False:
        remedy = f"argocd app sync {text(application, 'metadata', 'name')}"
        rolling = any(
            owner.get("kind") == "ApplicationSet" for owner in items(application, "metadata", "ownerReferences")
        )
        waits = "waits for its ApplicationSet, or for a sync by hand" if rolling else "waits for a sync by hand"
        return SyncState("suspended", revision, f"{waits}{listed}", MANUAL_SYNC, remedy)
    if operation.get("phase") == "Succeeded" and done and relate(_dry(application, done) or done) in OURS:
        return SyncState(
            "failed",
            revision,
            f"is out of sync although its last sync succeeded{listed}",
            "Drifted",
            "see what differs (argocd app diff); a field that an autoscaler owns must not be in Git",
        )
    return SyncState("progressing", revision, f"is about to be synced{listed}", "OutOfSync")


def _by_health(application: Object, revision: str, relation: Relation) -> SyncState:
    health = mapping(application, "status", "health")
    status = text(health, "status")
    details = [
        f"{r.get('kind')}/{r.get('name')}: {text(r, 'health', 'message')}"
        for r in items(application, "status", "resources")
        if text(r, "health", "status") == status and text(r, "health", "message")
    ]
    message = "; ".join(filter(None, [f"synced, health {status or 'Unknown'}", text(health, "message"), *details]))
    if status == "Healthy":
        return SyncState("healthy", revision, message, str(relation))
    if status == "Degraded":
        return SyncState("failed", revision, message, status)
    if status == "Suspended":
        return SyncState("suspended", revision, message, status)
    return SyncState("progressing", revision, message, status or "Unknown")


def _compared(application: Object, relate: Relate, overlay: str) -> str | None:
    """The (dry) commit that the live state was compared with."""
    revision = _pick(application, mapping(application, "status"), "sync", relate=relate, overlay=overlay)
    return _dry(application, revision) or revision


def _pick(application: Object, owner: Object, field: str, *, relate: Relate, overlay: str) -> str | None:
    """Our source's revision: the one whose path is the overlay, else the first that our branch knows."""
    result = mapping(owner, field)
    revisions = strings(result, "revisions")
    if not revisions:
        return git_commit(result.get("revision"))
    paths = [text(source, "path").strip("/").removeprefix("./") for source in items(application, "spec", "sources")]
    if overlay in paths and paths.index(overlay) < len(revisions):
        return git_commit(revisions[paths.index(overlay)])
    commits = [commit for revision in revisions if (commit := git_commit(revision))]
    return next((commit for commit in commits if relate(commit) != "unknown"), None)


def _dry(application: Object, revision: str | None) -> str | None:
    """The commit that a hydrated ``revision`` was rendered from; None where no hydrator is used or it is older."""
    if revision is None or _hydrated(application) != revision:
        return None
    return git_commit(dig(application, "status", "sourceHydrator", "lastSuccessfulOperation", "drySHA"))


def _synced(application: Object) -> str | None:
    return git_commit(dig(application, "status", "sync", "revision"))


def _hydrated(application: Object) -> str | None:
    return git_commit(dig(application, "status", "sourceHydrator", "lastSuccessfulOperation", "hydratedSHA"))


def _compares_what_is_asked(application: Object, compared: Object) -> bool:
    asked, seen = dig(application, "spec", "source"), dig(compared, "comparedTo", "source")
    if not isinstance(asked, dict) or not isinstance(seen, dict):
        return True
    return all(asked.get(key, "") == seen.get(key, "") for key in ("repoURL", "path", "targetRevision"))


def _resource_messages(operation: Object) -> list[str]:
    """What went wrong with each resource of a sync."""
    return [
        f"{r.get('kind')}/{r.get('name')}: {text(r, 'message')}"
        for r in items(operation, "syncResult", "resources")
        if r.get("status") == "SyncFailed" or r.get("hookPhase") in ("Failed", "Error")
    ]
