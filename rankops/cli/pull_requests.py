"""``rankops pr``: pull requests of the local forge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from rankops.cli.common import plain, reported, say
from rankops.errors import BadInput
from rankops.state import LocalState

if TYPE_CHECKING:
    from rankops.forge.local import LocalForge

pull_requests = typer.Typer(help="Pull requests of the local forge.", no_args_is_help=True)


@pull_requests.command("list")
@reported
def pr_list(state: Annotated[str, typer.Option(help="open, closed, merged or all")] = "all") -> None:
    """List pull requests."""
    if state not in ("open", "closed", "merged", "all"):
        raise BadInput(f"{state!r} is no state", "give open, closed, merged or all")
    found = [item for item in _forge().all() if state in ("all", item.state)]
    if not found:
        say("no pull request")
        return
    table = Table("#", "state", "into", "title", box=None)
    for item in found:
        table.add_row(str(item.number), item.state, item.base, plain(item.title))
    Console().print(table)


@pull_requests.command("show")
@reported
def pr_show(number: Annotated[int, typer.Argument(help="number of the pull request")]) -> None:
    """Print a pull request: title, state, branches, body, comments."""
    forge = _forge()
    item = forge.get(number)
    say(f"#{item.number} {item.title}\n{item.state}: {item.head} -> {item.base}")
    say(f"merge commit: {item.merge_commit}\n" if item.merge_commit else "")
    say(item.body)
    for comment in forge.comments(number):
        say(f"- {comment}")


@pull_requests.command("merge")
@reported
def pr_merge(number: Annotated[int, typer.Argument(help="number of the pull request")]) -> None:
    """Merge a pull request; merging a merged one changes nothing."""
    merged = _forge().merge(number)
    say(f"#{merged.number} is merged as {merged.merge_commit}")


def _forge() -> LocalForge:
    from rankops.forge.local import LocalForge
    from rankops.overlays.mirror import GitRemote

    state = LocalState.current()
    return LocalForge(state.root / "forge", GitRemote(state.git_url, state.root / "mirrors"))
