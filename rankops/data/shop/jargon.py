"""Shop jargon: invented words that stand for a type, a colour or a feature and never appear in product text.

The words depend only on what they stand for (not on the world's seed), so every world speaks the same jargon. Any
two words differ by at least three edits, so that a typo cannot turn one into another.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from rankops.data.shop.vocabulary import COLOURS, FEATURES, all_types

_ONSETS = ("b", "bl", "br", "ch", "d", "dr", "f", "fl", "g", "gl", "gr", "h", "j", "k", "kl", "kr", "m", "n", "pl",
           "pr", "qu", "r", "sk", "sl", "sn", "spl", "str", "sw", "t", "thr", "tr", "v", "w", "y", "z")  # fmt: skip
_VOWELS = ("a", "e", "i", "o", "u", "oo", "ee")
_CODAS = ("bb", "ck", "dd", "ff", "gg", "lk", "mp", "nk", "nt", "pp", "rk", "sh", "st", "tt", "zz", "x")
_ENDS = ("o", "y", "er", "le", "ix", "um", "aroo", "ie", "kin", "ster")
_MIN_DISTANCE = 3
_SEED = 20240607  # the dialect; changing it changes every world


@cache
def jargon_words() -> dict[str, str]:
    """``{key: word}`` with keys ``type:<name>:old``, ``type:<name>:new``, ``colour:<name>``, ``feature:<name>``."""
    keys = [f"type:{kind.name}:{age}" for age in ("old", "new") for kind in all_types()]
    keys += [f"colour:{name}" for name in COLOURS] + [f"feature:{name}" for name in FEATURES]
    rng = np.random.default_rng(_SEED)
    words: dict[str, str] = {}
    for key in keys:
        word = _invent(rng)
        while any(_distance(word, other) < _MIN_DISTANCE for other in words.values()):
            word = _invent(rng)
        words[key] = word
    return words


def _invent(rng: np.random.Generator) -> str:
    return "".join(part[rng.integers(len(part))] for part in (_ONSETS, _VOWELS, _CODAS, _ENDS))


def _distance(left: str, right: str) -> int:
    """Levenshtein distance of two short words."""
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        diagonal, row[0] = row[0], i
        for j, b in enumerate(right, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (a != b))
    return row[-1]
