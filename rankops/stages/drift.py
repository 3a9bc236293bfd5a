"""Drift: a day of traffic (and the days before it) against the days that the live release learned from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankops.artifacts import StoredArtifact
from rankops.errors import BadInput
from rankops.files import digest_of
from rankops.specs import ModelSpec
from rankops.stages.evaluation import Champion
from rankops.stages.fetched import fetched
from rankops.state import LocalState
from rankops.store import ArtifactStore

if TYPE_CHECKING:
    from rankops.drift.report import DriftReport
    from rankops.drift.summarize import Traffic
    from rankops.release.manifest import ReleaseManifest

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Subject:
    """What is checked: a day of traffic, and the collected days before it, newest first; references into the store."""

    day: date
    traffic: StoredArtifact
    earlier: Sequence[tuple[date, StoredArtifact]] = ()

    def since(self, learned: str | None) -> list[tuple[date, StoredArtifact]]:
        """The earlier days that a release which learned up to a day (ISO) does not know."""
        return [(day, traffic) for day, traffic in self.earlier if learned is None or day.isoformat() > learned]


def report_day(
    store: ArtifactStore, spec: ModelSpec, subject: Subject, champion: Champion | None, progress: Progress
) -> tuple[StoredArtifact, bool]:
    """The drift report of a day; remembered by traffic and live release, so that looking again costs nothing.

    Raises :class:`BadInput` when nothing is live: drift is a difference to what the live release learned from.
    """
    from rankops.drift.report import build_report
    from rankops.release.manifest import read_manifest

    if champion is None:
        raise BadInput(
            f"{spec.name} has no live release to compare {subject.day} with",
            f"materialize {spec.name}/deploy first",
        )
    manifest = read_manifest(champion.folder)
    earlier = subject.since(manifest.dataset.last_day)
    lineage = {
        "model": spec.name,
        "day": subject.day.isoformat(),
        "traffic": subject.traffic.digest,
        "release": champion.release,
        "reference": manifest.dataset.digest,
    }

    def make(out: Path) -> tuple[dict[str, str], dict[str, Any]]:
        report = build_report(
            reference_traffic(store, manifest),
            traffic_of(store, subject.traffic),
            model=spec.name,
            day=subject.day,
            release=champion.release,
            out=out,
            earlier=(traffic_of(store, traffic) for _, traffic in earlier),
            progress=progress,
        )
        read = {"days": report.widest.days, "trained_through": manifest.dataset.last_day or ""}
        return lineage, {"drifted": report.drifted, "causes": report.names, **read}

    before = [traffic.digest for _, traffic in earlier]
    return store.find_or_make("drift", digest_of({**lineage, "earlier": before, "code": 5}), make)


def traffic_of(store: ArtifactStore, reference: StoredArtifact) -> Traffic:
    """The tables of one stored day."""
    return _read(store.local_path(reference))


def reference_traffic(store: ArtifactStore, manifest: ReleaseManifest) -> Traffic:
    """The tables of the dataset that a release was trained on."""
    digest = manifest.dataset.digest
    return _read(fetched(store.uri("dataset", digest), "dataset", digest))


def _read(folder: Path) -> Traffic:
    import polars as pl

    from rankops.drift.summarize import Traffic

    requests = folder / "requests.parquet"
    return Traffic(
        pl.read_parquet(folder / "interactions.parquet"),
        pl.read_parquet(folder / "catalogue.parquet"),
        pl.read_parquet(requests) if requests.is_file() else None,
    )


def load(store: ArtifactStore, reference: StoredArtifact) -> DriftReport:
    """The report that :func:`report_day` published."""
    from rankops.drift.report import load_report

    return load_report(store.local_path(reference))


def report_url(reference: StoredArtifact) -> str:
    """Where a browser opens the report's HTML page."""
    return f"{LocalState.current().reports_url}/{reference.kind}/{reference.digest}/report.html"
