"""Replay: what the champion learned from, found by its release and written for the training that continues it."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

from rankops.artifacts import StoredArtifact
from rankops.errors import IntegrityError
from rankops.files import write_bytes
from rankops.specs import ModelSpec
from rankops.stages.evaluation import Champion
from rankops.stages.fetched import fetched
from rankops.store import ArtifactStore

Progress = Callable[[str], None]
PAIRS = "replay.parquet"


def champions_dataset(
    store: ArtifactStore, spec: ModelSpec, dataset: StoredArtifact, champion: Champion, progress: Progress
) -> tuple[str, Path] | None:
    """Digest and folder of the data set that the champion was trained on, where the spec wants a replay of it.

    None when it is the data set at hand, or another store made it.
    """
    from rankops.release.manifest import read_manifest

    digest = read_manifest(champion.folder).dataset.digest
    if not spec.training.replay or digest == dataset.digest:
        return None
    try:
        return digest, fetched(store.uri("dataset", digest), "dataset", digest)
    except IntegrityError:
        progress(f"no replay: the store does not hold the champion's data set {digest[:12]}")
        return None


def write_pairs(now: Path, before: Path, share: float, out: Path, progress: Progress) -> Path | None:
    """Write the champion's pairs that may be mixed in (Parquet); None when none is left."""
    from rankops.data.splits import near_duplicate_groups
    from rankops.dataset import load_dataset
    from rankops.training.replay import replayable

    progress("replay: looking for pairs of the champion's window that are not held out now")
    pairs = replayable(load_dataset(now), load_dataset(before), near_duplicate_groups)
    if pairs.is_empty():
        progress("no replay: every pair of the champion's window is here already, held out, or of a product that left")
        return None
    progress(f"replay: {pairs.height:,} pairs of the champion's window make up {share:.0%} of the draws")
    buffer = io.BytesIO()
    pairs.write_parquet(buffer, compression="zstd")
    write_bytes(out, buffer.getvalue())
    return out
