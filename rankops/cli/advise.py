"""Advice on a release by hand."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from rankops.cli.common import progress, reported, say


@reported
def advise(
    release: Annotated[str, typer.Argument(help="a release's folder or URL, or a model's name")],
    seconds: Annotated[float, typer.Option(min=1, help="load of the whole sweep")] = 60.0,
    rounds: Annotated[int, typer.Option(min=3, help="interleaved rounds")] = 5,
    objective_ms: Annotated[float, typer.Option(min=0.1, help="p99 that must hold")] = 50.0,
    cores: Annotated[int, typer.Option(min=1, help="cores that the server gets")] = 1,
    dataset: Annotated[Path | None, typer.Option(help="dataset folder whose searches are replayed")] = None,
    sweep: Annotated[bool, typer.Option(help="measure changed settings too, not only read the release")] = True,
    public_key: Annotated[Path | None, typer.Option(help="key that verifies the release")] = None,
    out: Annotated[Path | None, typer.Option(help="folder for advice.md, advice.json and the plots")] = None,
) -> None:
    """Say what would make a release's server carry more, by how much, and how that was computed.

    Starts the server on this machine with changed threads, batch wait and batch size, interleaved with its defaults.
    """
    from rankops.advice.render import markdown
    from rankops.compression.targets import cpu_name
    from rankops.predict import resolve_release
    from rankops.release.manifest import read_manifest
    from rankops.stages.advice import advice_by_sweep, advice_on, pictures
    from rankops.state import LocalState

    state = LocalState.current()
    key = public_key or state.public_key
    with progress() as tell:
        tell("verifying the release")
        folder = resolve_release(release, key, state).folder
        found, facts = advice_on(read_manifest(folder), None, dataset)
        if sweep:
            found, facts = advice_by_sweep(
                folder, key, facts, objective_ms=objective_ms, cores=cores, seconds=seconds, rounds=rounds,
                machine=cpu_name(), progress=tell,
            )  # fmt: skip
    say(markdown(found, facts))
    if out is not None:
        _write(out, markdown(found, facts), json.dumps([asdict(one) for one in found], indent=2), pictures(facts))


def _write(out: Path, text: str, record: str, plots: dict[str, bytes]) -> None:
    from rankops.files import write_bytes, write_text

    out.mkdir(parents=True, exist_ok=True)
    shown = "\n\n".join(f"![{name}]({name})" for name in plots)
    write_text(out / "advice.md", f"{text}\n\n{shown}\n")
    write_text(out / "advice.json", record + "\n")
    for name, data in plots.items():
        write_bytes(out / name, data)
