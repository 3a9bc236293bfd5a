"""A small guess at the language of a search query: German, French, Spanish, another script, or unmarked.

Queries are two or three words long and mostly names of things, so function words alone say little. Each word is
scored by a letter-trigram model per language (naive Bayes with add-one smoothing: Cavnar and Trenkle 1994; Dunning
1994) that is learned from the everyday words of :mod:`rankops.drift.language_words`, plus its diacritics. A query
gets a language only when that language leads English and the others clearly; everything else, English included, is
``unmarked``. It is meant for *shares* that are compared between days, not for routing single queries.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from functools import cache, lru_cache

from rankops.drift.language_words import WORDS

UNMARKED = "unmarked"
CLEAR_LEAD, LIKELY_LEAD = 3.5, 1.0
"""Nats between the first and the second language: for a verdict on a query, and where a language is expected."""

_WORD = re.compile(r"[^\W\d_]+")
_LETTERS = {"de": "äöüß", "fr": "çèêëîïôûùàâœé", "es": "ñáíóúé"}
_MARK = 4.0  # what one letter that English does not have adds, in nats
_KNOWN = 4.0  # what a word of the list adds
_SMOOTHING = 0.5
_TRIGRAMS = 20_000  # size of the space that smoothing spreads over


@lru_cache(maxsize=200_000)
def guess_language(query: str, lead: float = CLEAR_LEAD) -> str:
    """``de``, ``fr``, ``es``, a Unicode script in lower case (``cyrillic``, ``cjk``, ...), or ``unmarked``.

    >>> [guess_language(q) for q in ("rote schuhe für damen", "chaussures de femme", "red shoes", "кроссовки")]
    ['de', 'fr', 'unmarked', 'cyrillic']
    """
    words = _WORD.findall(unicodedata.normalize("NFC", query).lower())
    if script := _other_script("".join(words)):
        return script
    scores = dict.fromkeys(WORDS, 0.0)
    for word in words:
        for language, score in _word_scores(word).items():
            scores[language] += score
    ranked = sorted(scores, key=lambda language: (-scores[language], language))
    return ranked[0] if ranked[0] != "en" and scores[ranked[0]] - scores[ranked[1]] >= lead else UNMARKED


@lru_cache(maxsize=200_000)
def _word_scores(word: str) -> dict[str, float]:
    """Log likelihood of a word by language, relative to the most likely, plus marks; at most 8 nats apart.

    The cap keeps one long word (a brand, a typo) from outweighing the rest of the query.
    """
    scores = {}
    for language in WORDS:
        table, total = _model(language)
        score = sum(math.log((table[g] + _SMOOTHING) / (total + _SMOOTHING * _TRIGRAMS)) for g in _trigrams(word))
        score += _MARK * any(letter in _LETTERS.get(language, "") for letter in word)
        scores[language] = score + _KNOWN * (word in _listed(language))
    best = max(scores.values())
    return {language: max(score - best, -8.0) for language, score in scores.items()}


@cache
def _model(language: str) -> tuple[Counter[str], int]:
    table = Counter(g for word in WORDS[language].split() for g in _trigrams(word))
    return table, table.total()


@cache
def _listed(language: str) -> frozenset[str]:
    return frozenset(WORDS[language].split())


def _trigrams(word: str) -> list[str]:
    padded = f" {word} "
    return [padded[i : i + 3] for i in range(len(padded) - 2)]


def _other_script(letters: str) -> str | None:
    foreign = [letter for letter in letters if not letter.isascii() and _script(letter) != "LATIN"]
    return _script(foreign[0]).lower() if letters and 2 * len(foreign) > len(letters) else None


@lru_cache(maxsize=10_000)
def _script(letter: str) -> str:
    return unicodedata.name(letter, "UNKNOWN").split(" ", 1)[0].split("-", 1)[0]
