"""How commits that a controller reports relate to the one that we wait for; Git is asked, never guessed."""

from __future__ import annotations

from rankops.errors import BadInput, RemoteUnavailable
from rankops.overlays.mirror import GitRemote
from rankops.overlays.sync.state import Relation, Transient
from rankops.overlays.transaction import Target, read_standing


class CommitRelation:
    """Relates commits to ``commit``, at which the overlay of ``target`` pins ``release``. Answers are remembered."""

    def __init__(self, remote: GitRemote, target: Target, commit: str, release: str) -> None:
        self._remote, self._target = remote, target
        self._commit, self._release = commit, release
        self._paths = target.layout.build_paths(target.environment, target.model)
        self._known: dict[str, Relation] = {}

    def __call__(self, commit: str) -> Relation:
        """The relation of ``commit`` to ours. Raises :class:`Transient` where the remote cannot be asked."""
        if commit == self._commit:
            return "same"
        if commit not in self._known:
            found = self._relate(commit)
            if found == "unknown":  # it may be pushed a moment later
                return found
            self._known[commit] = found
        return self._known[commit]

    def _relate(self, commit: str) -> Relation:
        if not self._is_here(commit):
            self._fetch()
            if not self._is_here(commit):
                return "unknown"
        remote = self._remote
        if remote.fingerprint(commit, self._paths) == remote.fingerprint(self._commit, self._paths):
            return "contains" if remote.is_ancestor(self._commit, commit) else "equivalent"
        if remote.is_ancestor(self._commit, commit):
            pin = read_standing(remote, commit, self._target).pin
            return "contains" if pin is not None and pin.release == self._release else "superseded"
        return "older" if remote.is_ancestor(commit, self._commit) else "unrelated"

    def _is_here(self, commit: str) -> bool:
        try:
            self._remote.info(commit)
        except BadInput:
            return False
        return True

    def _fetch(self) -> None:
        try:
            self._remote.fetch(self._target.branch)
        except RemoteUnavailable as error:
            raise Transient(error.problem, error.remedy) from error
