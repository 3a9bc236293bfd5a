"""Traffic and dataset: daily tables into the store, and a window of days into one dataset."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from rankops.artifacts import StoredArtifact
from rankops.errors import BadInput
from rankops.files import digest_of
from rankops.store import ArtifactStore

if TYPE_CHECKING:
    import polars as pl

    from rankops.data.preparation import NearDuplicateMode, PreparationOptions
    from rankops.dataset import Dataset

Progress = Callable[[str], None]
Judge = Callable[[list[str]], "pl.DataFrame"]


def store_day(
    store: ArtifactStore,
    *,
    name: str,
    day: date,
    catalogue: pl.DataFrame,
    interactions: pl.DataFrame,
    requests: pl.DataFrame | None,
) -> StoredArtifact:
    """Validate one day's tables, take personal data out of them and publish them.

    Raises :class:`BadInput` before anything is written.
    """
    import tempfile

    from rankops.data.cleaning import remove_personal_data
    from rankops.data.steps import Preparation
    from rankops.data.tables import check_table

    log = Preparation()
    events = check_table("interactions", interactions, f"{name} interactions of {day}")
    checked = {
        "catalogue": check_table("catalogue", catalogue, f"{name} catalogue of {day}"),
        "interactions": remove_personal_data(events, log),
    }
    if requests is not None:
        checked["requests"] = requests
    with tempfile.TemporaryDirectory(prefix="rankops-day-") as scratch:
        for table, frame in checked.items():
            frame.write_parquet(Path(scratch) / f"{table}.parquet", compression="zstd")
        return store.publish(
            "traffic",
            Path(scratch),
            lineage={"name": name, "day": day.isoformat()},
            facts={
                **{table: frame.height for table, frame in checked.items()},
                "personal_data_removed": log.steps[0].changed,
            },
        )


def assemble(
    store: ArtifactStore,
    days: Mapping[str, StoredArtifact],
    *,
    name: str,
    source: str,
    seed: int,
    judge: Judge | None,
    progress: Progress,
    near_duplicates: NearDuplicateMode = "report",
) -> tuple[StoredArtifact, bool]:
    """One dataset from consecutive days (ISO date → traffic reference); ``reused`` tells that it was known.

    The catalogue is the one of the last day; the tables are prepared (:mod:`rankops.data.preparation`), and what that
    dropped and changed is in ``facts["preparation"]``. Raises :class:`BadInput` for an empty window.
    """
    from rankops.data.preparation import VERSION, PreparationOptions

    options = PreparationOptions(near_duplicates=near_duplicates)
    if not days:
        raise BadInput(f"no day of {name} was collected in this window", f"materialize {name}/traffic first")
    ordered = sorted(days)
    key = digest_of(
        {
            "days": {day: days[day].digest for day in ordered},
            "seed": seed,
            "name": name,
            "source": source,
            "preparation": {"version": VERSION, **asdict(options)},
        }
    )

    def make(out: Path) -> tuple[dict[str, str], dict[str, object]]:
        dataset = _build(store, [days[day] for day in ordered], ordered, name, source, seed, judge, options, progress)
        dataset.save(out)
        return {"name": name, "input_key": key}, {**dataset.info, "first_day": ordered[0], "last_day": ordered[-1]}

    return store.find_or_make("dataset", key, make)


def leaks(queries: pl.DataFrame) -> list[dict[str, str]]:
    """Near-duplicate queries that stand in different splits; none in a sound dataset.

    Groups are computed again from the texts, so that a table written by hand is held to the same rule.
    """
    import polars as pl

    from rankops.data.splits import near_duplicate_groups

    groups = near_duplicate_groups(queries["query"].to_list(), queries["group_id"].to_list())
    table = queries.with_columns(pl.Series("group", groups))
    crossing = table.group_by("group").agg("query", "split").filter(pl.col("split").list.n_unique() > 1)
    return [
        {"queries": ", ".join(row["query"][:5]), "splits": ", ".join(sorted(set(row["split"])))}
        for row in crossing.sort("group").iter_rows(named=True)
    ]


def _build(
    store: ArtifactStore,
    references: Sequence[StoredArtifact],
    ordered: Sequence[str],
    name: str,
    source: str,
    seed: int,
    judge: Judge | None,
    options: PreparationOptions,
    progress: Progress,
) -> Dataset:
    import polars as pl

    from rankops.data.preparation import prepare_tables
    from rankops.data.prepare import build_dataset
    from rankops.data.segments import segment_slice

    folders = [store.local_path(reference) for reference in references]
    interactions = pl.concat([pl.read_parquet(folder / "interactions.parquet") for folder in folders])
    catalogue = pl.read_parquet(folders[-1] / "catalogue.parquet")
    progress(f"dataset: {interactions.height:,} impressions of {len(folders)} days, {catalogue.height:,} products")
    catalogue, interactions, log = prepare_tables(catalogue, interactions, options, progress)
    dataset = build_dataset(
        catalogue,
        interactions,
        judge,
        name=name,
        seed=seed,
        first_day=date.fromisoformat(ordered[0]),
        last_day=date.fromisoformat(ordered[-1]),
        source=source,
        progress=progress,
    )
    slices = {"segment": segment_slice(dataset, seed=seed)}
    return replace(dataset, info={**dataset.info, "preparation": log.facts(), "slices": slices})
