"""Leak-free splits of queries: near-duplicates share a group, a group lies in one split.

Two queries are near-duplicates when they have the same words in any order (plurals folded), or when they, or their
sorted words, are one edit apart (insertion, deletion, substitution or swap of neighbours: Damerau-Levenshtein
distance 1, found through deletion neighbourhoods as in SymSpell). Groups are the connected components.

Stability: a group is named after the member whose hash is smallest, and its split follows from that name and the
seed alone. So a new query moves old ones only when it joins their group *and* (its hash is the smallest there, or
it connects two groups: then the group with the larger hash follows the other). Everything else stays put.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from rankops.dataset import Split
from rankops.errors import BadInput
from rankops.files import sha256_bytes
from rankops.text import normalize_query

_MIN_PLURAL = 4


def singular(word: str) -> str:
    """The word without a plural ending (``berries`` → ``berry``, ``boots`` → ``boot``, ``glass`` stays)."""
    if len(word) < _MIN_PLURAL or not word.endswith("s") or word.endswith("ss"):
        return word
    return word[:-3] + "y" if word.endswith("ies") and len(word) > _MIN_PLURAL else word[:-1]


def word_key(query: str) -> str:
    """The query's words in sorted order, plurals folded: equal for reordered and pluralised queries."""
    return " ".join(sorted(singular(word) for word in normalize_query(query).split(" ")))


def within_one_edit(left: str, right: str) -> bool:
    """True when the Damerau-Levenshtein distance (adjacent swaps) is 0 or 1."""
    if abs(len(left) - len(right)) > 1:
        return False
    start = 0
    while start < min(len(left), len(right)) and left[start] == right[start]:
        start += 1
    a, b = left[start:], right[start:]
    if len(a) == len(b):
        return a[1:] == b[1:] or (a[:2] == b[1::-1] and a[2:] == b[2:])
    longer, shorter = (a, b) if len(a) > len(b) else (b, a)
    return longer[1:] == shorter


class Groups:
    """Disjoint sets of 0..count-1 (union-find with path halving); a set is named by its smallest member."""

    def __init__(self, count: int) -> None:
        self._parent = list(range(count))

    def find(self, item: int) -> int:
        """The smallest member of the item's group."""
        while self._parent[item] != item:
            self._parent[item] = self._parent[self._parent[item]]
            item = self._parent[item]
        return item

    def join(self, left: int, right: int) -> None:
        """Make one group of two."""
        left, right = self.find(left), self.find(right)
        self._parent[max(left, right)] = min(left, right)


def _join_equal(groups: Groups, keys: Iterable[str]) -> None:
    first: dict[str, int] = {}
    for index, key in enumerate(keys):
        groups.join(first.setdefault(key, index), index)


def _join_close(groups: Groups, texts: Sequence[str]) -> None:
    """Join texts within one edit: such texts share a string in their deletion neighbourhoods (the converse is
    not true, so each candidate pair is verified)."""
    owner = {text: index for index, text in reversed(list(enumerate(texts)))}
    buckets: dict[str, list[str]] = defaultdict(list)
    for text in owner:
        for shorter in {text, *(text[:i] + text[i + 1 :] for i in range(len(text)))}:
            buckets[shorter].append(text)
    for bucket in buckets.values():
        for place, text in enumerate(bucket):
            for other in bucket[place + 1 :]:
                if groups.find(owner[text]) != groups.find(owner[other]) and within_one_edit(text, other):
                    groups.join(owner[text], owner[other])


def near_duplicate_groups(queries: Sequence[str], groups: Sequence[str] | None = None) -> list[str]:
    """A group id per query. ``groups`` (one label per query) adds joins: equal labels share a group too.

    Raises :class:`BadInput` when ``groups`` has another length than ``queries``.
    """
    if groups is not None and len(groups) != len(queries):
        raise BadInput(f"{len(groups)} group labels for {len(queries)} queries", "give one label per query")
    texts = [normalize_query(query) for query in queries]
    keys = [word_key(text) for text in texts]
    union = Groups(len(texts))
    _join_equal(union, texts)
    _join_equal(union, keys)
    _join_close(union, texts)
    _join_close(union, keys)
    if groups is not None:
        _join_equal(union, groups)
    hashes = [sha256_bytes(text.encode()) for text in texts]
    smallest: dict[int, str] = {}
    for index, own in enumerate(hashes):
        root = union.find(index)
        smallest[root] = min(smallest.get(root, own), own)
    return [f"g{smallest[union.find(index)][:16]}" for index in range(len(texts))]


def assign_splits(
    queries: Sequence[str],
    seed: int,
    shares: tuple[float, float, float] = (0.7, 0.1, 0.2),
    groups: Sequence[str] | None = None,
) -> list[tuple[str, Split]]:
    """``(group_id, split)`` per query; ``shares`` are the expected shares of groups in train, dev and test.

    Raises :class:`BadInput` for shares that are negative or do not sum to 1.
    """
    if min(shares) < 0 or abs(sum(shares) - 1) > 1e-9:
        raise BadInput(f"split shares {shares} are not shares of one", "give three non-negative numbers that sum to 1")
    return [(group, _split(group, seed, shares)) for group in near_duplicate_groups(queries, groups)]


def _split(group: str, seed: int, shares: tuple[float, float, float]) -> Split:
    place = int(sha256_bytes(f"{seed}\n{group}".encode())[:13], 16) / 16**13
    if place < shares[0]:
        return "train"
    return "dev" if place < shares[0] + shares[1] else "test"
