"""The demo's Git remote: a bare repository that starts with the overlays of this repository."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from rankops.errors import BadInput
from rankops.files import staged_directory
from rankops.overlays.git import Git, GitFailed, Identity, RemoteUrl
from rankops.overlays.layout import OverlayLayout

_SKIP = frozenset({"__pycache__", ".DS_Store", ".git"})


def create_bare_remote(
    path: Path,
    source_overlays: Path,
    public_key: Path | None,
    branch: str = "main",
    *,
    layout: OverlayLayout | None = None,
    identity: Identity | None = None,
) -> str:
    """Create the bare repository ``path`` with ``source_overlays`` as its first commit; return the head of ``branch``.

    ``public_key`` replaces the key that the overlays trust. Built aside and renamed, so it is whole or absent; a
    standing repository is left exactly as it is. Raises :class:`BadInput` for a source without overlays, a missing
    key, or a ``path`` that holds something else.
    """
    layout = layout or OverlayLayout()
    git = Git(RemoteUrl.parse(str(path)))
    if path.exists():
        return _standing(git, path, branch)
    files = _collect(source_overlays, public_key, layout)
    with staged_directory(path) as staged:
        git.run(["init", "--quiet", "--bare", "--template=", f"--initial-branch={branch}", str(staged)])
        for key in ("receive.denyNonFastForwards", "uploadpack.allowFilter", "uploadpack.allowAnySHA1InWant"):
            git.run(["config", key, "true"], repository=staged)
        blobs = _blobs(git, staged, [file for _, file in files.values()])
        lines = [f"{mode} {blob}\t{name}\0" for (name, (mode, _)), blob in zip(files.items(), blobs, strict=True)]
        index = {"GIT_INDEX_FILE": str(staged / "seed-index")}
        git.run(["update-index", "-z", "--index-info"], repository=staged, stdin="".join(lines).encode(), env=index)
        tree = git.run(["write-tree"], repository=staged, env=index).decode().strip()
        (staged / "seed-index").unlink()
        commit = _first_commit(git, staged, tree, identity or Identity())
        git.run(["update-ref", f"refs/heads/{branch}", commit], repository=staged)
        git.run(["repack", "-a", "-d", "--quiet"], repository=staged)  # thousands of loose files make each push slower
    return _standing(git, path, branch)


def _standing(git: Git, path: Path, branch: str) -> str:
    try:
        return git.run(["rev-parse", "--verify", f"refs/heads/{branch}"], repository=path).decode().strip()
    except GitFailed as failure:
        raise BadInput(
            f"{path} exists but is no repository with a branch {branch!r}", "move it away; it is created again"
        ) from failure


def _collect(source: Path, public_key: Path | None, layout: OverlayLayout) -> dict[str, tuple[str, Path]]:
    files: dict[str, tuple[str, Path]] = {}
    for file in sorted(source.rglob("*")):
        if file.is_file() and not file.is_symlink() and not _SKIP.intersection(file.relative_to(source).parts):
            name = layout.at(file.relative_to(source).as_posix())
            files[name] = ("100755" if file.stat().st_mode & 0o100 else "100644", file)
    if not any(name.startswith(layout.at("overlays") + "/") for name in files):
        raise BadInput(f"{source} holds no overlays/", "give the k8s-overlays folder of the repository")
    if public_key is not None:
        if not public_key.is_file():
            raise BadInput(f"{public_key} is missing", "make a key pair first (`make demo` does)")
        files[layout.trusted_key()] = ("100644", public_key)
    return files


def _blobs(git: Git, repository: Path, files: Sequence[Path]) -> list[str]:
    lines = "".join(f"{file.resolve()}\n" for file in files).encode()
    return (
        git.run(["hash-object", "-w", "--no-filters", "--stdin-paths"], repository=repository, stdin=lines)
        .decode()
        .split()
    )


def _first_commit(git: Git, repository: Path, tree: str, identity: Identity) -> str:
    stamp = f"@{int(datetime.now(UTC).timestamp())} +0000"
    env = {"GIT_AUTHOR_DATE": stamp, "GIT_COMMITTER_DATE": stamp}
    env |= {"GIT_AUTHOR_NAME": identity.name, "GIT_AUTHOR_EMAIL": identity.email}
    env |= {"GIT_COMMITTER_NAME": identity.name, "GIT_COMMITTER_EMAIL": identity.email}
    message = b"overlays: start with the ones that come with rankops\n"
    return git.run(["commit-tree", tree], repository=repository, stdin=message, env=env).decode().strip()
