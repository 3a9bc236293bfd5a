"""A day in the shop: who searches what, what the page shows, and what shoppers do with it.

The page is the ranker's list, lightly shuffled (stock and personalisation do that in every shop), with up to three
places given to products of the department that the shopper has been browsing. Those places are how clicks teach
words that no engine knows; the shuffle is what lets position bias be estimated. Behaviour follows the
position-based model: a click needs examination (known, by position) and attraction (truth, taste and price).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rankops.data.shop.catalogue import FAMILIES, OLD_FAMILIES, TYPES, Floats, Ints, Products
from rankops.data.shop.queries import QueryPool
from rankops.data.shop.truth import Intents, grades
from rankops.data.shop.users import Users
from rankops.data.shop.world import World

PAGE = 10
EXAMINATION_EXPONENT = 0.8
_ATTRACTION = np.array([0.015, 0.06, 0.24, 0.6])  # chance of a click on an examined product, by grade
_PURCHASE = np.array([0.02, 0.06, 0.14, 0.3])  # chance of a purchase after a click, by grade
_SHUFFLE = 0.7  # standard deviation, in places, of the light shuffle
_SHELF_PLACES = 3
_SHELF_TYPE_SHARE = 0.6
_FAVOURITE_SHARE = 0.4
_SEASON_RATIO = 1.5  # log of the largest factor at full strength, up and down: e^3 is about 20
_WEEK = np.array([1.0, 0.97, 0.96, 0.98, 1.05, 1.18, 1.12])

Flags = npt.NDArray[np.bool_]


def examination(positions: npt.NDArray[Any]) -> Floats:
    """Chance that a shopper looks at a position (1 is the first): ``position ** -0.8``."""
    return np.asarray(positions, dtype=np.float64) ** -EXAMINATION_EXPONENT


@dataclass(frozen=True)
class Market:
    """What a day's events depend on besides the day."""

    world: World
    products: Products
    users: Users
    pool: QueryPool

    def random(self, stream: int, offset: int) -> np.random.Generator:
        """One independent generator per purpose and day: days can be made alone and in any order."""
        return np.random.default_rng([self.world.seed, stream, offset])

    def wanted(self, searches: Searches) -> Intents:
        """The intent of each search."""
        return self.pool.intents.take(self.pool.intent_of[searches.surface])


@dataclass(frozen=True)
class Searches:
    """One day's searches: user rows and surface rows of the query pool."""

    user: Ints
    surface: Ints

    def __len__(self) -> int:
        return len(self.user)


@dataclass(frozen=True)
class Impressions:
    """Flat arrays, one entry per product shown, ordered by search and position."""

    search: Ints
    position: Ints
    product: Ints
    clicked: Flags
    purchased: Flags


def searches_of(market: Market, offset: int) -> Searches:
    """Who searches what on a day; drifts that change demand and words act here."""
    world, users, pool = market.world, market.users, market.pool
    rng = market.random(30, offset)
    weekday = world.day(offset).weekday()
    count = int(rng.poisson(world.searches_per_day * _WEEK[weekday]))
    user = np.searchsorted(np.cumsum(users.activity), rng.random(count)).clip(max=len(users) - 1).astype(np.int64)
    family = _families(market, offset, user, rng)
    entry = pool.draw(family, rng.random(count))
    surface = pool.entry_surface[entry]
    chance, language = rng.random((2, count)), rng.integers(0, pool.translated.shape[1], count)
    foreign = (chance[0] < world.strength("language_mix", offset)) & (pool.translated[entry, language] >= 0)
    surface = np.where(foreign, pool.translated[entry, language], surface)
    fresh = (chance[1] < world.strength("new_slang", offset)) & (pool.new_slang[entry] >= 0) & ~foreign
    return Searches(user, np.where(fresh, pool.new_slang[entry], surface))


def _families(market: Market, offset: int, user: Ints, rng: np.random.Generator) -> Ints:
    world, users = market.world, market.users
    weight = market.pool.family_weight()
    season = np.array([family.season for family in FAMILIES[:OLD_FAMILIES]])
    weight = weight * np.exp(season * _SEASON_RATIO * world.strength("seasonal_shift", offset))
    drawn = np.searchsorted(np.cumsum(weight / weight.sum()), rng.random(len(user))).clip(max=OLD_FAMILIES - 1)
    favourite = users.favourites[user, rng.integers(0, 2, len(user))]
    # Out of season even those who like a family ask for it less: they fall back to the day's mix.
    likely = _FAVOURITE_SHARE * np.exp(np.minimum(season, 0) * _SEASON_RATIO * world.strength("seasonal_shift", offset))
    family = np.where(rng.random(len(user)) < likely[favourite], favourite, drawn)
    is_new = rng.random(len(user)) < world.strength("new_category", offset)
    return np.where(is_new, OLD_FAMILIES, family)


def top_of(lists: Sequence[Ints]) -> Ints:
    """(lists, 10) the first ten of each ranking, ``-1`` where one is shorter."""
    ranked = np.full((len(lists), PAGE), -1, dtype=np.int64)
    for row, found in enumerate(lists):
        ranked[row, : min(PAGE, len(found))] = found[:PAGE]
    return ranked


def pages(market: Market, searches: Searches, ranked: Ints, offset: int) -> Ints:
    """(searches, 10) product rows as shown, ``-1`` where a place stays empty; ``ranked`` as from :func:`top_of`."""
    rng = market.random(31, offset)
    count = len(searches)
    order = np.arange(PAGE) + rng.normal(0, _SHUFFLE, (count, PAGE)) + PAGE * 2 * (ranked < 0)
    page = np.take_along_axis(ranked, np.argsort(order, axis=1, kind="stable"), axis=1)
    shelf = _shelf(market, searches, offset, rng)
    places = np.argsort(rng.random((count, PAGE - 2)), axis=1)[:, :_SHELF_PLACES] + 2
    wanted = page < 0
    np.put_along_axis(wanted, places, True, axis=1)
    page = np.where(wanted, shelf, page)
    for place in range(1, PAGE):
        repeated = (page[:, :place] == page[:, place : place + 1]).any(axis=1)
        page[repeated, place] = -1
    return page


def _shelf(market: Market, searches: Searches, offset: int, rng: np.random.Generator) -> Ints:
    """(searches, 10) random products of the department in which each shopper is, mostly of the type in mind."""
    products, intents = market.products, market.wanted(searches)
    available = products.available(offset)
    shape = (len(searches), PAGE)
    of_type = _pick(products.kind[available], len(TYPES), np.maximum(intents.kind, 0), rng.random(shape))
    of_family = _pick(products.family[available], len(FAMILIES), intents.family, rng.random(shape))
    in_mind = (rng.random(shape) < _SHELF_TYPE_SHARE) & (intents.kind >= 0)[:, None] & (of_type >= 0)
    row = np.where(in_mind, of_type, of_family)
    return np.where(row >= 0, available[row], -1)


def _pick(labels: Ints, count: int, wanted: Ints, uniform: Floats) -> Ints:
    """For each row a random place in ``labels`` whose label is ``wanted``; -1 where there is none."""
    order = np.argsort(labels, kind="stable")
    sizes = np.bincount(labels, minlength=count)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    place = starts[wanted][:, None] + (uniform * sizes[wanted][:, None]).astype(np.int64)
    return np.where(sizes[wanted][:, None] > 0, order[np.minimum(place, len(order) - 1)], -1)


def behave(market: Market, searches: Searches, page: Ints, offset: int) -> Impressions:
    """Clicks and purchases on the pages. The draws depend on the search only: same pages, same behaviour."""
    products, users = market.products, market.users
    rng = market.random(32, offset)
    shown: Flags = page >= 0
    rows = np.maximum(page, 0)
    graded = grades(market.wanted(searches), products, rows)
    liking = users.liking(searches.user, products.brand[rows])
    medians = np.log([kind.price for kind in TYPES])
    inflation = np.log1p(market.world.strength("price_inflation", offset))
    dearness = products.log_price[rows] + inflation - medians[products.kind[rows]]
    put_off = np.exp(-users.price_sensitivity[searches.user][:, None] * dearness)
    appeal = np.exp(0.4 * liking) * np.clip(put_off, 0.25, 2.0)
    position = np.cumsum(shown, axis=1, dtype=np.int64)
    click_chance = examination(np.maximum(position, 1)) * np.clip(_ATTRACTION[graded] * appeal, 0, 0.95)
    draws = rng.random((2, *page.shape))
    clicked = shown & (draws[0] < click_chance)
    purchased = clicked & (draws[1] < np.clip(_PURCHASE[graded] * np.clip(put_off, 0.25, 2.0), 0, 0.95))
    search, place = np.nonzero(shown)
    flat = (search, place)
    return Impressions(
        search=search,
        position=position[flat],
        product=page[flat],
        clicked=np.asarray(clicked[flat]),
        purchased=np.asarray(purchased[flat]),
    )
