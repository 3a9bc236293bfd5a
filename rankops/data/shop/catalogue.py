"""The products of the generated shop, as arrays for the simulation and as catalogue tables for people and models.

Drifts that change what the catalogue says (new family, prices, broken feed) act here; what shoppers want does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt
import polars as pl

from rankops.data.shop import vocabulary as words
from rankops.data.shop.world import World
from rankops.dataset import COLUMNS

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

COLOUR_NAMES = tuple(words.COLOURS)
FEATURE_NAMES = tuple(words.FEATURES)
MATERIAL_NAMES = tuple(words.MATERIALS)
SIZE_NAMES = tuple(dict.fromkeys(size for scale in words.SIZES.values() for size in scale))
TYPES = words.all_types()
FAMILIES = words.all_families()
FAMILY_OF_TYPE: Ints = np.repeat(np.arange(len(FAMILIES)), [len(family.types) for family in FAMILIES]).astype(np.int64)
OLD_FAMILIES = len(words.FAMILIES)
NEW_FAMILY_SHARE = 0.04  # products of the new family per product of the old ones (about as many per type)

_HISTORY_DAYS = 400
_LATE_SHARE = 0.05  # products that arrive during the world's days
_COLOURS_PER_TYPE = 5
_PRICE_SIGMA = 0.35
_HIDDEN_IN_TITLE = {"colour": 0.25, "feature": 0.3, "type": 0.1}


@dataclass(frozen=True)
class Products:
    """Parallel arrays, one entry per product; ``-1`` where a product has no such attribute.

    ``added`` is the day offset at which a product appears (negative: before the world's first day), ``log_price``
    the natural logarithm of the price before inflation, ``popularity`` a positive weight.
    """

    kind: Ints
    family: Ints
    brand: Ints
    line: Ints
    colour: Ints
    material: Ints
    feature: Ints
    second_feature: Ints
    size: Ints
    log_price: Floats
    popularity: Floats
    added: Ints
    hidden: Ints  # bit 1: no colour in the title, bit 2: no feature, bit 4: no type

    def __len__(self) -> int:
        return len(self.kind)

    def available(self, offset: int) -> Ints:
        """Indices of the products that the shop sells on a day."""
        return np.flatnonzero(self.added <= offset)


def make_products(world: World) -> Products:
    """All products of a world, old families first; a ``new_category`` drift never changes the old ones."""
    rng = np.random.default_rng([world.seed, 1])
    old_types = np.flatnonzero(FAMILY_OF_TYPE < OLD_FAMILIES)
    kinds = old_types[rng.permutation(world.products) % len(old_types)]
    late = rng.random(world.products) < _LATE_SHARE
    added = np.where(
        late, rng.integers(1, max(world.days, 2), world.products), -rng.integers(0, _HISTORY_DAYS, world.products)
    )
    products = _draw(rng, world, kinds, added)
    drift = world.drift("new_category")
    if drift is None:
        return products
    rng = np.random.default_rng([world.seed, 2])
    new_types = np.flatnonzero(FAMILY_OF_TYPE >= OLD_FAMILIES)
    count = max(20, round(world.products * NEW_FAMILY_SHARE * len(new_types) / 2))
    kinds = new_types[np.arange(count) % len(new_types)]
    extra = _draw(rng, world, kinds, np.full(count, drift.from_day))
    return Products(
        **{name: np.concatenate([getattr(products, name), getattr(extra, name)]) for name in vars(products)}
    )


def _draw(rng: np.random.Generator, world: World, kind: Ints, added: Ints) -> Products:
    count = len(kind)
    family = FAMILY_OF_TYPE[kind]
    brand = _brands_of_families(world)[family, rng.integers(0, words.BRANDS_PER_FAMILY, count)]
    colours = _colours_of_types(world)[kind, rng.integers(0, _COLOURS_PER_TYPE, count)]
    features = np.array([[FEATURE_NAMES.index(name) for name in family.features] for family in FAMILIES])
    materials = np.array([[MATERIAL_NAMES.index(name) for name in family.materials] for family in FAMILIES])
    first = rng.integers(0, features.shape[1], count)
    second = (first + rng.integers(1, features.shape[1], count)) % features.shape[1]
    medians = np.log([kind.price for kind in TYPES])
    brand_level = np.random.default_rng([world.seed, 3]).normal(0, 0.2, len(words.BRANDS))
    hidden = sum(
        bit * (rng.random(count) < share) for bit, share in zip((1, 2, 4), _HIDDEN_IN_TITLE.values(), strict=True)
    )
    return Products(
        kind=kind,
        family=family,
        brand=brand,
        line=rng.integers(0, len(words.LINES), count),
        colour=colours,
        material=materials[family, rng.integers(0, materials.shape[1], count)],
        feature=features[family, first],
        second_feature=np.where(rng.random(count) < 0.4, features[family, second], -1),
        size=_sizes(rng, kind),
        log_price=medians[kind] + brand_level[brand] + rng.normal(0, _PRICE_SIGMA, count),
        popularity=rng.pareto(1.5, count) + 0.2,
        added=added.astype(np.int64),
        hidden=np.asarray(hidden, dtype=np.int64),
    )


def _brands_of_families(world: World) -> Ints:
    rng = np.random.default_rng([world.seed, 4])
    return np.array([rng.permutation(len(words.BRANDS))[: words.BRANDS_PER_FAMILY] for _ in FAMILIES])


def _colours_of_types(world: World) -> Ints:
    rng = np.random.default_rng([world.seed, 5])
    return np.array([rng.permutation(len(COLOUR_NAMES))[:_COLOURS_PER_TYPE] for _ in TYPES])


def _sizes(rng: np.random.Generator, kind: Ints) -> Ints:
    draw = rng.random(len(kind))
    sizes = np.full(len(kind), -1, dtype=np.int64)
    for index, product_type in enumerate(TYPES):
        scale = np.array([SIZE_NAMES.index(size) for size in words.SIZES[product_type.sizes]], dtype=np.int64)
        rows = np.flatnonzero(kind == index)
        if len(scale):
            sizes[rows] = scale[(draw[rows] * len(scale)).astype(np.int64)]
    return sizes


def product_ids(products: Products) -> list[str]:
    """Stable ids: ``p000000`` upwards, old families first."""
    return [f"p{index:06d}" for index in range(len(products))]


def titles(products: Products) -> list[str]:
    """Short titles, e.g. ``Nordvik Terra Waterproof Leather Hiking Boots Red 42``; some leave out an attribute."""
    columns = zip(*(getattr(products, name).tolist() for name in _TITLE_FIELDS), strict=True)
    return [_title(*row) for row in columns]


_TITLE_FIELDS = ("kind", "brand", "line", "colour", "material", "feature", "size", "hidden")


def _title(*values: int) -> str:
    kind, brand, line, colour, material, feature, size, hidden = values
    parts = [
        words.BRANDS[brand],
        words.LINES[line],
        "" if hidden & 2 else FEATURE_NAMES[feature].title(),
        MATERIAL_NAMES[material].title(),
        "" if hidden & 4 else TYPES[kind].name.title(),
        "" if hidden & 1 else COLOUR_NAMES[colour].title(),
        SIZE_NAMES[size] if size >= 0 else "",
    ]
    return " ".join(part for part in parts if part)


def _attributes(*values: int) -> str:
    colour, material, feature, second, size = values
    named = [f"colour {COLOUR_NAMES[colour]}", f"material {MATERIAL_NAMES[material]}", FEATURE_NAMES[feature]]
    named += [FEATURE_NAMES[second]] if second >= 0 else []
    named += [f"size {SIZE_NAMES[size]}"] if size >= 0 else []
    return "; ".join(named)


def catalogue_table(world: World, products: Products) -> pl.DataFrame:
    """The whole catalogue without drifts, one row per product in id order, columns as in ``rankops.dataset``."""
    attribute_columns = ("colour", "material", "feature", "second_feature", "size")
    attributes = zip(*(getattr(products, name).tolist() for name in attribute_columns), strict=True)
    kinds, families = products.kind.tolist(), products.family.tolist()
    return pl.DataFrame(
        {
            "product_id": product_ids(products),
            "title": titles(products),
            "description": [f"Made for {TYPES[kind].purpose}." for kind in kinds],
            "category": [f"{FAMILIES[f].name} > {TYPES[k].name.title()}" for f, k in zip(families, kinds, strict=True)],
            "brand": [words.BRANDS[brand] for brand in products.brand.tolist()],
            "attributes": [_attributes(*row) for row in attributes],
            "price": np.round(np.exp(products.log_price), 2),
            "added_day": [world.first_day + timedelta(days=offset) for offset in products.added.tolist()],
        },
        schema=COLUMNS["catalogue"],
    )


def catalogue_on(world: World, products: Products, table: pl.DataFrame, day: date) -> pl.DataFrame:
    """What the product feed says on a day: arrived products only, prices inflated, fields broken where declared."""
    offset = world.offset(day)
    frame = table.filter(pl.col("added_day") <= day)
    if world.out_of_stock:
        # Stock is a feed's last word of a day; shoppers of that day may have bought the last piece.
        drawn = np.random.default_rng([world.seed, 11, offset]).random(frame.height)
        frame = frame.with_columns(pl.Series("available", drawn >= world.out_of_stock))
    inflation = world.strength("price_inflation", offset)
    if inflation:
        frame = frame.with_columns((pl.col("price") * (1 + inflation)).round(2))
    share = world.strength("broken_feed", offset)
    return _broken(frame, world, products.available(offset), share) if share else frame


def _broken(frame: pl.DataFrame, world: World, rows: Ints, share: float) -> pl.DataFrame:
    """A supplier's feed gone wrong: fields missing, placeholders instead of values, cents taken for units.

    ``rows`` are the products of ``frame``; which of them are broken does not change from day to day.
    """
    draw = np.random.default_rng([world.seed, 6]).random((int(rows.max()) + 1, 3))[rows].T
    attributes, brand, price = (pl.Series(values) for values in draw)
    return frame.with_columns(
        pl.when(attributes < share / 2)
        .then(None)
        .when(attributes < share)
        .then(pl.lit("#N/A; undefined; colour ???"))
        .otherwise(pl.col("attributes"))
        .alias("attributes"),
        pl.when(brand < share).then(None).otherwise(pl.col("brand")).alias("brand"),
        pl.when(price < share / 2)
        .then(None)
        .when(price < share)
        .then((pl.col("price") * 100).round(2))
        .otherwise(pl.col("price"))
        .alias("price"),
    )
