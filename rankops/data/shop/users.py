"""Shoppers: which families and brands they like, and how much a price puts them off."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rankops.data.shop import vocabulary as words
from rankops.data.shop.catalogue import OLD_FAMILIES, Floats, Ints
from rankops.data.shop.world import World

_TASTE_DIMENSIONS = 4


@dataclass(frozen=True)
class Users:
    """Parallel arrays, one entry per user, and the brands' place in the space of tastes."""

    favourites: Ints  # (users, 2) families
    taste: Floats  # (users, 4)
    price_sensitivity: Floats  # (users,), 0 is indifferent
    activity: Floats  # (users,), sums to 1
    brand_taste: Floats  # (brands, 4)

    def __len__(self) -> int:
        return len(self.activity)

    def liking(self, users: Ints, brands: Ints) -> Floats:
        """How much each user likes each brand, in (-1, 1); ``brands`` is (n, k) for ``users`` (n,)."""
        return np.asarray(np.tanh(np.einsum("nd,nkd->nk", self.taste[users], self.brand_taste[brands])))


def make_users(world: World) -> Users:
    """Draw the world's users; activity is heavy-tailed, as in any shop."""
    rng = np.random.default_rng([world.seed, 10])
    activity = rng.pareto(1.8, world.users) + 0.1
    return Users(
        favourites=rng.integers(0, OLD_FAMILIES, (world.users, 2)),
        taste=rng.normal(0, 0.7, (world.users, _TASTE_DIMENSIONS)),
        price_sensitivity=rng.gamma(2.0, 0.3, world.users),
        activity=activity / activity.sum(),
        brand_taste=rng.normal(0, 0.7, (len(words.BRANDS), _TASTE_DIMENSIONS)),
    )
