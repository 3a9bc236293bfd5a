"""Commands that take a release out of service: ``rollback``, ``quarantine``, and the receiver of alerts."""

from __future__ import annotations

import os
from getpass import getuser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from rankops.cli.common import errors, plain, progress, reported, say
from rankops.errors import BadInput
from rankops.specs import ENVIRONMENTS, EnvironmentSpec
from rankops.state import LocalState
from rankops.store import ArtifactStore

if TYPE_CHECKING:
    from rankops.overlays.rollback import RollbackOutcome
    from rankops.stages.rollback import Means

quarantine = typer.Typer(help="Releases that must not be deployed again.", no_args_is_help=True)

_TOKEN = "RANKOPS_ALERT_TOKEN"  # noqa: S105 - the variable's name

Environment = Annotated[str, typer.Argument(help="staging, production, ...")]
Model = Annotated[str, typer.Argument(help="the model's name")]
SshKey = Annotated[Path | None, typer.Option(help="deploy key for the Git remote")]


@reported
def rollback(
    environment: Environment,
    model: Model,
    reason: Annotated[str, typer.Option(help="what is wrong with the release, in one line; it is kept in Git")],
    bad: Annotated[str, typer.Option(help="digest of the bad release (12 digits do); default: the live one")] = "",
    emergency: Annotated[bool, typer.Option("--emergency", help="push without the review; this is recorded")] = False,
    by: Annotated[str | None, typer.Option(help="who decides on the emergency (default: your login)")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="print the change, make none")] = False,
    ssh_key: SshKey = None,
    signing_key: Annotated[Path | None, typer.Option(help="SSH key that signs the commit")] = None,
) -> None:
    """Pin the last release that verified in ENVIRONMENT, by a forward commit, and quarantine the bad one.

    Needs no Dagster. An environment that takes pull requests gets one, unless this is an emergency.
    """
    from rankops.stages.rollback import RollbackOrder, remember_record, roll_back

    place, means = _environment(environment), _means(ssh_key, signing_key)
    order = RollbackOrder(reason, bad, emergency, by or getuser(), dry_run=dry_run)
    with progress() as tell:
        outcome = roll_back(means, model, place, order, dagster_run=None, progress=tell)
    if dry_run:
        say(outcome.diff or "nothing would change")
        return
    remember_record(means.store, outcome)
    for line in _told(outcome):
        say(line)


def _told(outcome: RollbackOutcome) -> list[str]:
    pin, entry = outcome.pin, outcome.quarantined
    verb = {
        "committed": f"is back in {pin.environment}: commit {outcome.commit}",
        "proposed": f"waits for its pull request: {outcome.pull_request.url if outcome.pull_request else ''}",
        "unchanged": f"stands in {pin.environment} since commit {outcome.commit}; nothing to do",
    }[outcome.kind]
    lines = [f"release {pin.release[:12]} {verb}"]
    if entry is not None:
        lines.append(f"release {entry.digest[:12]} is quarantined: {entry.reason}")
    if outcome.emergency:
        lines.append(f"pushed without review by {outcome.emergency}")
    return lines


@quarantine.command("list")
@reported
def quarantine_list(environment: Environment, model: Model, ssh_key: SshKey = None) -> None:
    """List the releases that are kept out of an environment, as its branch says now."""
    from rankops.overlays.history import current
    from rankops.overlays.transaction import Target

    place, means = _environment(environment), _means(ssh_key, None)
    with progress() as tell:
        tell(f"fetching {place.branch}")
        entries = current(means.remote, Target(place.name, model, place.branch)).quarantine.entries
    if not entries:
        say(f"no release of {model} is quarantined in {environment}")
        return
    table = Table("release", "since", "reason", "pushed without review by", box=None)
    for entry in entries:
        table.add_row(entry.digest[:12], entry.since, plain(entry.reason), plain(entry.emergency or ""))
    Console().print(table)


@reported
def alert_webhook(
    host: Annotated[str, typer.Option(help="address to listen on; 0.0.0.0 in a pod")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = 9094,
) -> None:
    """Receive Alertmanager's webhook (POST /alertmanager) for the rollback sensor; the token is RANKOPS_ALERT_TOKEN."""
    import uvicorn

    from rankops.stages.alert_webhook import PATH, create_app
    from rankops.stages.alerts import Inbox

    token = os.environ.get(_TOKEN, "")
    if not token:
        raise BadInput(f"{_TOKEN} is not set, and nobody may post alerts without a token", "set it to a long secret")
    app = create_app(Inbox(_store()), token)
    errors().print(f"http://{host}:{port}{PATH}", soft_wrap=True)
    uvicorn.run(app, host=host, port=port, log_level="warning")


def _environment(name: str) -> EnvironmentSpec:
    found = next((environment for environment in ENVIRONMENTS if environment.name == name), None)
    if found is None:
        raise BadInput(f"there is no environment {name!r}", f"use one of {[e.name for e in ENVIRONMENTS]}")
    return found


def _store() -> ArtifactStore:
    state = LocalState.current()
    return ArtifactStore(state.store_url, cache=state.root / "cache")


def _means(ssh_key: Path | None, signing_key: Path | None) -> Means:
    from rankops.forge.config import ForgeConfig
    from rankops.forge.credentials import configured_token
    from rankops.overlays.git_options import GitOptions
    from rankops.overlays.kustomize import Rendered, build, find_kustomize
    from rankops.overlays.mirror import GitRemote
    from rankops.overlays.validate import validate
    from rankops.stages.rollback import Means

    def render(folder: Path) -> Rendered:
        return build(folder, kustomize=find_kustomize())

    state, token = LocalState.current(), configured_token()
    options = GitOptions(token=token, ssh_key=ssh_key, signing_key=signing_key)
    remote = GitRemote(state.git_url, state.root / "mirrors", options)
    forge = ForgeConfig.configured().connect(token=token, branches=remote, folder=state.root / "forge")
    return Means(_store(), remote, render, lambda objects: validate([dict(o) for o in objects]), forge)
