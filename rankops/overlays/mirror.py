"""A remote repository, seen through a managed bare mirror: read commits, build commits, push them.

The mirror lives under the state folder and belongs to rankops alone; the user's checkout is never touched, and there
is no work tree to lock, to dirty or to repair. Commits are made by plumbing (blobs, trees, a commit object), so a kill
at any moment leaves loose objects at worst. The remote changes in one atomic step: its ref moves.

The mirror holds the whole history of commits and folders, because lineage and rollback read the log; of the files only
what was read (see ``plumbing.py``). So a mono-repository costs no more than an overlay repository of its own.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from rankops.errors import BadInput, InvalidOverlay, OverlayConflict, RemoteUnavailable
from rankops.files import staged_directory
from rankops.overlays.commits import FORMAT, CommitInfo, parse_commit
from rankops.overlays.git import Git, GitFailed, GitOptions, LostRace, PushRefused, RemoteUrl, explain
from rankops.overlays.locks import file_lock
from rankops.overlays.plumbing import TRACKING, ObjectStore

# How servers say "your ref moved while you pushed"; every other refusal is a rule and final.
_RACE = re.compile(
    r"fetch first|non-fast-forward|stale info|already exists|cannot lock ref|failed to update ref"
    r"|incorrect old value|reference already exists|remote ref updated since",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Entry:
    """One file of a tree: ``mode`` as git writes it (``100644``, ``120000`` for a symbolic link, ...)."""

    mode: str
    oid: str


class GitRemote:
    """One remote repository. ``url`` may carry credentials; they are split off and never shown."""

    def __init__(self, url: str, state: Path, options: GitOptions | None = None) -> None:
        self.url = RemoteUrl.parse(url)
        self.git = Git(self.url, options)
        key = hashlib.sha256(self.url.address.encode()).hexdigest()[:16]
        self._folder = state.resolve() / "mirrors"
        self.mirror = self._folder / f"{key}.git"
        self._objects = ObjectStore(self.git, self.mirror, self.url.address)
        self._run = self._objects.run

    def __repr__(self) -> str:
        return f"GitRemote({self.url})"

    # --- reading -------------------------------------------------------------------------------------------------

    @property
    def is_new(self) -> bool:
        """True before the first fetch, which may take longer than the later ones."""
        return next(self.mirror.glob("objects/pack/*.pack"), None) is None

    def fetch(self, *branches: str) -> None:
        """Bring ``branches`` (a trailing ``*`` matches many, or none) into the mirror; vanished ones are forgotten.

        Raises :class:`RemoteUnavailable` (unreachable, refused) or :class:`BadInput` (no such branch).
        """
        self._create_mirror()
        specs = [f"+refs/heads/{b}:{TRACKING}{b}" for b in branches]
        options = ["--quiet", "--no-tags", "--prune", "--no-write-fetch-head", "--no-recurse-submodules"]
        limit = self.git.options.clone_timeout if self.is_new else self.git.options.timeout
        with self._exclusive(2 * limit) as lock:
            self._objects.remove_leftovers()
            command = ["fetch", *options, self._objects.filter, "--", self.url.address, *specs]
            self.git.network(command, repository=self.mirror, keep_open=(lock,), timeout=limit)
            self._objects.tidy()

    def tip(self, branch: str) -> str | None:
        """The commit that ``branch`` pointed to at the last :meth:`fetch`, or None."""
        name = f"{TRACKING}{branch}"
        out = self._run("for-each-ref", "--format=%(objectname) %(refname)", "--", name).decode()
        return next((sha for sha, ref in map(str.split, out.splitlines()) if ref == name), None)

    def head(self, branch: str) -> str:
        """Fetch and return the commit at the head of ``branch``."""
        self.fetch(branch)
        tip = self.tip(branch)
        if tip is None:
            raise BadInput(f"{self.url} has no branch {branch!r}", "create it, or correct the environment's branch")
        return tip

    def branches(self, prefix: str) -> dict[str, str]:
        """``{branch: commit}`` of the fetched branches that start with ``prefix``."""
        out = self._run("for-each-ref", "--format=%(objectname) %(refname)", "--", TRACKING).decode()
        pairs = ((ref.removeprefix(TRACKING), sha) for sha, ref in map(str.split, out.splitlines()))
        return {name: sha for name, sha in pairs if name.startswith(prefix)}

    def entries(self, commit: str, paths: Sequence[str]) -> dict[str, Entry]:
        """Every file at or below ``paths`` in ``commit``, by path; absent paths are simply not there."""
        out = self._run("ls-tree", "-r", "-z", "--full-tree", commit, "--", *paths)
        found = {}
        for record in out.split(b"\0"):
            if record:
                meta, path = record.decode(errors="surrogateescape").split("\t", 1)
                mode, _, oid = meta.split(" ")
                found[path] = Entry(mode, oid)
        return found

    def read(self, commit: str, *paths: str) -> list[str | None]:
        """The texts of files in ``commit``, None for one that is not there.

        Raises :class:`OverlayConflict` where one is no plain file of UTF-8 text.
        """
        entries = self.entries(commit, paths)
        for path, entry in entries.items():
            if not entry.mode.startswith("100") or path not in paths:
                raise OverlayConflict(
                    f"{path} is not a plain file in {commit[:12]} (git mode {entry.mode})", "replace it by a plain file"
                )
        texts = self.texts(entries, list(entries))
        return [texts.get(path) for path in paths]

    def texts(self, entries: Mapping[str, Entry], paths: Sequence[str]) -> dict[str, str]:
        """The texts of some of ``entries``, all at once. Raises :class:`OverlayConflict` for what is not UTF-8."""
        contents = self._objects.blobs(sorted({entries[path].oid for path in paths}))
        try:
            return {path: contents[entries[path].oid].decode() for path in paths}
        except UnicodeDecodeError as error:
            raise OverlayConflict(f"{' or '.join(paths)} is not UTF-8 text", "restore its last good state") from error

    def export(self, commit: str, paths: Sequence[str], into: Path) -> str:
        """Write the files at or below ``paths`` under ``into``, byte for byte, and return their fingerprint.

        The fingerprint is equal exactly where every path, mode and content is. Raises :class:`InvalidOverlay` for a
        submodule or a symbolic link that leads out of the exported folder.
        """
        entries = self.entries(commit, paths)
        contents = self._objects.blobs(sorted({e.oid for e in entries.values() if e.mode != "160000"}))
        for path, entry in entries.items():
            target = into / path
            target.parent.mkdir(parents=True, exist_ok=True)
            if entry.mode == "120000":
                link = contents[entry.oid].decode()
                _refuse_escape(path, link)
                target.symlink_to(link)
            elif entry.mode == "160000":
                raise InvalidOverlay(f"{path} is a submodule", "copy its files: overlays must build from one commit")
            else:
                target.write_bytes(contents[entry.oid])
        return _fingerprint(entries)

    def fingerprint(self, commit: str, paths: Sequence[str]) -> str:
        """What :meth:`export` would return, without writing anything."""
        return _fingerprint(self.entries(commit, paths))

    def info(self, commit: str) -> CommitInfo:
        """One commit. Raises :class:`BadInput` where the mirror has no such commit."""
        try:
            out = self._run("log", "-1", "--no-show-signature", f"--format={FORMAT}", f"{commit}^{{commit}}", "--")
        except GitFailed as failure:
            raise BadInput(f"{self.url} has no commit {commit!r}", "check the commit; fetch its branch first") from (
                failure
            )
        return parse_commit(out)

    def log(self, commit: str, path: str, limit: int = 1) -> list[CommitInfo]:
        """The last ``limit`` commits up to ``commit`` that changed ``path``, newest first."""
        fields = ["log", f"-{limit}", "-z", "--no-show-signature", f"--format={FORMAT}%x01"]
        out = self._run(*fields, commit, "--", path)
        return [parse_commit(record.lstrip(b"\0")) for record in out.split(b"\x01") if record.strip(b"\0\n")]

    def landed(self, commit: str, path: str) -> tuple[str, datetime] | None:
        """``(sha, time)`` of the last step of the branch itself, up to ``commit``, that changed ``path``.

        A merge counts where it was merged, not where it was written; the time is the committer's, in UTC.
        """
        options = ["-1", "--first-parent", "--no-show-signature", "--format=%H %ct"]
        out = self._run("log", *options, commit, "--", path).decode().split()
        return (out[0], datetime.fromtimestamp(int(out[1]), tz=UTC)) if out else None

    def is_ancestor(self, ancestor: str, commit: str) -> bool:
        """True where ``commit`` contains ``ancestor``."""
        try:
            self._run("merge-base", "--is-ancestor", ancestor, commit)
        except GitFailed as failure:
            if failure.returncode == 1:
                return False
            raise
        return True

    def merge_base(self, one: str, other: str) -> str:
        """The best common ancestor of two commits."""
        return self._run("merge-base", one, other).decode().split()[0]

    def diff(self, before: str, after: str) -> str:
        """The change between two commits as a unified diff."""
        self._objects.ensure_changed(before, after)
        return self._run("diff", "--no-color", "--no-ext-diff", "--no-renames", before, after, "--").decode(
            errors="replace"
        )

    # --- writing -------------------------------------------------------------------------------------------------

    def commit(self, parent: str, changes: Mapping[str, str | None], message: str, *, when: datetime) -> str:
        """Make a commit on ``parent`` that sets (or with None removes) the given files; return its sha.

        Nothing outside the mirror's object store changes until :meth:`push`.
        """
        return self._commit_tree(self._objects.edit(parent, changes), [parent], message, when)

    def push(self, commit: str, branch: str) -> None:
        """Move ``branch`` of the remote forward to ``commit``; never by force.

        Raises :class:`LostRace` where somebody was faster, :class:`PushRefused` where a rule forbids it, and
        :class:`RemoteUnavailable` where the remote does not answer (then the push may have arrived or not).
        """
        self._push([f"{commit}:refs/heads/{branch}"], branch)

    def delete_branch(self, branch: str, expected: str) -> None:
        """Delete a branch of the remote if it still points to ``expected``; errors as in :meth:`push`."""
        self._push([f"--force-with-lease=refs/heads/{branch}:{expected}", f":refs/heads/{branch}"], branch)

    def merge_branch(self, head: str, into: str, message: str, *, when: datetime) -> str:
        """Merge branch ``head`` into branch ``into`` by a merge commit on the remote and return its sha.

        Raises :class:`OverlayConflict` where the two changed the same lines, else as :meth:`push`.
        """
        for attempt in range(8):
            self.fetch(head, into)
            theirs, ours = self._known(head), self._known(into)
            if self.is_ancestor(theirs, ours):
                return ours
            tree = self._merge_tree(ours, theirs, head, into)
            made = self._commit_tree(tree, [ours, theirs], message, when)
            try:
                self.push(made, into)
            except LostRace:
                time.sleep(0.05 * 2**attempt)
                continue
            return made
        raise RemoteUnavailable(f"{self.url} {into}: others pushed first 8 times", "merge again when it is quieter")

    # --- locks ---------------------------------------------------------------------------------------------------

    @contextmanager
    def turn(self, seconds: float) -> Iterator[bool]:
        """Wait for at most ``seconds`` for the other processes of this machine; yields whether it is our turn.

        Politeness, not correctness: whoever gets no turn goes ahead, and a lost race is still found by the push.
        """
        with file_lock(self._folder / f"{self.mirror.stem}.turn", seconds) as descriptor:
            yield descriptor is not None

    @contextmanager
    def _exclusive(self, seconds: float) -> Iterator[int]:
        """Guards the mirror's refs. The lock dies with its holder and with the git that the holder started."""
        with file_lock(self._folder / f"{self.mirror.stem}.lock", seconds) as descriptor:
            if descriptor is None:
                raise RemoteUnavailable(
                    f"another process has been fetching {self.url} for too long", "run again; check the network"
                )
            yield descriptor

    # --- details -------------------------------------------------------------------------------------------------

    def _create_mirror(self) -> None:
        if not (self.mirror / "HEAD").exists():
            self.git.version()
            with staged_directory(self.mirror) as staged:
                self.git.run(["init", "--quiet", "--bare", "--template=", str(staged)])

    def _known(self, branch: str) -> str:
        tip = self.tip(branch)
        if tip is None:
            raise BadInput(f"{self.url} has no branch {branch!r}", "it may have been merged and deleted already")
        return tip

    def _commit_tree(self, tree: str, parents: Sequence[str], message: str, when: datetime) -> str:
        stamp = f"@{int(when.timestamp())} +0000"
        sign = ["-S"] if self.git.options.signing_key is not None else []
        flags = [flag for parent in parents for flag in ("-p", parent)]
        env = {"GIT_AUTHOR_DATE": stamp, "GIT_COMMITTER_DATE": stamp}
        try:
            return self._run("commit-tree", *sign, *flags, tree, stdin=message.encode(), env=env).decode().strip()
        except GitFailed as failure:
            if not sign:
                raise
            raise BadInput(
                f"the commit could not be signed with {self.git.options.signing_key}: {failure.stderr[-600:]}",
                "check that the signing key exists, has no passphrase (or an agent) and that its program is installed",
            ) from failure

    def _merge_tree(self, ours: str, theirs: str, head: str, into: str) -> str:
        base = self.merge_base(ours, theirs)
        for side in (ours, theirs):
            self._objects.ensure_changed(base, side)
        try:
            return self._run("merge-tree", "--write-tree", "--no-messages", ours, theirs).decode().split()[0]
        except GitFailed as failure:
            if failure.returncode != 1:
                raise
            raise OverlayConflict(
                f"{head} and {into} changed the same lines", "close the pull request and deploy again on the new head"
            ) from failure

    def _push(self, args: Sequence[str], branch: str) -> None:
        flags = [a for a in args if a.startswith("--")]
        specs = [a for a in args if not a.startswith("--")]
        try:
            command = ["push", "--porcelain", "--no-verify", *flags, "--", self.url.address, *specs]
            self.git.talk(command, repository=self.mirror)
        except GitFailed as failure:
            reason = _refusal(failure.stdout)
            if reason is None:
                raise explain(failure, self.url) from None
            told = [line.rstrip() for line in failure.stderr.splitlines() if line.startswith("remote:")]
            words = " ".join([reason, *told])[:800]
            if _RACE.search(reason):
                raise LostRace(f"{self.url} {branch} moved while we pushed: {words}", "run again") from None
            raise PushRefused(
                f"{self.url} refused the push to {branch}: {words}",
                "allow this identity to push there, or set the environment's policy to pull-request",
            ) from None


def _fingerprint(entries: Mapping[str, Entry]) -> str:
    lines = "".join(f"{e.mode} {e.oid} {path}\n" for path, e in sorted(entries.items()))
    return hashlib.sha256(lines.encode(errors="surrogateescape")).hexdigest()


def _refusal(porcelain: str) -> str | None:
    """The summary of the first rejected ref in the output of ``git push --porcelain``."""
    for line in porcelain.splitlines():
        if line.startswith("!\t"):
            return line.split("\t", 2)[2]
    return None


def _refuse_escape(path: str, link: str) -> None:
    depth = len(PurePosixPath(path).parent.parts)
    for part in PurePosixPath(link).parts:
        depth += -1 if part == ".." else 0 if part == "." else 1
        if depth < 0 or part == "/":
            raise InvalidOverlay(f"{path} is a symbolic link to {link}, outside the repository", "use a plain file")
