"""Commands about overlays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rankops.cli.common import progress, reported, say
from rankops.errors import BadInput

if TYPE_CHECKING:
    from rankops.stages.check_results import CheckResult

_FORMATS = ("text", "json", "github")


@reported
def check_overlays(
    path: Annotated[Path, typer.Argument(help="the overlays' root, or one overlay")] = Path("k8s-overlays"),
    base: Annotated[
        str | None, typer.Option(help="check what this branch becomes by merging HEAD, and only what that changes")
    ] = None,
    kubernetes: Annotated[
        list[str] | None, typer.Option(help="cluster version to check the schemas of; may be repeated")
    ] = None,
    releases: Annotated[
        bool | None,
        typer.Option(
            "--releases/--no-releases",
            help="fetch and verify every pinned release; without either, those whose store can be reached",
        ),
    ] = None,
    store: Annotated[
        list[str] | None, typer.Option(help="the only root that releases may come from; may be repeated")
    ] = None,
    output: Annotated[str, typer.Option("--format", help="text, json or github (annotations)")] = "text",
    summary: Annotated[
        Path | None, typer.Option(help="append a Markdown summary with the rendered diff to this file")
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help="processes that render (0: one a core)")] = 0,
) -> None:
    """Check overlays as a GitOps controller will build them: kustomize, schemas, rules, releases, trailers.

    Exit code 1 where anything is wrong. What CI runs is this command.
    """
    from rankops.overlays.kustomize import find_kustomize
    from rankops.overlays.validate import KUBERNETES
    from rankops.stages.check_overlays import CheckOptions
    from rankops.stages.check_overlays import check_overlays as check

    if output not in _FORMATS:
        raise BadInput(f"{output!r} is no format", f"give {', '.join(_FORMATS)}")
    options = CheckOptions(
        find_kustomize(),
        kubernetes=tuple(dict.fromkeys(kubernetes or (KUBERNETES,))),
        releases=releases,
        stores=tuple(store or ()),
        diff=summary is not None,
        workers=workers,
    )
    with progress() as tell:
        result = check(path, options, base=base, progress=tell)
    _print(result, output)
    if summary is not None:
        from rankops.cli.check_report import markdown

        with summary.open("a") as handle:  # CI gives one file to all steps
            handle.write(markdown(result))
    if not result.ok:
        raise typer.Exit(1)


def _print(result: CheckResult, output: str) -> None:
    from rankops.cli import check_report

    if output == "json":
        say(json.dumps(result.as_json(), indent=2))
        return
    for line in check_report.lines(result):
        say(line)
    if output == "github":
        for problem in result.problems:
            say(check_report.annotation(problem))
    elif result.problems:
        check_report.problem_table(result.problems)
