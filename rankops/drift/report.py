"""One day of traffic, and the days before it where it is small, against what the live release learned from.

``build_report`` writes three files into a folder, all or nothing: ``report.html`` (Evidently's own page),
``drift.json`` (this record, for machines) and ``summary.png``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import date
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from rankops.drift.evidently_report import DRIFT_SHARE, ColumnDrift, column_drift
from rankops.drift.findings import Finding
from rankops.drift.reference import Reference, widened
from rankops.drift.summaries import DaySummary, by_top_level
from rankops.drift.summarize import Traffic, summarize, summarize_days
from rankops.drift.traffic_frame import sample_frame
from rankops.errors import BadInput
from rankops.files import digest_of, write_bytes, write_json, write_text

HTML, JSON, PNG = "report.html", "drift.json", "summary.png"


class Side(BaseModel):
    """One side of the comparison, for people."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    days: list[str]
    searches: int
    requests: int
    products: int
    zero_click_rate: float
    mrr: float = Field(description="of the first click, over all searches")
    categories: dict[str, int] = Field(description="clicked searches by first level of the category")

    @property
    def span(self) -> str:
        """Its days, for people."""
        if len(self.days) < 2:
            return self.days[0] if self.days else "none"
        return f"{self.days[0]} to {self.days[-1]} ({len(self.days)} days)"

    @classmethod
    def of(cls, summary: DaySummary) -> Side:
        """The facts of a summary that the page shows."""
        return cls(
            days=summary.days,
            searches=summary.searches,
            requests=summary.requests,
            products=len(summary.catalogue.products.entries) << summary.catalogue.products.level,
            zero_click_rate=round(summary.zero_click_searches / max(1, summary.searches), 6),
            mrr=round(summary.mrr, 6),
            categories=by_top_level(summary.searches_by_clicked_category),
        )


class DriftReport(BaseModel):
    """What drifted. ``causes`` holds every test, drifted ones first; ``fingerprint`` is equal for equal content."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    day: date
    release: str = Field(description="digest of the live release")
    reference: Side
    current: Side
    window: Side | None = Field(
        default=None, description="current and the days before it since the release learned; None: the day says enough"
    )
    new_products_share: float
    columns: list[ColumnDrift]
    causes: list[Finding]
    drifted: bool
    fingerprint: str = Field(pattern=r"^[0-9a-f]{64}$")

    @property
    def widest(self) -> Side:
        """All that was read of the traffic since the release learned."""
        return self.window or self.current

    @property
    def drifted_causes(self) -> list[Finding]:
        """The findings that drifted, causes before symptoms, strongest first."""
        return [finding for finding in self.causes if finding.drifted]

    @property
    def names(self) -> list[str]:
        """The names of :attr:`drifted_causes`."""
        return [finding.name for finding in self.drifted_causes]


def build_report(
    reference: Traffic | Sequence[DaySummary],
    current: Traffic | DaySummary,
    *,
    model: str,
    day: date,
    release: str,
    out: Path,
    earlier: Iterable[Traffic | DaySummary] = (),
    progress: Callable[[str], None] = lambda _: None,
) -> DriftReport:
    """Compare ``current`` (the traffic of ``day``) with ``reference`` (days that the live ``release`` learned from).

    ``earlier`` are the days before it that the release did not learn from, newest first; they are read where the day
    is too small by itself (:func:`~rankops.drift.reference.widened`). Each side may be given as summaries, so that a
    reference is read once and kept. Raises :class:`BadInput` for an empty side (nothing is written), or a current side
    that holds other days than ``day``.
    """
    progress(f"drift of {day}: summarizing traffic")
    days = summarize_days(reference) if isinstance(reference, Traffic) else list(reference)
    now, known = _summarized(current), Reference(days)
    learned = known.whole
    _require_traffic(learned, now, model, day)
    window = widened(now, (_summarized(one) for one in earlier))
    read = f"{now.searches:,} searches" if window is None else f"{window.searches:,} of {len(window.days)} days"
    progress(f"drift of {day}: {read} against {learned.searches:,} of {len(learned.days)} days")
    findings = known.findings(now, window)
    scores = set(learned.releases) == set(now.releases) and len(now.releases) == 1
    progress(f"drift of {day}: Evidently compares the samples")
    columns, html = column_drift(
        sample_frame(learned, learned, with_scores=scores), sample_frame(now, learned, with_scores=scores)
    )
    report = record(learned, now, window, findings, columns, model=model, day=day, release=release)
    from rankops.drift.plots import summary_png

    picture = summary_png(report)
    write_text(out / HTML, html)
    write_bytes(out / PNG, picture)
    write_json(out / JSON, report.model_dump(mode="json"))
    return report


def load_report(folder: Path) -> DriftReport:
    """Read ``drift.json``. Raises :class:`BadInput` when it is missing."""
    path = folder / JSON
    if not path.is_file():
        raise BadInput(f"{path} is missing", "rematerialize the drift report of that day")
    return DriftReport.model_validate_json(path.read_text())


def _require_traffic(reference: DaySummary, current: DaySummary, model: str, day: date) -> None:
    if not reference.searches:
        raise BadInput(
            f"the reference of {model} for {day} holds no search",
            "give the interactions of the days that the live release was trained on",
        )
    if not current.searches:
        raise BadInput(
            f"{day}: {model} saw no traffic, so there is nothing to compare",
            "check that the event feed and the request log of that day have arrived, then materialize the day again",
        )
    if current.days != [day.isoformat()]:
        raise BadInput(f"the traffic given for {day} is of {', '.join(current.days)}", "give the rows of that day only")


def _summarized(side: Traffic | DaySummary) -> DaySummary:
    return summarize(side) if isinstance(side, Traffic) else side


def record(
    learned: DaySummary,
    now: DaySummary,
    window: DaySummary | None,
    findings: Sequence[Finding],
    columns: Sequence[ColumnDrift] = (),
    *,
    model: str,
    day: date,
    release: str,
) -> DriftReport:
    """The report of what was found, without its files."""
    findings = [_rounded(finding) for finding in findings]
    if (unexplained := _unexplained(findings, columns)) is not None:
        findings = [unexplained, *findings]
    content: dict[str, object] = {
        "model": model,
        "day": day.isoformat(),
        "release": release,
        "reference": Side.of(learned).model_dump(),
        "current": Side.of(now).model_dump(),
        "window": None if window is None else Side.of(window).model_dump(),
        "new_products_share": round(_new_products(learned, now), 6),
        "columns": [column.model_dump() for column in columns],
        "causes": [finding.model_dump(mode="json") for finding in findings],
        "drifted": any(finding.drifted for finding in findings),
    }
    return DriftReport.model_validate({**content, "fingerprint": digest_of(content)})


def _rounded(finding: Finding) -> Finding:
    """Six digits: enough to read, and equal on machines whose last bits differ."""
    return finding.model_copy(update={"score": round(finding.score, 6), "threshold": round(finding.threshold, 6)})


def _unexplained(findings: Sequence[Finding], columns: Sequence[ColumnDrift]) -> Finding | None:
    """A finding for drift that Evidently sees in half of the columns while no named cause does."""
    moved = [column for column in columns if column.drifted]
    if any(finding.drifted for finding in findings) or not columns or len(moved) < DRIFT_SHARE * len(columns):
        return None
    return Finding(
        name="unexplained_shift",
        score=round(len(moved) / len(columns), 6),
        threshold=DRIFT_SHARE,
        significant=True,
        evidence=f"Evidently sees drift in {len(moved)} of {len(columns)} columns, and no named cause explains it.",
        examples=tuple(f"{c.column}: {c.score:.3f} (threshold {c.threshold:.3f})" for c in moved),
    )


def _new_products(reference: DaySummary, current: DaySummary) -> float:
    level = max(reference.catalogue.products.level, current.catalogue.products.level)
    known, now = reference.catalogue.products.at(level), current.catalogue.products.at(level)
    return sum(key not in known for key in now) / len(now) if now else 0.0
