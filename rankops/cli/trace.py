"""``rankops trace``: the lineage of what runs, as a tree that is readable in a terminal and in a log."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.tree import Tree

from rankops.cli.common import errors, plain, progress, reported, say
from rankops.errors import BadInput
from rankops.state import LocalState

if TYPE_CHECKING:
    from rankops.overlays.mirror import GitRemote
    from rankops.stages.trace_hops import Hop

_MARKS = {"ok": ("✓", "green"), "failed": ("✗", "red"), "absent": ("–", "yellow"), "note": ("·", "dim")}


@reported
def trace(
    subject: Annotated[
        str,
        typer.Argument(
            help="commit, release digest (8 characters or more), environment/model, rankops.dev/release=DIGEST, "
            "or a pod's JSON (a file, or - for standard input)"
        ),
    ],
    git: Annotated[str | None, typer.Option(help="the overlays' repository (default: $RANKOPS_GIT_URL)")] = None,
    branch: Annotated[str, typer.Option(help="branch that the controller follows")] = "main",
    store: Annotated[
        str | None, typer.Option(help="root of the artifact store (default: the one that the release lies in)")
    ] = None,
    ssh_key: Annotated[Path | None, typer.Option(help="deploy key for the Git remote")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print the lineage as JSON")] = False,
) -> None:
    """Print the lineage from live pod to dataset hash; verify every digest and signature on the way.

    From Git and the artifact store alone. ✓ proved here, ✗ contradicted, – nothing here to prove it from, · a record.
    Exit code 1 where anything is contradicted.
    """
    from rankops.stages.trace import trace as follow

    with progress() as tell:
        lineages = follow(_remote(git, ssh_key), _subject(subject), branch=branch, store=store, progress=tell)
    if as_json:
        say(json.dumps([lineage.as_json() for lineage in lineages], indent=2))
    else:
        for lineage in lineages:
            _console().print(_tree(lineage))
    failures = [failure for lineage in lineages for failure in lineage.failures]
    for failure in failures:
        errors().print(
            f"[red]✗ {plain(failure.what)} {plain(failure.value)}[/red]: {plain(failure.detail)}", soft_wrap=True
        )
    if failures:
        raise typer.Exit(1)


def _subject(text: str) -> str:
    """The text itself, or the pod that it names a file of."""
    if text == "-":
        return sys.stdin.read()
    if text.endswith(".json"):
        if not Path(text).is_file():
            raise BadInput(f"{text} is missing", "give a file with a pod's JSON")
        return Path(text).read_text()
    return text


def _remote(url: str | None, ssh_key: Path | None) -> GitRemote:
    from rankops.forge.credentials import configured_token
    from rankops.overlays.git import GitOptions
    from rankops.overlays.mirror import GitRemote

    state, options = LocalState.current(), GitOptions(token=configured_token(), ssh_key=ssh_key)
    return GitRemote(url or state.git_url, state.root / "mirrors", options)


def _console() -> Console:
    """Lines are never broken: digests are there to be copied."""
    return Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 4000)


def _tree(hop: Hop) -> Tree:
    tree = Tree(_label(hop), guide_style="dim")
    for child in hop.children:
        tree.add(_tree(child))
    return tree


def _label(hop: Hop) -> str:
    mark, colour = _MARKS[hop.status]
    detail = f" [dim]({plain(hop.detail)})[/dim]" if hop.detail else ""
    value = f" {plain(hop.value)}" if hop.value else ""
    return f"[{colour}]{mark}[/{colour}] [bold]{plain(hop.what)}[/bold]{value}{detail}"
