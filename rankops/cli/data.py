"""Commands about data: generated shops, and tables that are checked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rankops.cli.common import progress, reported, say
from rankops.errors import BadInput

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


def _pair(text: str) -> tuple[str, str]:
    theirs, separator, ours = text.partition("=")
    if not separator or not theirs or not ours:
        raise BadInput(f"--column {text!r} maps nothing", "give THEIRS=OURS, e.g. --column sku=product_id")
    return theirs, ours
