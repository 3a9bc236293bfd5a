"""Traffic (one partition a day) and the dataset that a window of days makes."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, cast

from dagster import (
    AssetCheckResult,
    AssetCheckSeverity,
    AssetCheckSpec,
    AssetDep,
    AssetExecutionContext,
    AssetKey,
    AssetsDefinition,
    BackfillPolicy,
    Config,
    DailyPartitionsDefinition,
    MaterializeResult,
    MetadataValue,
    asset,
)
from pydantic import Field

from assets.metadata import materialized
from rankops.artifacts import StoredArtifact
from rankops.errors import BadInput
from resources.cluster import Cluster
from resources.datasets import ImportedDatasets
from resources.gitops import GitOps
from resources.kustomize import Kustomize
from resources.shop import Shop
from resources.store import Store, read_reference, reference_name

if TYPE_CHECKING:
    from rankops.data.preparation import NearDuplicateMode
    from rankops.stages.live import LiveService
    from rankops.store import ArtifactStore

FIRST_DAY = date(2026, 3, 2)
DAYS = DailyPartitionsDefinition(start_date=FIRST_DAY.isoformat())
"""Days of traffic. The demo's world starts on the first of them."""


class DatasetConfig(Config):
    """Which days a dataset is made of."""

    last_day: str = Field(default="", description="ISO date; empty: the last day that was collected")
    days: int = Field(default=28, ge=1, description="length of the window, in days; a recommender wants a year")
    seed: int = Field(default=13, description="decides the splits; change it and every comparison starts anew")
    near_duplicates: str = Field(
        default="report",
        description="products of almost equal texts: report, merge (one of each group is kept) or skip",
    )


def traffic_asset(dataset: str, model: str) -> AssetsDefinition:
    """One day of the shop: catalogue snapshot, search events, and the request log where there is one."""
    checks = [
        AssetCheckSpec(f"{table}_schema", asset=AssetKey([dataset, "traffic"]), blocking=True)
        for table in ("catalogue", "interactions")
    ]

    @asset(
        key=[dataset, "traffic"],
        group_name="data",
        kinds={"parquet", "polars"},
        partitions_def=DAYS,
        backfill_policy=BackfillPolicy.multi_run(max_partitions_per_run=1),
        check_specs=checks,
        description="One day: catalogue snapshot, search events, and the server's request log.",
    )
    def traffic(
        context: AssetExecutionContext,
        shop: Shop,
        store: Store,
        gitops: GitOps,
        kustomize: Kustomize,
        cluster: Cluster,
    ) -> Iterator[MaterializeResult | AssetCheckResult]:
        opened, rows = store.open(), []
        try:
            with _audience(context, shop, gitops, kustomize, cluster, model) as live:
                for key in context.partition_keys:
                    made = _collect(opened, shop, dataset, date.fromisoformat(key), live)
                    context.log.info(f"{key}: {made.facts['interactions']:,} impressions")
                    rows.append((key, made))
        except BadInput as error:
            yield from _failed_checks(dataset, error)
            raise
        yield MaterializeResult(metadata=_days_table(rows, shop.source()))
        for spec in checks:
            yield AssetCheckResult(check_name=spec.name, passed=True, metadata={"days": len(rows)})

    return traffic


def dataset_asset(dataset: str, *, collected: bool = True) -> AssetsDefinition:
    """The dataset of a window of days: tables, leak-free splits, judgements. Not ``collected``: of a folder only."""

    @asset(
        key=[dataset, "dataset"],
        group_name="data",
        kinds={"parquet", "polars"},
        deps=[AssetDep(AssetKey([dataset, "traffic"]))] if collected else [],
        check_specs=[AssetCheckSpec("splits_leak_free", asset=AssetKey([dataset, "dataset"]), blocking=True)],
        description="Catalogue, interactions, judgements and leak-free splits of a window of days (or a folder).",
    )
    def dataset_(
        context: AssetExecutionContext,
        config: DatasetConfig,
        shop: Shop,
        imported: ImportedDatasets,
        store: Store,
    ) -> Iterator[MaterializeResult | AssetCheckResult]:
        from rankops.dataset import load_dataset
        from rankops.stages.dataset import leaks
        from rankops.stages.imported_dataset import adopt

        opened = store.open()
        if folder := imported.folder(dataset):
            made, reused = adopt(opened, folder, name=dataset, progress=context.log.info)
        else:
            if not collected:
                raise BadInput(f"no folder is named for the dataset {dataset}", "name it in the resource `imported`")
            made, reused = _assembled(context, config, shop, opened, dataset)
        found = leaks(load_dataset(opened.local_path(made)).queries)
        yield materialized(made, _facts(made), reused=reused)
        yield AssetCheckResult(
            check_name="splits_leak_free",
            passed=not found,
            # A published split is what others are compared on: its leaks are shown, and stop nobody.
            severity=AssetCheckSeverity.WARN if folder else AssetCheckSeverity.ERROR,
            metadata={"leaks": MetadataValue.json(found[:20])},
        )

    return dataset_


def _assembled(
    context: AssetExecutionContext, config: DatasetConfig, shop: Shop, store: "ArtifactStore", dataset: str
) -> tuple[StoredArtifact, bool]:
    """The dataset of the window of days that the configuration asks for."""
    from rankops.stages.dataset import assemble

    if config.near_duplicates not in ("report", "merge", "skip"):
        raise BadInput(f"near_duplicates is {config.near_duplicates!r}", "give report, merge or skip")
    window = _window(context, dataset, config)
    return assemble(
        store,
        {day: read_reference(store, [dataset, "traffic"], day, StoredArtifact) for day in window},
        name=dataset,
        source=shop.source(),
        seed=config.seed,
        judge=shop.judge(date.fromisoformat(window[-1])),
        progress=context.log.info,
        near_duplicates=cast("NearDuplicateMode", config.near_duplicates),
    )


def _audience(
    context: AssetExecutionContext, shop: Shop, gitops: GitOps, kustomize: Kustomize, cluster: Cluster, model: str
) -> "AbstractContextManager[LiveService | None]":
    """What simulated users are shown: the live service once there is one. Real users need no such thing."""
    if not shop.is_simulated:
        return nullcontext(None)
    return cluster.replaying(gitops, kustomize, gitops.champion_environment, model, context.log.info)


def _collect(store: "ArtifactStore", shop: Shop, dataset: str, day: date, live: "LiveService | None") -> StoredArtifact:
    """One day into the store, and its reference beside it."""
    from rankops.stages.dataset import store_day

    tables = shop.day(day, live.ranker(day) if live else None)
    searches = tables.interactions["search_id"].n_unique()
    made = store_day(
        store,
        name=dataset,
        day=day,
        catalogue=tables.catalogue,
        interactions=tables.interactions,
        requests=live.requests(day, searches) if live and searches else tables.requests,
    )
    store.write_json(reference_name([dataset, "traffic"], day.isoformat()), made.model_dump(mode="json"))
    return made


def _window(context: AssetExecutionContext, dataset: str, config: DatasetConfig) -> list[str]:
    """The collected days of the window, oldest first; raises BadInput naming the days that are missing."""
    collected = set(context.instance.get_materialized_partitions(AssetKey([dataset, "traffic"])))
    if not collected:
        raise BadInput(f"no day of {dataset}/traffic was collected yet", f"materialize some days of {dataset}/traffic")
    last = date.fromisoformat(config.last_day or max(collected))
    first = max(last - timedelta(days=config.days - 1), date.fromisoformat(min(collected)))
    wanted = [(first + timedelta(days=i)).isoformat() for i in range((last - first).days + 1)]
    if missing := [day for day in wanted if day not in collected]:
        raise BadInput(f"days of {dataset}/traffic are missing: {', '.join(missing)}", "materialize these partitions")
    return wanted


def _failed_checks(dataset: str, error: BadInput) -> Iterator[AssetCheckResult]:
    """A failed check for the table that the error names, so that the UI shows where to look."""
    for table in ("catalogue", "interactions"):
        if table in error.problem:
            yield AssetCheckResult(
                check_name=f"{table}_schema", passed=False, metadata={"problem": MetadataValue.md(f"```\n{error}\n```")}
            )
            return


def _days_table(rows: list[tuple[str, StoredArtifact]], source: str) -> dict[str, Any]:
    lines = ["| day | products | impressions | requests | digest |", "|---|--:|--:|--:|---|"]
    lines += [
        f"| {day} | {made.facts['catalogue']:,} | {made.facts['interactions']:,} "
        f"| {made.facts.get('requests', 0):,} | `{made.short}` |"
        for day, made in rows
    ]
    return {
        "days": MetadataValue.md("\n".join(lines)),
        "source": MetadataValue.text(source),
        "impressions": sum(int(made.facts["interactions"]) for _, made in rows),
    }


def _facts(made: StoredArtifact) -> dict[str, Any]:
    from rankops.data.steps import preparation_markdown

    shown: dict[str, Any] = {k: value for k, value in made.facts.items() if isinstance(value, int | float | str)}
    if steps := made.facts.get("preparation"):
        shown["preparation"] = MetadataValue.md(preparation_markdown(steps))
    return shown
