"""Sessions: what one user did without a long pause, and interactions made of a clickstream.

With timestamps a session ends after 30 minutes without an event (the rule of web analytics since Catledge & Pitkow
1995). Without them a user's day is the session, which is what :func:`rankops.baskets.baskets_of` takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import polars as pl

from rankops.baskets import NO_QUERY
from rankops.dataset import COLUMNS
from rankops.errors import BadInput

PAUSE = timedelta(minutes=30)
EVENTS = ("user_id", "time", "product_id", "event")
VIEW, PURCHASE = "view", "purchase"


def add_sessions(events: pl.DataFrame, pause: timedelta = PAUSE) -> pl.DataFrame:
    """``events`` (``user_id``, ``time`` and more) sorted by both, with ``session_id``: user and number from 0.

    An event belongs to the session of the user's event before it when at most ``pause`` lies between.
    """
    ordered = events.sort("user_id", "time", maintain_order=True)
    new = (pl.col("time").diff().over("user_id") > pause).fill_null(False)
    number = new.cast(pl.Int64).cum_sum().over("user_id")
    return ordered.with_columns(pl.concat_str("user_id", pl.lit("-"), number.cast(pl.String)).alias("session_id"))


def interactions_of_events(
    events: pl.DataFrame, kinds: Mapping[str, str], pause: timedelta = PAUSE
) -> tuple[pl.DataFrame, dict[str, int]]:
    """A clickstream (columns :data:`EVENTS`) as the table ``interactions``, and facts about its sessions.

    ``kinds`` says what each value of ``event`` is (``view`` or ``purchase``). One row for each product of a session, in
    the order in which it was first seen, on the day on which the session began; the query is ``-``. Raises
    :class:`BadInput` for an event that ``kinds`` does not name.
    """
    if strange := sorted(set(events["event"].unique().to_list()) - set(kinds)):
        raise BadInput(f"events of the kind {', '.join(map(repr, strange))}", f"known are {', '.join(kinds)}")
    bought = [kind for kind, meaning in kinds.items() if meaning == PURCHASE]
    sessions = add_sessions(events, pause).with_columns(
        pl.col("time").min().over("session_id").dt.date().alias("day"), pl.col("event").is_in(bought).alias("bought")
    )
    table = (
        sessions.group_by("session_id", "product_id", maintain_order=True)
        .agg(pl.col("day").first(), pl.col("user_id").first(), pl.col("bought").any().alias("purchased"))
        .with_columns(
            pl.int_range(1, pl.len() + 1).over("session_id").cast(pl.Int32).alias("position"),
            pl.lit(NO_QUERY).alias("query"),
            pl.lit(True).alias("clicked"),
        )
        .rename({"session_id": "search_id"})
        .select(list(COLUMNS["interactions"]))
        .sort("day", "search_id", "position")
    )
    return table, session_facts(table)


def session_facts(interactions: pl.DataFrame) -> dict[str, int]:
    """How many sessions (``search_id`` where there was no query, else the user's day), and how many of one product."""
    own = pl.concat_str(pl.col("user_id"), pl.lit("@"), pl.col("day").cast(pl.String))
    key = pl.when(pl.col("query") != NO_QUERY).then(own).otherwise(pl.col("search_id")).alias("session")
    sizes = interactions.group_by(key).agg(pl.col("product_id").n_unique().alias("products"))
    return {"sessions": sizes.height, "of one product": int((sizes["products"] == 1).sum())}
