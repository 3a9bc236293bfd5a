"""Validating a pull request as a GitOps controller will build it: what the base becomes when the branch is merged.

With a base, what is checked is the merge of HEAD into it, and only the overlays whose build reads a changed file;
without one, the folder as it lies there. Each overlay is rendered by the real kustomize in a worker process, since
reading and judging a rendering keeps an interpreter busy as long as kustomize itself needs.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from rankops.compression.targets import available_cores
from rankops.errors import BadInput, OverlayConflict
from rankops.overlays.affected import affected, below_root
from rankops.overlays.checkout import Checkout
from rankops.overlays.layout import OverlayLayout
from rankops.overlays.schemas import VERSIONS
from rankops.stages.check_commits import Branch, check_commits
from rankops.stages.check_releases import ReleaseChecker
from rankops.stages.check_rendering import Built, Job, check_rendering
from rankops.stages.check_results import CheckResult, OverlayReport, Problem

Progress = Callable[[str], None]

_FEW = 8  # overlays that are checked before a second process would be worth its start
_SAY_EVERY = 50


@dataclass(frozen=True)
class CheckOptions:
    """What to check with.

    ``releases`` True: every pinned release must be fetched and verified; None: those whose store can be reached;
    False: none. ``stores`` are the only roots that releases may come from (empty: any). ``diff`` asks for the change of
    what is rendered, which renders each overlay a second time; ``workers`` 0 is one process a core.
    """

    kustomize: Path
    kubernetes: tuple[str, ...]
    releases: bool | None = None
    stores: tuple[str, ...] = ()
    diff: bool = False
    workers: int = 0


@dataclass(frozen=True)
class _Source:
    """The files to check: ``after`` (and ``before``) are folders that stand for the overlays' root.

    ``shown`` is how messages call that root, ``names`` are the overlays below it.
    """

    shown: str
    after: Path
    before: Path | None
    names: list[str]
    untouched: int = 0
    commits: tuple[Problem, ...] = ()
    base: str | None = None
    head: str | None = None


def check_overlays(path: Path, options: CheckOptions, *, base: str | None, progress: Progress) -> CheckResult:
    """Check the overlays at ``path`` (their root, or one overlay), with ``base`` only those that the change reaches.

    Raises :class:`BadInput` where there is no overlay, no such commit or no such Kubernetes version.
    """
    if unknown := set(options.kubernetes) - set(VERSIONS):
        raise BadInput(f"no schemas for Kubernetes {', '.join(sorted(unknown))}", f"use one of {', '.join(VERSIONS)}")
    with tempfile.TemporaryDirectory(prefix="rankops-check-") as folder:
        scratch = Path(folder)
        releases = ReleaseChecker(options.releases, options.stores, scratch / "releases", progress)
        try:
            source = _as_it_lies(path) if base is None else _as_merged(path, base, scratch, releases, options, progress)
        except OverlayConflict as conflict:
            problem = Problem("merge", conflict.problem, str(path), conflict.remedy)
            return CheckResult((), (problem,), base)
        reports = [_report(built, releases, source) for built in _render_all(source, options, progress)]
    reports.sort(key=lambda report: report.name)
    return CheckResult(tuple(reports), source.commits, source.base, source.head, source.untouched, options.kubernetes)


def _report(built: Built, releases: ReleaseChecker, source: _Source) -> OverlayReport:
    checked = releases.check(built, source.after / OverlayLayout(".").trusted_key())
    return OverlayReport(
        name=built.job.name.removeprefix("overlays/"),
        folder=built.job.folder,
        objects=built.objects,
        release=built.pin.release if built.pin else None,
        state=checked.state,
        problems=(*built.problems, *checked.problems),
        diff=built.diff,
        seconds=built.seconds,
    )


def _as_it_lies(path: Path) -> _Source:
    """The folder itself. A single overlay is checked within its root, so that the trusted key is found."""
    if not (path / "kustomization.yaml").is_file():
        names = sorted(
            file.parent.relative_to(path).as_posix() for file in path.glob("overlays/*/*/kustomization.yaml")
        )
        if not names:
            remedy = "give a folder with overlays/<environment>/<model>, or one overlay"
            raise BadInput(f"{path} holds no overlay", remedy)
        return _Source(str(path), path, None, names)
    whole = path.resolve()
    if whole.parent.parent.name != "overlays":
        raise BadInput(f"{path} is no overlay", "an overlay is a folder overlays/<environment>/<model>")
    root = path.parent.parent.parent
    return _Source(str(root), root, None, [whole.relative_to(whole.parents[2]).as_posix()])


def _as_merged(
    path: Path, base: str, scratch: Path, releases: ReleaseChecker, options: CheckOptions, progress: Progress
) -> _Source:
    """What the base becomes by merging HEAD, exported from Git; raises OverlayConflict where they do not merge."""
    clone, layout = _clone(path, scratch)
    ours, head = clone.resolve(base), clone.resolve("HEAD")
    merged = clone.merged(ours, head)
    if clone.is_dirty(layout.root):
        progress("what is not committed is not checked: a controller builds commits")
    before, after = clone.entries(ours, [layout.root]), clone.entries(merged, [layout.root])
    changed = {p for p in before.keys() | after.keys() if before.get(p) != after.get(p)}
    clone.export(merged, [layout.root], scratch / "after")
    overlays = sorted(p.rpartition("/")[0] for p in after if _is_overlay(p, layout))
    chosen = affected(overlays, changed, scratch / "after" / layout.root, layout)
    progress(f"{len(changed)} changed files reach {len(chosen)} of {len(overlays)} overlays")
    if chosen and options.diff:
        needed = [layout.at(name) for name in layout.shared] + chosen
        clone.export(ours, needed, scratch / "before")
    key = scratch / "after" / layout.trusted_key()
    problems = check_commits(Branch(clone, layout, ours, head, key), releases)
    names = [below for overlay in chosen if (below := below_root(overlay, layout))]
    folders = (scratch / "after" / layout.root, scratch / "before" / layout.root if options.diff else None)
    return _Source(layout.root, *folders, names, len(overlays) - len(chosen), tuple(problems), ours, head)


def _clone(path: Path, scratch: Path) -> tuple[Checkout, OverlayLayout]:
    if not path.is_dir():
        raise BadInput(f"{path} does not exist", "give the folder that holds base/ and overlays/")
    clone = Checkout(path, scratch)
    root = path.resolve()
    if root.parent.parent.name == "overlays":
        raise BadInput(f"{path} is one overlay", "with --base, give the overlays' root: the change decides which ones")
    return clone, OverlayLayout(root.relative_to(clone.top.resolve()).as_posix())


def _is_overlay(path: str, layout: OverlayLayout) -> bool:
    parts = (below_root(path, layout) or "").split("/")
    return len(parts) == 4 and parts[0] == "overlays" and parts[3] == "kustomization.yaml"


def _render_all(source: _Source, options: CheckOptions, progress: Progress) -> Iterator[Built]:
    tools = (options.kustomize, options.kubernetes)
    jobs = [Job(name, source.after, source.before, source.shown, *tools) for name in source.names]
    workers = min(options.workers or available_cores(), len(jobs))
    if len(jobs) <= _FEW or workers == 1:
        yield from map(check_rendering, jobs)
        return
    progress(f"rendering {len(jobs)} overlays with {workers} processes")
    # Not by fork: the terminal's spinner is a thread, and a lock that it holds would stay locked in the child.
    with ProcessPoolExecutor(workers, mp_context=get_context("forkserver")) as pool:
        started = time.monotonic()
        for done, future in enumerate(as_completed([pool.submit(check_rendering, job) for job in jobs]), start=1):
            yield future.result()
            if done % _SAY_EVERY == 0:
                progress(f"{done} of {len(jobs)} overlays ({done / (time.monotonic() - started):.0f}/s)")
