"""Products whose texts are almost the same: MinHash (Broder 1997), locality-sensitive hashing (Indyk & Motwani 1998).

A text is the set of its character 5-grams (lower case, white space collapsed). 128 MinHash values, in 16 bands of 8
rows, find candidate pairs: texts of Jaccard similarity ``s`` meet with probability ``1 - (1 - s^8)^16``, which is
.95 at .8, .9999 at .9. Candidates are verified by their exact similarity, so that what is reported is never wrong, only
(rarely) incomplete. Groups are the connected components of verified pairs. Everything is deterministic.

MinHash values come from multiply-shift hashing (Dietzfelbinger et al. 1997) of the n-grams' CRC-32.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rankops.data.splits import Groups
from rankops.errors import BadInput

BANDS, ROWS = 16, 8
SHINGLE = 5
THRESHOLD = 0.9
_BUCKET = 50  # in larger buckets a text is compared with this many before it only: they are one group almost surely
_SEED = 20240607


@dataclass(frozen=True)
class NearDuplicates:
    """``group_of[i]`` is the smallest index of the texts that ``i`` is like (``i`` itself where there is none).

    ``pairs`` are the verified pairs ``(i, j, similarity)``, ``i < j``, of distinct texts that were compared.
    """

    group_of: list[int]
    pairs: list[tuple[int, int, float]]

    def groups(self) -> list[list[int]]:
        """Groups of two or more, by their first member."""
        members: dict[int, list[int]] = defaultdict(list)
        for index, group in enumerate(self.group_of):
            members[group].append(index)
        return [found for _, found in sorted(members.items()) if len(found) > 1]


def shingles(text: str) -> frozenset[int]:
    """CRC-32 of the character 5-grams of a text (of the whole where it is shorter)."""
    folded = " ".join(text.lower().split())
    last = max(len(folded) - SHINGLE, 0)
    return frozenset(zlib.crc32(folded[i : i + SHINGLE].encode()) for i in range(last + 1))


def jaccard(left: frozenset[int], right: frozenset[int]) -> float:
    """Shared shingles over all shingles; 1 for two empty sets."""
    either = len(left | right)
    return len(left & right) / either if either else 1.0


def find_near_duplicates(texts: Sequence[str], threshold: float = THRESHOLD) -> NearDuplicates:
    """Texts of Jaccard similarity ``threshold`` or more, and identical ones, in groups.

    Raises :class:`BadInput` for a threshold outside (0, 1].
    """
    if not 0 < threshold <= 1:
        raise BadInput(f"a similarity of {threshold} is not in (0, 1]", "give a threshold such as 0.9")
    first: dict[frozenset[int], int] = {}
    sets = [shingles(text) for text in texts]
    groups = Groups(len(texts))
    for index, found in enumerate(sets):
        groups.join(first.setdefault(found, index), index)
    distinct = sorted(first.values())
    pairs = []
    for left, right in _candidates(signatures([sets[i] for i in distinct])):
        one, two = distinct[left], distinct[right]
        similarity = jaccard(sets[one], sets[two])
        if similarity >= threshold:
            pairs.append((one, two, similarity))
            groups.join(one, two)
    return NearDuplicates([groups.find(index) for index in range(len(texts))], sorted(pairs))


def signatures(sets: Sequence[frozenset[int]]) -> NDArray[np.uint32]:
    """(texts, BANDS * ROWS) MinHash values."""
    count = BANDS * ROWS
    if not sets:
        return np.zeros((0, count), dtype=np.uint32)
    flat = np.concatenate([np.fromiter(found, dtype=np.uint64, count=len(found)) for found in sets])
    starts = np.concatenate([[0], np.cumsum([len(found) for found in sets])[:-1]])
    generator = np.random.default_rng(_SEED)
    factors = generator.integers(0, 2**63, count, dtype=np.uint64) * 2 + 1
    offsets = generator.integers(0, 2**63, count, dtype=np.uint64)
    values = np.empty((len(sets), count), dtype=np.uint32)
    for column in range(count):
        hashed = (flat * factors[column] + offsets[column]) >> np.uint64(32)
        values[:, column] = np.minimum.reduceat(hashed, starts)
    return values


def _candidates(values: NDArray[np.uint32]) -> Iterator[tuple[int, int]]:
    """Pairs that agree on all rows of a band, each once."""
    seen: set[tuple[int, int]] = set()
    for band in range(BANDS):
        buckets: dict[bytes, list[int]] = defaultdict(list)
        part = np.ascontiguousarray(values[:, band * ROWS : (band + 1) * ROWS])
        for index in range(len(part)):
            buckets[part[index].tobytes()].append(index)
        for members in buckets.values():
            for place, right in enumerate(members):
                for left in members[max(0, place - _BUCKET) : place]:
                    if (left, right) not in seen:
                        seen.add((left, right))
                        yield left, right
