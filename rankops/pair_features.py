"""What two texts have in common, word by word: a cleaned text, marks on shared words, and numbers about the pair.

Training, evaluation and server call these same functions. Needs numpy only. A transformer of small vocabulary sees a
model number as loose pieces; whether ``CMK64GX4M4`` stands on both sides, and how rare it is, is what these say.
"""

from __future__ import annotations

import math
import re
import unicodedata
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BUCKETS = 1 << 15
"""Words and letter triples are counted by hash: no vocabulary to ship, and unknown words have a place."""

_NOISE = re.compile(r"\bNull\b|@\w\w\b|\|")  # missing values and language tags, as web markup leaves them
_WORD = re.compile(r"[^\W_]+(?:[.\-/][^\W_]+)*")
_NOT_KEY = re.compile(r"[^a-z0-9]")
_EDGES = ",;:()[]\"'"
_MIN_CODE, _MIN_JOINED = 4, 5

_KIND = ("shared", "alone, fewer", "alone, more", "shared weight", "alone weight, less", "alone weight, more", "share")
NAMES = (
    "words shared / all", "weight shared / all", "weight shared / lighter", "weight shared / heavier",
    "weight shared / unexplained",
    *(f"{kind}: {what}" for kind in ("words with digits", "codes", "numbers") for what in _KIND),
    "rarest shared word", "rarest word alone, less", "rarest word alone, more", "longest shared code",
    "closest unshared codes", "same first word", "words of the shorter", "words of the longer", "words more",
    "plain weight alone, less", "plain weight alone, more", "weight alone, less", "weight alone, more",
    "TF-IDF cosine of words", "TF-IDF cosine of triples",
)  # fmt: skip
"""What :class:`PairFeatures` computes, in its order."""


def clean_text(text: str) -> str:
    """NFKC without markup noise, each word once (titles from feeds repeat themselves), no brackets around words."""
    seen: set[str] = set()
    kept = []
    for word in _NOISE.sub(" ", unicodedata.normalize("NFKC", text)).split():
        bare = word.strip(_EDGES)
        key = word_key(bare) or bare
        if key and key not in seen:
            seen.add(key)
            kept.append(bare)
    return " ".join(kept)


def word_key(word: str) -> str:
    """A word as it is compared: lower case, accents and punctuation dropped (``GT-I9300`` is ``gti9300``).

    Letters outside the Latin alphabet stay as they are, so that every script has words.
    """
    folded = unicodedata.normalize("NFKD", word.lower())
    if folded.isascii():
        return _NOT_KEY.sub("", folded)
    return "".join(character for character in folded if character.isalnum())


def word_keys(text: str) -> list[str]:
    """The keys of a text's words, in order."""
    return [key for key in map(word_key, _WORD.findall(text)) if key]


def shared_words(text: str, other: str) -> list[tuple[int, int]]:
    """``(start, end)`` of the words of ``text`` that ``other`` has too, or holds inside a longer one (codes only)."""
    keys, joined = {word_key(word) for word in other.split()}, word_key(other)
    spans = []
    for match in re.finditer(r"\S+", text):
        key = word_key(match.group())
        if key and (key in keys or (len(key) >= _MIN_JOINED and _has_digit(key) and key in joined)):
            spans.append(match.span())
    return spans


def _has_digit(key: str) -> bool:
    return any(character.isdigit() for character in key)


def _is_code(key: str) -> bool:
    """A model number: digits with letters, or a long number."""
    return len(key) >= _MIN_CODE and _has_digit(key) and (not key.isdigit() or len(key) > _MIN_CODE)


def _bucket(key: str) -> int:
    return zlib.crc32(key.encode()) % BUCKETS


def _triples(text: str) -> list[str]:
    return [f" {word} "[i : i + 3] for word in text.lower().split() for i in range(len(word))]


@dataclass(frozen=True)
class PairFeatures:
    """Numbers about a pair of cleaned texts; the two tables are inverse document frequencies (float32, BUCKETS)."""

    words: NDArray[np.float32]
    triples: NDArray[np.float32]

    def __call__(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
        """float32 ``(len(pairs), n_features)``; the same, whichever side comes first."""
        rows = [self._row(left, right) for left, right in pairs]
        return np.asarray(rows, dtype=np.float32) if rows else np.zeros((0, 0), dtype=np.float32)

    def weight(self, keys: Iterable[str]) -> float:
        """Summed rarity of words, by exact summation: the order of a set must not show in the last digit."""
        return math.fsum(float(self.words[_bucket(key)]) for key in keys)

    def rarest(self, keys: Iterable[str]) -> float:
        """Rarity of the rarest word, 0 where there is none."""
        return max((float(self.words[_bucket(key)]) for key in keys), default=0.0)

    def _row(self, left: str, right: str) -> list[float]:
        first, second = word_keys(left), word_keys(right)
        a, b = set(first), set(second)
        shared, joined_a, joined_b = a & b, word_key(left), word_key(right)
        only_a = {key for key in a - b if key not in joined_b}  # a word inside a longer one is not missing
        only_b = {key for key in b - a if key not in joined_a}
        weight_a, weight_b, common = self.weight(a) + 1e-9, self.weight(b) + 1e-9, self.weight(shared)
        row = [
            len(shared) / max(1, len(a | b)),
            common / (weight_a + weight_b - common),
            common / min(weight_a, weight_b),
            common / max(weight_a, weight_b),
            common / (common + self.weight(only_a) + self.weight(only_b) + 1e-9),
        ]
        for chosen in (_has_digit, _is_code, str.isdigit):
            row += self._kind(chosen, shared, only_a, only_b, len({key for key in a | b if chosen(key)}))
        row += [self.rarest(shared), *_both(self.rarest(only_a), self.rarest(only_b))]
        row += [max((len(key) for key in shared if _is_code(key)), default=0), _closest_codes(only_a, only_b)]
        row += [float(first[:1] == second[:1]), *_both(len(a), len(b)), abs(len(a) - len(b))]
        plain_a, plain_b = ({key for key in keys if not _has_digit(key)} for keys in (only_a, only_b))
        row += [*_both(self.weight(plain_a), self.weight(plain_b)), *_both(self.weight(only_a), self.weight(only_b))]
        return [*row, _cosine(first, second, self.words), _cosine(_triples(left), _triples(right), self.triples)]

    def _kind(
        self, chosen: Callable[[str], bool], shared: set[str], only_a: set[str], only_b: set[str], either: int
    ) -> list[float]:
        """How many words of one kind are shared and how many stand alone, counted and weighed by rarity."""
        both, alone_a, alone_b = ({key for key in keys if chosen(key)} for keys in (shared, only_a, only_b))
        return [
            len(both),
            *_both(len(alone_a), len(alone_b)),
            self.weight(both),
            *_both(self.weight(alone_a), self.weight(alone_b)),
            len(both) / max(1, either),
        ]


def _both(first: float, second: float) -> tuple[float, float]:
    return min(first, second), max(first, second)


def _closest_codes(a: set[str], b: set[str]) -> float:
    """The longest common start of two unshared codes, as a share of the longer: close relatives, other products."""
    best = 0.0
    for x in filter(_is_code, a):
        for y in filter(_is_code, b):
            same = next((i for i, (p, q) in enumerate(zip(x, y, strict=False)) if p != q), min(len(x), len(y)))
            best = max(best, same / max(len(x), len(y)))
    return best


def _counts(keys: Iterable[str]) -> dict[int, float]:
    found: dict[int, int] = {}
    for key in keys:
        place = _bucket(key)
        found[place] = found.get(place, 0) + 1
    return {place: 1.0 + math.log(count) for place, count in found.items()}


def _cosine(left: Iterable[str], right: Iterable[str], rarity: NDArray[np.float32]) -> float:
    """TF-IDF cosine with logarithmic counts (Salton & Buckley 1988)."""
    a, b = _counts(left), _counts(right)
    squares = [math.fsum((count * float(rarity[p])) ** 2 for p, count in side.items()) for side in (a, b)]
    dot = math.fsum(a[p] * b[p] * float(rarity[p]) ** 2 for p in a.keys() & b.keys())
    return dot / math.sqrt(squares[0] * squares[1]) if dot > 0 else 0.0


def fit_features(texts: Iterable[str]) -> PairFeatures:
    """Document frequencies over distinct cleaned texts: ``ln((n + 1) / (df + 0.5))``, by bucket."""
    distinct = sorted(set(texts))
    return PairFeatures(_rarity(distinct, word_keys), _rarity(distinct, _triples))


def _rarity(texts: Sequence[str], parts: Callable[[str], list[str]]) -> NDArray[np.float32]:
    frequency = np.zeros(BUCKETS)
    for text in texts:
        frequency[sorted({_bucket(part) for part in parts(text)})] += 1
    rarity: NDArray[np.float32] = np.log((len(texts) + 1) / (frequency + 0.5)).astype(np.float32)
    return rarity
