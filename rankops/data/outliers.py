"""What no shopper does and no shop charges: bots, positions beyond any page, prices far from their category's.

Limits are absolute where there is a physical reason (nobody searches 300 times on a day) and robust where the data
must say (modified z-score by the median absolute deviation: Iglewicz & Hoaglin 1993). Prices are set to missing rather
than their products dropped: the product is still sold.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from rankops.baskets import NO_QUERY
from rankops.data.steps import Preparation, require_most


@dataclass(frozen=True)
class Limits:
    """From where on behaviour or a value is not believed."""

    searches_a_day: int = 300
    """Searches of one user on one day. The busiest of 1,900 users of the generated shop made 112."""
    click_share: float = 0.9
    """Share of the shown products that a user clicked, of ``shown_at_least`` or more: people click about one in ten."""
    shown_at_least: int = 50
    position: int = 1000
    """Nobody scrolls further; scrapers do."""
    price_score: float = 6.0
    """Modified z-score of the log price within the top-level category (3.5 is the usual bound for a look)."""
    priced_at_least: int = 20
    """Products a category needs before its prices can be judged."""


LIMITS = Limits()
_LEAST_KEPT = 0.5


def drop_bots(interactions: pl.DataFrame, log: Preparation, limits: Limits = LIMITS) -> pl.DataFrame:
    """Without the days on which a user searched too often, and without users who click nearly everything.

    Events that were no search (invoices, recorded sessions) are not judged. Raises
    :class:`rankops.errors.BadInput` where more than half of the events would go: then user ids are no user ids.
    """
    searched = interactions.filter(pl.col("query") != NO_QUERY)
    busy = (
        searched.group_by("user_id", "day")
        .agg(pl.col("search_id").n_unique().alias("searches"))
        .filter(pl.col("searches") > limits.searches_a_day)
        .select("user_id", "day", pl.lit(True).alias("busy"))
    )
    eager = (
        searched.group_by("user_id")
        .agg(pl.len().alias("shown"), pl.col("clicked").mean().alias("share"))
        .filter((pl.col("shown") >= limits.shown_at_least) & (pl.col("share") >= limits.click_share))
        .select("user_id", pl.lit(True).alias("eager"))
    )
    marked = interactions.join(busy, on=["user_id", "day"], how="left", maintain_order="left")
    marked = marked.join(eager, on="user_id", how="left", maintain_order="left")
    human = pl.col("query") == NO_QUERY
    rules = {
        f"user with more than {limits.searches_a_day} searches on the day": human | pl.col("busy").is_null(),
        f"user who clicked {limits.click_share:.0%} of what was shown": human | pl.col("eager").is_null(),
        f"position beyond {limits.position}": human | (pl.col("position") <= limits.position),
    }
    kept = log.drop("outliers", "interactions", marked, rules, show=["user_id", "day"])
    require_most(
        "removing bots",
        interactions.height,
        kept.height,
        _LEAST_KEPT,
        "check the column user_id: is it one id for all?",
    )
    return kept.drop("busy", "eager")


def drop_price_outliers(catalogue: pl.DataFrame, log: Preparation, limits: Limits = LIMITS) -> pl.DataFrame:
    """Set prices to missing that are not above zero, or far from the others of their top-level category."""
    top = pl.col("category").str.split(" > ").list.first().fill_null("")
    good = pl.col("price").is_finite() & (pl.col("price") > 0)
    logged = pl.when(good).then(pl.col("price").log())
    away = (logged - logged.median().over(top)).abs()
    # A spread of at least 0.1 (about 10 %): where nearly all prices are equal, any other would be infinitely far.
    spread = pl.max_horizontal(away.median().over(top), pl.lit(0.1))
    score = 0.6745 * away / spread
    judged = logged.count().over(top) >= limits.priced_at_least
    far = (score > limits.price_score) & judged
    marked = catalogue.with_columns(
        (pl.col("price").is_not_null() & ~good).alias("bad"), far.fill_null(False).alias("far")
    )
    found = marked.filter(pl.col("bad") | pl.col("far"))
    reasons = {
        "price not above zero": int(marked["bad"].sum()),
        "price far from its category's": int(marked["far"].sum()),
    }
    examples = [f"{title}: {price:g}" for title, price in found.select("title", "price").head(3).iter_rows()]
    log.change("price outliers", "catalogue", catalogue.height, reasons, examples)
    price = pl.when(~pl.col("bad") & ~pl.col("far")).then(pl.col("price")).alias("price")
    return marked.with_columns(price).drop("bad", "far")
