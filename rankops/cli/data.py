"""Commands about data: generated shops, tables that are checked, and published data sets that are imported."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rankops.cli.common import progress, reported, say
from rankops.errors import BadInput
from rankops.state import LocalState

TABLES = ("catalogue", "interactions", "queries", "judgements")


@reported
def shop(
    world: Annotated[Path, typer.Argument(help="a world file (YAML or JSON)")],
    out: Annotated[Path, typer.Option(help="new folder for the tables")],
    days: Annotated[str | None, typer.Option(help="offsets FIRST:LAST, both included (default: all)")] = None,
) -> None:
    """Write a generated shop: catalogue.parquet (of the last day) and interactions/DAY.parquet."""
    from rankops.data.shop.shop import Shop
    from rankops.data.shop.world import load_world
    from rankops.files import staged_directory

    if out.exists():
        raise BadInput(f"{out} exists already", "give a folder that does not exist, or remove it first")
    declared = load_world(world)
    wanted = _offsets(days, declared.days)
    with progress() as tell, staged_directory(out) as staged:
        tell("making products, users and queries")
        made, events = Shop(declared), 0
        (staged / "interactions").mkdir()
        for offset in wanted:
            day = declared.day(offset)
            table = made.events(day)
            table.write_parquet(staged / "interactions" / f"{day}.parquet", compression="zstd")
            events += table.height
            tell(f"{day}: {events:,} events so far")
        catalogue = made.catalogue(declared.day(wanted[-1]))
        catalogue.write_parquet(staged / "catalogue.parquet", compression="zstd")
    say(f"{out}: {catalogue.height:,} products, {events:,} events on {len(wanted)} days")


def _offsets(days: str | None, count: int) -> range:
    if days is None:
        return range(count)
    first, separator, last = days.partition(":")
    if not first.isdigit() or (separator and not last.isdigit()):
        raise BadInput(f"--days {days!r} is no range of offsets", "give FIRST:LAST, e.g. 0:13")
    wanted = range(int(first), int(last if separator else first) + 1)
    if not wanted or wanted[-1] >= count:
        raise BadInput(f"--days {days} is outside the world's days 0:{count - 1}", "raise 'days' in the world file")
    return wanted


@reported
def validate(
    table: Annotated[str, typer.Argument(help=" | ".join(TABLES))],
    file: Annotated[str, typer.Argument(help="Parquet, CSV, TSV or JSON lines, at any fsspec path")],
    catalogue: Annotated[str | None, typer.Option(help="catalogue that every product must be in")] = None,
    column: Annotated[list[str] | None, typer.Option(help="THEIRS=OURS; repeat for more")] = None,
) -> None:
    """Check a table against its schema; every error names row, column and rule."""
    if table not in TABLES:
        raise BadInput(f"{table!r} is no table", f"give one of {', '.join(TABLES)}")
    from rankops.data.importers import import_table

    mapping = dict(_pair(text) for text in column or [])
    products = import_table("catalogue", catalogue) if catalogue else None
    found = import_table(table, file, mapping, catalogue=products)  # type: ignore[arg-type]
    say(f"{file}: {found.height:,} rows, a valid {table} table")


@reported
def import_(
    kind: Annotated[str, typer.Argument(help="icecat, retail, matching_wdc, wands, esci, multi-cpr or retailrocket")],
    path: Annotated[Path, typer.Argument(help="where the published files lie")],
    out: Annotated[Path, typer.Option(help="new dataset folder")],
    option: Annotated[list[str] | None, typer.Option(help="NAME=VALUE, e.g. locale=es for esci; repeat")] = None,
    near_duplicates: Annotated[str, typer.Option(help="report, merge or skip")] = "report",
) -> None:
    """Read a published data set, prepare it, and write a dataset folder (and a file a day where there are events)."""
    from rankops.data.preparation import PreparationOptions
    from rankops.data.registry import import_dataset, write_dataset
    from rankops.data.steps import preparation_markdown

    if near_duplicates not in ("report", "merge", "skip"):
        raise BadInput(f"--near-duplicates {near_duplicates!r} is no choice", "give report, merge or skip")
    if out.exists():
        raise BadInput(f"{out} exists already", "give a folder that does not exist, or remove it first")
    choice = PreparationOptions(near_duplicates=near_duplicates)  # type: ignore[arg-type]
    given = dict(_pair(text, "--option", "locale=es") for text in option or [])
    with progress() as tell:
        dataset = import_dataset(kind, path, given, preparation=choice, progress=tell)
        tell(f"writing {out}")
        days = write_dataset(dataset, out)
    say(preparation_markdown(dataset.info["preparation"]))
    counts = ", ".join(f"{name} {count:,}" for name, count in dataset.info["counts"].items())
    say(f"{out}: {counts}" + (f", {days:,} days" if days else ""))


ModelOption = Annotated[str, typer.Option(help="a model's name (its release in staging), or a release's folder or URL")]
JudgedOption = Annotated[
    bool, typer.Option(help="learn from judged dev results only (else what nobody judged counts as wrong)")
]


@reported
def label_next(
    dataset_dir: Annotated[Path, typer.Argument(help="a rankops dataset folder")],
    model: ModelOption,
    out: Annotated[Path, typer.Option(help="file for the pairs (tab-separated); replaced as a whole")],
    count: Annotated[int, typer.Option(min=1, help="pairs to judge")] = 100,
    judged_only: JudgedOption = False,
    public_key: Annotated[Path | None, typer.Option(help="key that verifies the release")] = None,
) -> None:
    """Choose which (query, product) pairs people should judge next: uncertain ones, of different kinds."""
    from rankops.dataset import load_dataset
    from rankops.predict import resolve_release
    from rankops.stages.labelling import label_next as choose_pairs

    state = LocalState.current()
    with progress() as tell:
        release = resolve_release(model, public_key or state.public_key, state)
        dataset = load_dataset(dataset_dir)
        chosen = choose_pairs(release, dataset, out, count=count, judged_only=judged_only, progress=tell)
    say(f"{out}: {chosen:,} pairs to judge")


@reported
def pseudo_label(
    dataset_dir: Annotated[Path, typer.Argument(help="a rankops dataset folder")],
    model: ModelOption,
    out: Annotated[Path, typer.Option(help="new dataset folder")],
    precision: Annotated[float, typer.Option(help="share of right labels that must be proven on dev (95 %)")] = 0.9,
    judged_only: JudgedOption = False,
    public_key: Annotated[Path | None, typer.Option(help="key that verifies the release")] = None,
) -> None:
    """Write the dataset with train judgements that a released retriever adds, as far as dev proves them."""
    from rankops.data.registry import write_dataset
    from rankops.dataset import load_dataset
    from rankops.predict import resolve_release
    from rankops.stages.labelling import pseudo_label as add_labels

    if out.exists():
        raise BadInput(f"{out} exists already", "give a folder that does not exist, or remove it first")
    state = LocalState.current()
    with progress() as tell:
        release = resolve_release(model, public_key or state.public_key, state)
        dataset = load_dataset(dataset_dir)
        labelled = add_labels(release, dataset, precision=precision, judged_only=judged_only, progress=tell)
        write_dataset(labelled, out)
    facts = labelled.info["pseudo_labels"]
    say(
        f"{out}: {facts['labels']:,} labels at scores of {facts['score']:.4f} or more, "
        f"{facts['right']:,} of {facts['judged']:,} judged were right (at least {facts['lower']:.1%})"
    )


@reported
def select_features(
    dataset_dir: Annotated[Path, typer.Argument(help="a rankops dataset folder with judgements of train queries")],
    keep: Annotated[int, typer.Option(min=1, help="features to keep at most")] = 24,
    seed: Annotated[int, typer.Option(help="of the mutual information estimate")] = 13,
) -> None:
    """Show which tabular features of the ranker tell right from wrong pairs (train split)."""
    from rankops.dataset import load_dataset
    from rankops.feature_selection import features_markdown
    from rankops.stages.features import feature_report

    with progress() as tell:
        scores = feature_report(load_dataset(dataset_dir), keep=keep, seed=seed, progress=tell)
    say(features_markdown(scores))
    say(f"{sum(score.kept for score in scores)} of {len(scores)} features kept")


def _pair(text: str, flag: str = "--column", example: str = "sku=product_id") -> tuple[str, str]:
    theirs, separator, ours = text.partition("=")
    if not separator or not theirs or not ours:
        raise BadInput(f"{flag} {text!r} says nothing", f"give two names, e.g. {flag} {example}")
    return theirs, ours
