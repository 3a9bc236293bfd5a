"""Build and check an overlay as a change will leave it, and say what a cluster will see of the change."""

from __future__ import annotations

import difflib
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rankops.errors import GateFailed, InvalidOverlay
from rankops.overlays.component import require_pinned
from rankops.overlays.mirror import GitRemote
from rankops.overlays.references import paths_read

if TYPE_CHECKING:
    from rankops.overlays.transaction import Plan, Standing, Target, Tools

_MAX_DIFF_LINES = 2000
_MAX_LITERAL_LINES = 40
_LITERAL = re.compile(r"^(?P<sign>[+-])(?P<indent> *)\S.*: [|>][+-]?\d?$")
"""A line of a diff that adds or removes a YAML block scalar."""


@dataclass(frozen=True)
class _Done:
    """A rendering that passed: of which paths, with which content, and what it changed."""

    paths: list[str]
    fingerprint: str
    wanted: str
    change: str


class Rendering:
    """Builds for one target; what it found holds until something changes that the build reads."""

    def __init__(self, remote: GitRemote, target: Target, tools: Tools, trusted_key: str | None) -> None:
        self._remote, self._target, self._tools, self._trusted_key = remote, target, tools, trusted_key
        self._done: _Done | None = None

    def check(self, standing: Standing, plan: Plan, *, changes: bool) -> str:
        """Build and validate the overlay with ``plan`` in it; returns the unified diff of its rendering.

        Raises :class:`InvalidOverlay` where it is missing, does not build, breaks a rule or ignores the pin, and
        :class:`GateFailed` where the overlays trust another key than the release was verified with.
        """
        target, head = self._target, standing.head
        wanted = plan.files.get(target.component, standing.component or "")
        done = self._done
        if done and done.wanted == wanted and done.fingerprint == self._remote.fingerprint(head, done.paths):
            return done.change
        layout = target.layout
        paths = paths_read(self._remote, head, target.overlay, layout.build_paths(target.environment, target.model))
        paths.append(layout.trusted_key())
        with tempfile.TemporaryDirectory(prefix="rankops-overlay-") as scratch:
            root = Path(scratch)
            fingerprint = self._remote.export(head, paths, root)
            change = self._build(root, standing, plan, changes)
        self._done = _Done(paths, fingerprint, wanted, change)
        return change

    def _build(self, root: Path, standing: Standing, plan: Plan, changes: bool) -> str:
        target, tools = self._target, self._tools
        tools.checkpoint("exported")
        self._require_overlay(root)
        self._require_trust(root)
        with self._before(root / target.overlay, standing, changes) as before:
            for path, text in plan.files.items():
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (root / path).write_bytes(text.encode())
            tools.checkpoint("written")
            tools.progress(f"building and validating {target.overlay}")
            after = tools.render(root / target.overlay)
            tools.checkpoint("rendered")
            tools.validate(after.objects)
            require_pinned(after.objects, plan.pin)
            tools.checkpoint("validated")
            was = before()
        return unified(was, after.text, "rendered") if changes else ""

    @contextmanager
    def _before(self, overlay: Path, standing: Standing, changes: bool) -> Iterator[Callable[[], str]]:
        """How the overlay renders now; "" before the first release.

        It builds beside what we build meanwhile, from a copy of the overlay at the same depth: half of a deploy's time
        is these two builds.
        """
        if not changes or standing.pin is None:
            yield lambda: ""
            return
        copy = overlay.with_name(f".{overlay.name}.before")
        shutil.copytree(overlay, copy, symlinks=True)
        with ThreadPoolExecutor(1, thread_name_prefix="before") as beside:
            yield beside.submit(self._as_it_is, copy).result

    def _as_it_is(self, folder: Path) -> str:
        try:
            return self._tools.render(folder).text
        except InvalidOverlay as error:
            return f"# the overlay did not build before this change: {error.problem.splitlines()[0]}\n"

    def _require_overlay(self, root: Path) -> None:
        path = f"{self._target.overlay}/kustomization.yaml"
        if not (root / path).is_file():
            raise InvalidOverlay(
                f"{self._remote.url} {self._target.branch} has no {path}",
                "copy the overlay of another model or environment and list ./release under its components",
            )

    def _require_trust(self, root: Path) -> None:
        path = root / self._target.layout.trusted_key()
        if self._trusted_key is None or not path.is_file():
            return
        if path.read_text().split() != self._trusted_key.split():
            raise GateFailed(
                f"{self._target.layout.trusted_key()} on {self._target.branch} is another key than the one that this "
                "release was verified with: every pod would refuse it",
                "commit the public key of your release signer there, or sign with the key that it belongs to",
            )


def unified(before: str, after: str, name: str) -> str:
    """A unified diff of two YAML texts, cut where it is too long for people.

    A long text that is new or gone as a whole (a dashboard in a ConfigMap) is told by its number of lines: else the
    workload, which comes after it, would be what is cut.
    """
    changes = difflib.unified_diff(before.splitlines(), after.splitlines(), f"a/{name}", f"b/{name}", lineterm="", n=3)
    lines = list(_folded(list(changes)))
    if len(lines) > _MAX_DIFF_LINES:
        lines = [*lines[:_MAX_DIFF_LINES], f"… {len(lines) - _MAX_DIFF_LINES} more lines"]
    return "".join(f"{line}\n" for line in lines)


def _folded(lines: Sequence[str]) -> Iterator[str]:
    at = 0
    while at < len(lines):
        line, at = lines[at], at + 1
        yield line
        if (literal := _LITERAL.match(line)) is None:
            continue
        inside = f"{literal['sign']}{literal['indent']} "
        end = at
        while end < len(lines) and (lines[end].startswith(inside) or lines[end] == literal["sign"]):
            end += 1
        if end - at > _MAX_LITERAL_LINES:
            yield f"{inside}… {end - at:,} lines"
            at = end
