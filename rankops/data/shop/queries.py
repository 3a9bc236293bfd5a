"""The queries that shoppers know: head and tail, plain words, synonyms, jargon, typos, and their drifted forms.

Every query string the shop can ever produce is in the :class:`QueryPool` with its intent, so that any of them can
be judged. Which of them are asked on a day is decided in :mod:`rankops.data.shop.events`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rankops.data.shop import vocabulary as words
from rankops.data.shop.catalogue import (
    COLOUR_NAMES,
    FAMILIES,
    FEATURE_NAMES,
    MATERIAL_NAMES,
    OLD_FAMILIES,
    SIZE_NAMES,
    TYPES,
    Floats,
    Ints,
    Products,
)
from rankops.data.shop.jargon import jargon_words
from rankops.data.shop.truth import Intents
from rankops.data.shop.world import World

# Which attributes a query asks for beside the type, with the share of queries of that shape.
_SHAPES: tuple[tuple[float, tuple[str, ...]], ...] = (
    (0.16, ()),
    (0.22, ("colour",)),
    (0.18, ("feature",)),
    (0.13, ("brand",)),
    (0.07, ("material",)),
    (0.06, ("size",)),
    (0.08, ("feature", "colour")),
    (0.04, ("colour", "size")),
    (0.03, ("feature", "colour", "size")),
    (0.03, ("brand", "typeless")),
)
_TYPE_JARGON, _TYPE_SYNONYM = 0.27, 0.09
_ATTRIBUTE_JARGON = 0.15
_TYPE_FIRST, _NUMBER_FLIPPED, _TYPO = 0.2, 0.12, 0.07
_ZIPF_EXPONENT = 0.8
_FIELDS = ("kind", "family", "brand", "colour", "material", "feature", "size")
_MIN_TYPO_LENGTH = 5


@dataclass(frozen=True)
class QueryPool:
    """``surfaces`` are all strings (normalized), ``intent_of`` the intent row of each, ``intents`` those rows.

    Entries are what shoppers draw from: ``entry_surface`` (surface row), ``entry_weight`` (Zipf), ``entry_family``.
    ``new_slang`` and ``translated`` (3 languages) give the surface that replaces an entry under those drifts
    (-1: none).
    """

    surfaces: list[str]
    intent_of: Ints
    intents: Intents
    entry_surface: Ints
    entry_weight: Floats
    entry_family: Ints
    new_slang: Ints
    translated: Ints  # (entries, 3)

    def draw(self, family: Ints, uniform: Floats) -> Ints:
        """One entry per row: from that family's entries by weight, ``uniform`` in [0, 1) deciding which."""
        drawn = np.empty(len(family), dtype=np.int64)
        for index in np.unique(family):
            members = np.flatnonzero(self.entry_family == index)
            cumulative = np.cumsum(self.entry_weight[members])
            rows = np.flatnonzero(family == index)
            place = np.searchsorted(cumulative, uniform[rows] * cumulative[-1], side="right")
            drawn[rows] = members[np.minimum(place, len(members) - 1)]
        return drawn

    def family_weight(self) -> Floats:
        """Share of the traffic that each old family has when nothing drifts."""
        weight = np.bincount(self.entry_family, weights=self.entry_weight, minlength=len(FAMILIES))[:OLD_FAMILIES]
        return weight / weight.sum()


class _Builder:
    """Collects distinct surfaces; the first intent of a string keeps it."""

    def __init__(self) -> None:
        self.surfaces: list[str] = []
        self.intents: list[tuple[int, ...]] = []
        self.rows: dict[str, int] = {}
        self.entries: list[tuple[int, float, int, int, int, int, int]] = []

    def surface(self, text: str, intent: tuple[int, ...]) -> int:
        row = self.rows.setdefault(text, len(self.surfaces))
        if row == len(self.surfaces):
            self.surfaces.append(text)
            self.intents.append(intent)
        return row

    def pool(self) -> QueryPool:
        entries = np.array([entry[:1] + entry[2:] for entry in self.entries], dtype=np.int64)
        columns = np.array(self.intents, dtype=np.int64)
        keys = np.array([entry[1] for entry in self.entries])
        rank = np.empty(len(keys))
        is_new = entries[:, 1] >= OLD_FAMILIES
        for members in (np.flatnonzero(~is_new), np.flatnonzero(is_new)):  # a new family must not move the old ranks
            rank[members[np.argsort(keys[members], kind="stable")]] = np.arange(1, len(members) + 1)
        return QueryPool(
            surfaces=self.surfaces,
            intent_of=np.arange(len(self.surfaces)),
            intents=Intents(**{name: columns[:, i] for i, name in enumerate(_FIELDS)}),
            entry_surface=entries[:, 0],
            entry_weight=rank**-_ZIPF_EXPONENT,
            entry_family=entries[:, 1],
            new_slang=entries[:, 2],
            translated=entries[:, 3:6],
        )


def make_queries(world: World, products: Products) -> QueryPool:
    """The pool of a world: ``world.queries`` distinct strings of the old families, the drifts' forms on top."""
    builder = _Builder()
    old = np.flatnonzero(products.family < OLD_FAMILIES)
    _fill(builder, world, products, old, world.queries)
    if world.drift("new_category") is not None:
        new = np.flatnonzero(products.family >= OLD_FAMILIES)
        share = len(TYPES[-len(words.NEW_FAMILY.types) :]) / len(TYPES)
        count = max(40, round(world.queries * share))
        _fill(builder, world, products, new, count)
    return builder.pool()


def _fill(builder: _Builder, world: World, products: Products, rows: Ints, count: int) -> None:
    """Add ``count`` entries whose intents are read off ``products[rows]`` (fewer when the words run out)."""
    rng = np.random.default_rng([world.seed, 20, int(products.family[rows[0]] >= OLD_FAMILIES)])
    slang, languages = world.drift("new_slang") is not None, world.drift("language_mix") is not None
    shares = np.array([share for share, _ in _SHAPES])
    columns = {name: getattr(products, name).tolist() for name in _FIELDS}
    target, stale = len(builder.entries) + count, 0
    while len(builder.entries) < target and stale < 5:
        before = len(builder.entries)
        batch = max(64, round((target - before) * 1.3))
        chosen = rows[rng.integers(0, len(rows), batch)]
        shapes = rng.choice(len(_SHAPES), batch, p=shares / shares.sum())
        for product, shape, draw in zip(chosen.tolist(), shapes.tolist(), rng.random((batch, 9)).tolist(), strict=True):
            intent = _intent(columns, product, _SHAPES[shape][1])
            text = _speak(intent, _own_words(draw), draw)
            if draw[6] < _TYPO:
                text = _mistype(text, draw[7])
            if text in builder.rows:
                continue
            # Short and correct queries are asked more; the rest is chance.
            flipped = draw[0] >= _TYPE_JARGON + _TYPE_SYNONYM and draw[1] < _NUMBER_FLIPPED
            rarity = 0.8 * len(_SHAPES[shape][1]) + 1.5 * (draw[6] < _TYPO) + flipped - 1.2 * float(np.log(1 - draw[8]))
            row = builder.surface(text, intent)
            fresh = builder.surface(_speak(intent, _new_words, draw), intent) if slang and intent[0] >= 0 else -1
            foreign = [
                builder.surface(_speak(intent, _foreign_words(language), draw), intent) if languages else -1
                for language in range(len(words.LANGUAGES))
            ]
            builder.entries.append((row, rarity, intent[1], fresh, foreign[0], foreign[1], foreign[2]))
            if len(builder.entries) == target:
                break
        stale = stale + 1 if len(builder.entries) == before else 0


def _intent(columns: dict[str, list[int]], product: int, shape: tuple[str, ...]) -> tuple[int, ...]:
    kind = -1 if "typeless" in shape else columns["kind"][product]
    asked = (columns[name][product] if name in shape else -1 for name in _FIELDS[2:])
    return (kind, columns["family"][product], *asked)


Speaker = Callable[[str, int], str]
"""From a field (``type``, ``colour``, ``feature``, ``material``) and its value to the word that is used."""


def _plain(field: str, value: int) -> str:
    names = {"colour": COLOUR_NAMES, "feature": FEATURE_NAMES, "material": MATERIAL_NAMES}
    return TYPES[value].name if field == "type" else names[field][value]


def _own_words(draw: list[float]) -> Speaker:
    """Plain words, a synonym or established jargon, as the draw has it."""

    def speak(field: str, value: int) -> str:
        jargon, plain = jargon_words(), _plain(field, value)
        if field == "type":
            if draw[0] < _TYPE_JARGON:
                return jargon[f"type:{plain}:old"]
            if draw[0] < _TYPE_JARGON + _TYPE_SYNONYM:
                return TYPES[value].synonym
            return _flip_number(plain) if draw[1] < _NUMBER_FLIPPED else plain
        chance = {"colour": draw[2], "feature": draw[3]}.get(field, 1.0)
        return jargon[f"{field}:{plain}"] if chance < _ATTRIBUTE_JARGON else plain

    return speak


def _new_words(field: str, value: int) -> str:
    plain = _plain(field, value)
    return jargon_words()[f"type:{plain}:new"] if field == "type" else plain


def _foreign_words(language: int) -> Speaker:
    tables = {"colour": words.COLOURS, "feature": words.FEATURES, "material": words.MATERIALS}

    def speak(field: str, value: int) -> str:
        if field == "type":
            return TYPES[value].translations[language]
        return tables[field][_plain(field, value)][language]

    return speak


def _speak(intent: tuple[int, ...], speaker: Speaker, draw: list[float]) -> str:
    """The query: attributes before the type, or after it for some people; brand first, size last."""
    kind, _, brand, colour, material, feature, size = intent
    attributes = [
        speaker(field, value)
        for field, value in (("feature", feature), ("colour", colour), ("material", material))
        if value >= 0
    ]
    noun = [speaker("type", kind)] if kind >= 0 else []
    middle = noun + attributes if draw[4] < _TYPE_FIRST else attributes + noun
    named = [words.BRANDS[brand].lower()] if brand >= 0 else []
    return " ".join([*named, *middle, *([SIZE_NAMES[size]] if size >= 0 else [])])


def _flip_number(noun: str) -> str:
    return noun[:-1] if noun.endswith("s") else noun + "s"


def _mistype(text: str, chance: float) -> str:
    """Swap, drop or double one letter inside the longest word (unchanged when every word is short)."""
    word = max(text.split(" "), key=len)
    if len(word) < _MIN_TYPO_LENGTH:
        return text
    place = 1 + int(chance * 1000) % (len(word) - 2)
    head, a, b, tail = word[:place], word[place], word[place + 1], word[place + 2 :]
    wrong = (head + b + a + tail, head + b + tail, head + a + a + b + tail)[int(chance * 3)]
    return text.replace(word, wrong, 1)
