"""The evidence in a pull request: from a release, its artifact and the store to the facts that the body tells."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankops.artifacts import Kind, StoredArtifact
from rankops.errors import RankopsError
from rankops.overlays.deploy import plain_facts
from rankops.overlays.layout import OverlayLayout
from rankops.overlays.references import paths_read
from rankops.specs import ENVIRONMENTS, LABELS, ModelSpec
from rankops.stages.capacity import expected_peak
from rankops.stages.cost import Prices, asked_by
from rankops.stages.fetched import fetched
from rankops.stages.verified import verification_of
from rankops.store import ArtifactStore

if TYPE_CHECKING:
    from rankops.evaluation.bootstrap import Interval
    from rankops.evaluation.results import Evaluation, Slice
    from rankops.forge.pr_body import PullRequestFacts
    from rankops.overlays.mirror import GitRemote
    from rankops.overlays.proposal import Proposal
    from rankops.overlays.transaction import Render
    from rankops.release.capacity import ReleaseCapacity
    from rankops.release.manifest import ReleaseManifest

Row = dict[str, Any]

_SYSTEMS = {"challenger": "before compression", "dense": "its vectors alone", "base": "base model", "bm25": "BM25",
            "first-stage": "the order of the search"}  # fmt: skip
"""Systems that a reviewer knows by another name than an evaluation does."""
_TITLES = 3  # of each ranking of a regressed query
_MB = 1e6
_MOST_SLICES = 20


@dataclass(frozen=True)
class Evidence:
    """What is known about a release that is proposed. ``why`` are the reasons that the run was given."""

    store: ArtifactStore
    spec: ModelSpec
    release: StoredArtifact
    manifest: ReleaseManifest
    remote: GitRemote
    render: Render
    why: Sequence[str] = ()
    layout: OverlayLayout = field(default_factory=OverlayLayout)

    def describe(self, proposal: Proposal) -> tuple[str, str]:
        """Title and body of the pull request; raises :class:`IntegrityError` where the store lost the evidence."""
        from rankops.forge import pr_body

        facts = self.facts(proposal)
        return pr_body.build_title(facts), pr_body.build_body(facts, proposal.body_limit)

    def facts(self, proposal: Proposal) -> PullRequestFacts:
        """All that the body tells."""
        evaluation = _evaluation(self.store, self.release)
        plain = plain_facts(proposal)
        return dataclasses.replace(
            plain,
            lineage={**plain.lineage, **_days(self.manifest)},
            why=[*self.why, *self._drift(self.why)],
            metrics=metric_rows(evaluation),
            slices=slice_rows(evaluation),
            worst_queries=query_rows(evaluation),
            cost=self._cost(proposal),
            capacity=self.sizing,
            compression=[rung_row(rung) for rung in self.manifest.compression],
            gates=[{"gate": g.name, "passed": g.passed, "why": g.explanation} for g in self.manifest.gates],
        )

    @cached_property
    def sizing(self) -> list[Row]:
        """Requests, replicas and autoscaler for the expected peak. Advice: people own the overlay that sets them."""
        from rankops.capacity.sizing import size

        capacity, digest = self.manifest.capacity, self.manifest.dataset.digest
        if capacity is None or not capacity.measured:
            return []
        try:
            dataset = None if self.spec.serving.peak_requests_per_second else _fetch(self.store, "dataset", digest)
        except RankopsError:  # it came from another store: then only the spec can know the traffic
            dataset = None
        peak = expected_peak(self.spec, dataset)
        return [] if peak is None else size(capacity, peak).rows()

    def _drift(self, known: Sequence[str]) -> list[str]:
        """What the decision said that led to this training, where one did and the run was not told already."""
        through = self.manifest.dataset.last_day
        found = []
        for name in self.store.names(f"decisions/{self.spec.name}"):
            record = self.store.read_json(name) or {}
            if record.get("decision") and through and record.get("window_last_day") == through:
                causes = ", ".join(record.get("causes", []))
                found.append(f"drift of {record['day']}: {causes}")
                found += [str(reason) for reason in record.get("reasons", [])]
        return [line for line in dict.fromkeys(found) if line not in known]

    def _cost(self, proposal: Proposal) -> list[Row]:
        before = self._predecessor(proposal.pin.supersedes)
        folder = self.store.local_path(self.release)
        rows = [_compared("release (MB)", before and _size(before[0]), _size(folder))]
        now, then = _won(self.manifest), _won(before[1]) if before else {}
        for key, what in _RUNG_COSTS.items():
            rows.append(_compared(what, then.get(key), now.get(key)))
        rows.append(_compared("CPU time of a million queries (core hours)", _core_hours(then), _core_hours(now)))
        rows += capacity_rows(before[1].capacity if before else None, self.manifest.capacity)
        rows += [
            _compared(f"p99 of a request, verified in {e.name} (ms)", *self._p99(e.name, proposal.pin.supersedes))
            for e in ENVIRONMENTS
        ]
        rows = [row for row in rows if row["now"] is not None or row["before"] is not None]
        objective = self.spec.serving.latency_objective_ms
        return [*rows, _compared("objective of that p99 (ms)", None, objective), *self._asked(proposal)]

    def _p99(self, environment: str, before: str | None) -> tuple[float | None, float | None]:
        records = [
            verification_of(self.store, environment, self.spec.name, release) if release else {}
            for release in (before, self.release.digest)
        ]
        then, now = (record.get("p99_ms") for record in records)
        return then, now

    def _asked(self, proposal: Proposal) -> list[Row]:
        """What the pods ask for at the proposed commit; people own these numbers, and no release changes them."""
        place = (proposal.pin.environment, proposal.pin.model)
        overlay = self.layout.overlay(*place)
        with tempfile.TemporaryDirectory(prefix="rankops-proposal-") as scratch:
            paths = paths_read(self.remote, proposal.commit, overlay, self.layout.build_paths(*place))
            self.remote.export(proposal.commit, paths, Path(scratch))
            built = self.render(Path(scratch) / overlay)
        asked = asked_by(built.objects)
        if asked is None:
            return []
        rows = [_compared("asked of the cluster", None, asked.text())]
        prices = Prices.configured()
        return [*rows, _compared("cost a month", None, asked.monthly(prices))] if prices else rows

    def _predecessor(self, digest: str | None) -> tuple[Path, ReleaseManifest] | None:
        """Folder and manifest of the release that stands there now, where this store has it."""
        from rankops.release.manifest import read_manifest

        if digest is None:
            return None
        try:
            folder = _fetch(self.store, "release", digest)
            return folder, read_manifest(folder)
        except RankopsError:  # it came from another store: then there is nothing to compare with
            return None


def capacity_rows(before: ReleaseCapacity | None, now: ReleaseCapacity | None) -> list[Row]:
    """What the server was measured to carry, and uses."""
    if now is None:
        return []
    if not now.measured:
        return [_compared("capacity", None, now.sentence())]
    then = before if before is not None and before.measured and before.machine == now.machine else None
    goal = f"a p{now.percent:g} of {now.objective_ms:g} ms"
    fields = {
        "per_core": f"queries/s per core at {goal}",
        "cpu_ms_per_query": "CPU of a query in the server (ms)",
        "p50_one_client_ms": "p50 of a request without a queue (ms)",
        "memory_peak_mb": "memory of the server (MB)",
    }
    return [_compared(what, then and getattr(then, field), getattr(now, field)) for field, what in fields.items()]


def metric_rows(evaluation: Evaluation) -> list[Row]:
    """Each metric against each other system: the reference, then the others as they rank, the gate's metric first."""
    ours = evaluation.system(evaluation.challenger).metrics
    means = {score.system: score.metrics[evaluation.metric].mean for score in evaluation.systems}
    return [
        {
            "metric": LABELS[c.metric],
            "against": _SYSTEMS.get(c.other, c.other),
            "this release": _interval(ours[c.metric]),
            "theirs": _interval(evaluation.system(c.other).metrics[c.metric]),
            "difference": _interval(c.difference, signed=True),
            "verdict": c.verdict.replace("_", " "),
            "queries": c.difference.n,
        }
        for c in sorted(
            evaluation.comparisons,
            key=lambda c: (c.other != evaluation.reference, -means[c.other], c.other, c.metric != evaluation.metric),
        )
    ]


def _by_loss(part: Slice) -> float:
    return inf if part.difference is None else part.difference.mean


def slice_rows(evaluation: Evaluation) -> list[Row]:
    """The gate's metric by slice against the reference: what loses most first; too small a slice has no interval."""
    reference = evaluation.reference or ""
    return [
        {
            f"slice ({LABELS[evaluation.metric]})": part.name,
            "queries": part.n,
            "this release": _four(part.means.get(evaluation.challenger)),
            _SYSTEMS.get(reference, reference) or "reference": _four(part.means.get(reference)),
            "difference": _interval(part.difference, signed=True) if part.difference else "too few queries",
        }
        for part in sorted(evaluation.slices, key=_by_loss)[:_MOST_SLICES]
    ]


def query_rows(evaluation: Evaluation) -> list[Row]:
    """The queries that lost most, with the titles that stood first."""
    return [
        {
            "query": query.query,
            LABELS[evaluation.metric]: f"{query.reference_score:.3f} → {query.challenger_score:.3f}",
            "first now": query.challenger_titles[:_TITLES] or "nothing",
            "first before": query.reference_titles[:_TITLES] or "nothing",
        }
        for query in evaluation.regressed
    ]


def rung_row(rung: Row) -> Row:
    """One rung of the ladder as reviewers read it."""
    loss, interval = rung.get("loss_share"), rung.get("interval")
    return {
        "rung": rung.get("name"),
        "verdict": rung.get("verdict"),
        "MB": _rounded(rung.get("size_mb"), 1),
        "p50 (ms)": _rounded(rung.get("p50_ms"), 2),
        "p95 (ms)": _rounded(rung.get("p95_ms"), 2),
        "relevance": _four(rung.get("relevance")),
        "difference": f"{rung['difference']:+.4f} [{interval[0]:+.4f}, {interval[1]:+.4f}]" if interval else None,
        "lost (%)": None if loss is None else _rounded(100 * loss, 2),
        "why": rung.get("reason"),
    }


_RUNG_COSTS = {
    "size_mb": "model (MB)",
    "p50_ms": "a query through the model, p50 (ms, one thread)",
    "p95_ms": "a query through the model, p95 (ms, one thread)",
}


def _evaluation(store: ArtifactStore, release: StoredArtifact) -> Evaluation:
    """The evidence that travels with the artifact that the release was made of."""
    from rankops.evaluation.storage import load_evaluation

    return load_evaluation(_fetch(store, "artifact", release.lineage["artifact"]) / "evaluation")


def _fetch(store: ArtifactStore, kind: Kind, digest: str) -> Path:
    return fetched(store.uri(kind, digest), kind, digest)


def _days(manifest: ReleaseManifest) -> dict[str, str]:
    dataset = manifest.dataset
    return {"trained on days": f"{dataset.first_day} to {dataset.last_day}"} if dataset.first_day else {}


def _won(manifest: ReleaseManifest) -> Row:
    return next((rung for rung in manifest.compression if rung.get("verdict") == "won"), {})


def _core_hours(rung: Row) -> float | None:
    """One thread, no idle time: milliseconds a query times a million, in hours."""
    p50 = rung.get("p50_ms")
    return None if p50 is None else float(p50) * 1e6 / 1e3 / 3600


def _size(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / _MB


def _compared(what: str, before: Any, now: Any) -> Row:
    both = isinstance(before, int | float) and isinstance(now, int | float) and before
    change = f"{100 * (now / before - 1):+.0f} %" if both else None
    return {"what": what, "before": _rounded(before, 2), "now": _rounded(now, 2), "change": change}


def _four(value: float | None) -> str | None:
    """Four decimals, trailing zeros too: columns of metrics line up."""
    return None if value is None else f"{value:.4f}"


def _rounded(value: Any, digits: int) -> Any:
    return round(value, digits) + 0.0 if isinstance(value, float) else value  # + 0.0: no loss is not "-0"


def _interval(interval: Interval, *, signed: bool = False) -> str:
    sign = "+" if signed else ""
    return f"{interval.mean:{sign}.4f} [{interval.low:{sign}.4f}, {interval.high:{sign}.4f}]"
