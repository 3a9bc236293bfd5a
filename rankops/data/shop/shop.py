"""The generated shop as callers see it: catalogue, searches, events and judgements of any of its days."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import numpy as np
import polars as pl

from rankops.data.shop.catalogue import OLD_FAMILIES, Ints, catalogue_on, catalogue_table, make_products
from rankops.data.shop.events import Market, Searches, behave, pages, searches_of, top_of
from rankops.data.shop.legacy import KeywordEngine
from rankops.data.shop.queries import make_queries
from rankops.data.shop.truth import grades, rater_noise
from rankops.data.shop.users import make_users
from rankops.data.shop.world import World
from rankops.dataset import COLUMNS
from rankops.errors import BadInput
from rankops.text import normalize_query

Ranker = Callable[[list[str]], list[list[str]]]
"""From distinct queries to ranked product ids, best first (fewer than ten is fine)."""


class Shop:
    """A shop made from a world. Every method is a pure function of the world and its arguments."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.products = make_products(world)
        self.users = make_users(world)
        self.pool = make_queries(world, self.products)
        self._market = Market(world, self.products, self.users, self.pool)
        self._table = catalogue_table(world, self.products)
        self._row_of_id = {name: row for row, name in enumerate(self._table["product_id"].to_list())}
        self._row_of_query = {text: row for row, text in enumerate(self.pool.surfaces)}
        self._engines: dict[tuple[bool, bool], KeywordEngine] = {}

    def catalogue(self, day: date) -> pl.DataFrame:
        """The product feed as of ``day``, columns as in ``rankops.dataset``."""
        return catalogue_on(self.world, self.products, self._table, day)

    def day_queries(self, day: date) -> pl.DataFrame:
        """The day's searches without results: ``search_id, user_id, query`` in order of time."""
        searches = self._searches(day)
        return pl.DataFrame(
            {
                "search_id": self._search_ids(day, np.arange(len(searches))),
                "user_id": self._user_ids(searches.user),
                "query": pl.Series(self.pool.surfaces, dtype=pl.String).gather(searches.surface),
            }
        )

    def events(self, day: date, ranker: Ranker | None = None) -> pl.DataFrame:
        """The day's interactions. ``ranker`` fills the pages; ``None`` is the old keyword engine.

        Raises :class:`BadInput` for a day outside the world, a ranker that returns another number of lists than it
        got queries, or a product that the shop does not sell on that day.
        """
        offset = self.world.offset(day)
        searches = self._searches(day)
        page = pages(self._market, searches, self._ranked(searches, offset, ranker), offset)
        seen = behave(self._market, searches, page, offset)
        surface = searches.surface[seen.search]
        return pl.DataFrame(
            {
                "search_id": self._search_ids(day, seen.search),
                "day": pl.repeat(day, len(seen.search), eager=True, dtype=pl.Date()),
                "user_id": self._user_ids(searches.user[seen.search]),
                "query": pl.Series(self.pool.surfaces, dtype=pl.String).gather(surface),
                "position": seen.position.astype(np.int32),
                "product_id": self._table["product_id"].gather(seen.product),
                "clicked": seen.clicked,
                "purchased": seen.purchased,
            },
            schema=COLUMNS["interactions"],
        )

    def judge(self, queries: list[str], day: date, *, noise: float = 0.02) -> pl.DataFrame:
        """Graded truth on the day's catalogue with rater noise: ``query, product_id, grade``, sorted, each query once.

        Every product whose true grade is above 0 is judged; a pair that is absent is a 0. ``query`` is returned as
        it was given. Raises :class:`BadInput` listing the queries that this shop never produces.
        """
        available = self.products.available(self.world.offset(day))
        queries = list(dict.fromkeys(queries))
        rows = self._known(queries)
        parts = [self._judged(row, available, noise) for row in rows]
        counts = np.array([len(kept) for kept, _ in parts], dtype=np.int64)
        nothing = np.empty(0, dtype=np.int64)
        kept = np.concatenate([nothing, *(kept for kept, _ in parts)])
        graded = np.concatenate([nothing, *(graded for _, graded in parts)])
        return pl.DataFrame(
            {
                "query": pl.Series(queries, dtype=pl.String).gather(np.repeat(np.arange(len(queries)), counts)),
                "product_id": self._table["product_id"].gather(kept),
                "grade": graded.astype(np.int8),
            }
        ).sort("query", "product_id")

    def _judged(self, row: int, available: Ints, noise: float) -> tuple[Ints, Ints]:
        """Product rows whose true grade for the surface ``row`` is above 0, and their grades as rated."""
        intent = self.pool.intents.take(np.array([self.pool.intent_of[row]]))
        graded = grades(intent, self.products, available[None, :])[0]
        found = np.flatnonzero(graded)
        rated = rater_noise(self.pool.surfaces[row], graded[found], self.world.seed, noise)
        return available[found], rated.astype(np.int64)

    def _known(self, queries: list[str]) -> list[int]:
        rows = [self._row_of_query.get(normalize_query(query), -1) for query in queries]
        unknown = [query for query, row in zip(queries, rows, strict=True) if row < 0]
        if unknown:
            raise BadInput(
                f"{len(unknown)} queries are not the generated shop's: {', '.join(map(repr, unknown[:10]))}",
                "judge only queries from events() or day_queries() of a shop with the same world",
            )
        return rows

    def _searches(self, day: date) -> Searches:
        return searches_of(self._market, self.world.offset(day))

    def _ranked(self, searches: Searches, offset: int, ranker: Ranker | None) -> Ints:
        """(searches, 10) product rows, ranked once per distinct query."""
        distinct, inverse = np.unique(searches.surface, return_inverse=True)
        texts = [self.pool.surfaces[row] for row in distinct.tolist()]
        found = self._legacy(texts, offset) if ranker is None else self._asked(ranker, texts, offset)
        return top_of(found)[inverse]

    def _legacy(self, texts: list[str], offset: int) -> list[Ints]:
        engine = self._engine(offset)
        added = self.products.added
        ranked = (engine.rank(text) for text in texts)
        return [rows[added[rows] <= offset] for rows in ranked]

    def _engine(self, offset: int) -> KeywordEngine:
        """The engine over the feed as it is on a day; rebuilt when a drift changes the feed."""
        epoch = (self.world.strength("broken_feed", offset) > 0, self.world.strength("new_category", offset) > 0)
        if epoch not in self._engines:
            is_broken, has_new_family = epoch
            count = len(self.products) if has_new_family else int((self.products.family < OLD_FAMILIES).sum())
            titles = self._table["title"].to_list()[:count]
            if is_broken:  # the engine reads the feed: a product without a brand is not found by it
                feed = self.catalogue(self.world.last_day)
                nameless = set(feed.filter(pl.col("brand").is_null())["product_id"])
                ids = self._table["product_id"].to_list()[:count]
                known = zip(ids, titles, strict=True)
                titles = [title.split(" ", 1)[1] if product in nameless else title for product, title in known]
            self._engines[epoch] = KeywordEngine(titles, self.products.popularity[:count])
        return self._engines[epoch]

    def _asked(self, ranker: Ranker, texts: list[str], offset: int) -> list[Ints]:
        answers = ranker(texts)
        if len(answers) != len(texts):
            raise BadInput(f"the ranker answered {len(answers)} of {len(texts)} queries", "return one list per query")
        unsold = {
            product
            for answer in answers
            for product in answer
            if self.products.added[self._row_of_id.get(product, 0)] > offset or product not in self._row_of_id
        }
        if unsold:
            raise BadInput(
                f"the ranker returned products that are not sold on that day: {', '.join(sorted(unsold)[:5])}",
                "give it an index of a catalogue of that day or earlier",
            )
        return [np.array([self._row_of_id[product] for product in answer], dtype=np.int64) for answer in answers]

    def _search_ids(self, day: date, searches: Ints) -> pl.Series:
        ids = [f"s{day:%Y%m%d}-{row:07d}" for row in range(int(searches.max()) + 1 if len(searches) else 0)]
        return pl.Series(ids, dtype=pl.String).gather(searches)

    def _user_ids(self, users: Ints) -> pl.Series:
        return pl.Series([f"u{row:07d}" for row in range(len(self.users))], dtype=pl.String).gather(users)
