"""Remove files of installed distributions that an image never opens, and say what that saved.

    python prune.py --environment /opt/rankops --patterns prune.txt

A line is a glob below ``site-packages``, then names that are kept all the same, each after ``!``. A pattern that
matches nothing fails the build, so that the list stays true; a line that starts with ``?`` may match nothing (it
belongs to a distribution that only some builds have). Copies of one shared library
under several names become links to one file.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
from collections import defaultdict
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path


@dataclass(frozen=True)
class Pattern:
    """A glob, the names below it that stay, and whether it must match."""

    glob: str
    kept: tuple[str, ...]
    required: bool

    def matches(self, packages: Path) -> list[Path]:
        """What it names below ``packages``."""
        return [
            path
            for path in sorted(packages.glob(self.glob))
            if path.exists() and not any(fnmatch(path.name, name) for name in self.kept)
        ]


def patterns_in(file: Path) -> list[Pattern]:
    """The patterns of a list with ``#`` comments."""
    found = []
    for line in file.read_text().splitlines():
        words = line.partition("#")[0].split()
        if words:
            first = words[0]
            kept = tuple(word.removeprefix("!") for word in words[1:])
            found.append(Pattern(first.removeprefix("?"), kept, not first.startswith("?")))
    return found


def size_of(path: Path) -> int:
    """Bytes of a file, or of every file below a folder."""
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    return sum(file.stat().st_size for file in files if not file.is_symlink())


def prune(packages: Path, patterns: list[Pattern]) -> dict[str, int]:
    """Remove what matches; bytes by pattern. Raises ``SystemExit`` naming required patterns that match nothing."""
    saved: dict[str, int] = {}
    for pattern in patterns:
        found = pattern.matches(packages)
        if found:
            saved[pattern.glob] = sum(size_of(path) for path in found)
        for path in found:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    if idle := [each.glob for each in patterns if each.required and each.glob not in saved]:
        raise SystemExit(f"patterns that match nothing: {', '.join(idle)} (remove them, or mark them with ?)")
    return saved


def link_copies(packages: Path) -> int:
    """Shared libraries of one folder with the same bytes become links to the first; returns the bytes saved."""
    saved = 0
    same: dict[tuple[Path, str], list[Path]] = defaultdict(list)
    for path in sorted(packages.rglob("*.so*")):
        if path.is_file() and not path.is_symlink():
            same[path.parent, hashlib.sha256(path.read_bytes()).hexdigest()].append(path)
    for first, *copies in same.values():
        for copy in copies:
            saved += copy.stat().st_size
            copy.unlink()
            copy.symlink_to(first.name)
    return saved


def main() -> None:
    """Prune and report."""
    top = argparse.ArgumentParser(description="Remove files that an image never opens.")
    top.add_argument("--environment", type=Path, required=True, help="virtual environment")
    top.add_argument("--patterns", type=Path, required=True, help="globs below site-packages, one a line")
    args = top.parse_args()
    (packages,) = args.environment.glob("lib/python3*/site-packages")
    for pattern, size in sorted(prune(packages, patterns_in(args.patterns)).items(), key=lambda item: -item[1]):
        print(f"{size / 1e6:8.1f} MB  {pattern}")
    print(f"{link_copies(packages) / 1e6:8.1f} MB  copies of shared libraries")


if __name__ == "__main__":
    main()
