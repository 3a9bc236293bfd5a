"""Commands about compressed models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rankops.cli.common import progress, reported, say


@reported
def measure(
    artifact_dir: Annotated[Path, typer.Argument(help="folder of a quantized artifact, as the store keeps it")],
    out: Annotated[Path, typer.Option(help="file for the measurement; replaced as a whole")],
    rounds: Annotated[int, typer.Option(min=1, help="times that each candidate is measured, in turn")] = 3,
) -> None:
    """Measure an artifact's candidates on this machine, for a ladder that ran on another.

    Load time, memory and latency (p50, p95, p99) by batch size and text length. Name the file in the model spec's
    compression.measurement and rematerialize: the ladder then chooses by it.
    """
    from rankops.compression.measurement import measure as measure_candidates
    from rankops.compression.measurement import write

    with progress() as tell:
        found = measure_candidates(artifact_dir, rounds=rounds, progress=tell)
    write(found, out)
    for name in sorted(found.rungs, key=found.query):
        one = found.rungs[name].profile
        say(f"{name}: {found.query(name):.3f} ms a query, load {one.load_ms:.0f} ms, peak {one.peak_mb:.0f} MB")
    say(f"{out}: {len(found.rungs)} candidates of {found.model} on {found.target} ({found.machine})")
