"""``rankops pr``: the pull requests that deploy opened, on whichever forge is configured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from rankops.cli.common import plain, progress, reported, say
from rankops.errors import BadInput
from rankops.state import LocalState

if TYPE_CHECKING:
    from rankops.forge.protocol import Forge

pull_requests = typer.Typer(
    help="Pull requests on the configured forge (RANKOPS_FORGE: local, github or gitlab).", no_args_is_help=True
)


@pull_requests.command("list")
@reported
def pr_list(state: Annotated[str, typer.Option(help="open, closed, merged or all")] = "all") -> None:
    """List pull requests that rankops opened, oldest first."""
    if state not in ("open", "closed", "merged", "all"):
        raise BadInput(f"{state!r} is no state", "give open, closed, merged or all")
    forge = _forge()
    with progress() as tell:
        tell("reading pull requests")
        found = [item for item in forge.all() if state in ("all", item.state)]
    if not found:
        say("no pull request")
        return
    table = Table("#", "state", "into", "title", "labels", box=None)
    for item in found:
        table.add_row(str(item.number), item.state, item.base, plain(item.title), plain(", ".join(item.labels)))
    Console().print(table)


@pull_requests.command("show")
@reported
def pr_show(number: Annotated[int, typer.Argument(help="number of the pull request")]) -> None:
    """Print a pull request: title, state, branches, address, body, comments."""
    forge = _forge()
    item = forge.get(number)
    say(f"#{item.number} {item.title}\n{item.state}: {item.head} -> {item.base}\n{item.url}")
    say(f"merge commit: {item.merge_commit}\n" if item.merge_commit else "")
    say(item.body)
    for comment in forge.comments(number):
        say(f"- {comment}")


@pull_requests.command("merge")
@reported
def pr_merge(number: Annotated[int, typer.Argument(help="number of the pull request")]) -> None:
    """Merge a pull request; merging a merged one changes nothing."""
    forge = _forge()
    with progress() as tell:
        tell(f"merging #{number}")
        merged = forge.merge(number)
    say(f"#{merged.number} is merged as {merged.merge_commit}")


def _forge() -> Forge:
    from rankops.forge.config import ForgeConfig
    from rankops.forge.credentials import configured_token
    from rankops.overlays.git_options import GitOptions
    from rankops.overlays.mirror import GitRemote

    state, token = LocalState.current(), configured_token()
    remote = GitRemote(state.git_url, state.root / "mirrors", GitOptions(token=token))
    return ForgeConfig.configured().connect(token=token, branches=remote, folder=state.root / "forge")
