"""Somebody's clone (a person's, CI's), read without touching it.

What is made while looking (the commit that merging would make) goes into a scratch repository that borrows the
clone's objects; the clone's work tree, index, refs and object store stay as they are.
"""

from __future__ import annotations

from pathlib import Path

from rankops.errors import BadInput, OverlayConflict
from rankops.overlays.git import GitFailed, GitOptions
from rankops.overlays.mirror import GitRemote

_EPOCH = "@0 +0000"  # nobody sees this commit: the same two parents give the same one


class Checkout(GitRemote):
    """The repository around ``path``. ``scratch`` is an empty folder that lives as long as this object is used.

    Raises :class:`BadInput` where ``path`` is in no clone, or in a shallow one (its history is cut off).
    """

    def __init__(self, path: Path, scratch: Path) -> None:
        # The user's configuration says whom git trusts (safe.directory): CI containers often run as another user.
        super().__init__(str(path), scratch, GitOptions(user_config=True))
        self._path = str(path.resolve())
        try:
            asked = ("--path-format=absolute", "--show-toplevel", "--git-path", "objects")
            top, objects = self._here("rev-parse", *asked).splitlines()
        except GitFailed as failure:
            raise BadInput(f"{path} is in no Git work tree: {failure.stderr[-300:]}", "give a clone's folder") from None
        if self._here("rev-parse", "--is-shallow-repository").strip() == "true":
            raise BadInput(f"{path} is a shallow clone", "fetch the whole history (fetch-depth: 0, or GIT_DEPTH: 0)")
        self.top = Path(top)
        self.git.run(["init", "--quiet", "--bare", "--template=", str(self.mirror)])
        (self.mirror / "objects" / "info").mkdir(exist_ok=True)
        (self.mirror / "objects" / "info" / "alternates").write_text(f"{objects}\n")

    def __repr__(self) -> str:
        return f"Checkout({self.url})"

    def resolve(self, ref: str) -> str:
        """The commit that ``ref`` names in the clone. Raises :class:`BadInput` for one that it does not have."""
        try:
            return self._here("rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}").strip()
        except GitFailed as failure:
            raise BadInput(f"{self.top} has no commit {ref!r}", "fetch it first: git fetch origin BRANCH") from failure

    def is_dirty(self, *paths: str) -> bool:
        """True where files at or below ``paths`` (from the top) differ from HEAD, untracked ones included."""
        return bool(self._here("-C", str(self.top), "status", "--porcelain", "--", *paths).strip())

    def merged(self, base: str, head: str) -> str:
        """The commit that merging ``head`` into ``base`` gives; one of the two where it contains the other.

        Raises :class:`OverlayConflict` naming the files that both changed.
        """
        if self.is_ancestor(base, head):
            return head
        if self.is_ancestor(head, base):
            return base
        try:
            out = self._scratch("merge-tree", "--write-tree", "--name-only", "--no-messages", base, head)
        except GitFailed as failure:
            files = ", ".join(dict.fromkeys(failure.stdout.splitlines()[1:])) or failure.stderr
            raise OverlayConflict(
                f"{head[:12]} cannot be merged into {base[:12]}: both changed {files}",
                "merge the base into the branch; where it is a release component, let rankops deploy again",
            ) from None
        when = {"GIT_AUTHOR_DATE": _EPOCH, "GIT_COMMITTER_DATE": _EPOCH}
        command = ["commit-tree", "-p", base, "-p", head, "-m", "as merged", out.split()[0]]
        return self.git.run(command, repository=self.mirror, env=when).decode().strip()

    def between(self, base: str, head: str, *pathspecs: str) -> list[tuple[str, list[str]]]:
        """``(commit, paths)`` of ``base..head``, oldest first, that changed ``pathspecs``; of merges only what is
        neither side's."""
        shown = ["--reverse", "--topo-order", "--full-history", "-c", "--no-renames", "-z"]
        out = self._scratch("log", *shown, "--format=%x01%H", "--name-only", f"{base}..{head}", "--", *pathspecs)
        records = [[part.strip("\n") for part in record.split("\0")] for record in out.split("\x01") if record.strip()]
        return [(sha, paths) for sha, *rest in records if (paths := [path for path in rest if path])]

    def _here(self, *args: str) -> str:
        return self.git.run(["-C", self._path, *args]).decode(errors="replace")

    def _scratch(self, *args: str) -> str:
        return self.git.run(args, repository=self.mirror).decode(errors="replace")
