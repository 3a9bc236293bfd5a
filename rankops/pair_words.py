"""Which word of a product answers which word of a query, as clicks and judgements have taught it.

People ask for "runners" where a feed says "trainers", and for names that stand in no text at all. A translation model
(IBM's Model 1: Brown et al., Computational Linguistics 19(2), 1993; for search: Berger & Lafferty, SIGIR 1999) learns
``P(query word | product word)`` from pairs that belong together. The score of a pair is the mean over the query's
words of ``ln(chance + FLOOR)``, where a word's chance is the sum over the product's words, 1 at most (the best alone
orders worse: generated shop, nDCG@10 of the candidates .843 against .857, after the drift .803 against .817); a word
explains itself with :data:`ITSELF` at least, whether it was ever seen or not.

Training fits it, the server reads it from one file, ``words.npz``. Needs numpy only.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from rankops.errors import IntegrityError
from rankops.files import write_bytes
from rankops.onnx_session import REBUILD
from rankops.pair_features import word_keys

WORDS = "words.npz"
ITSELF = 0.5
"""Least chance with which a word explains the same word."""
FLOOR = 1e-3
"""Chance of a word that nothing explains; a word more or less then counts, and does not decide alone."""


@dataclass(frozen=True)
class WordModel:
    """Pairs of cleaned texts, the query first, to mean log chances. Safe to share between threads.

    ``chances`` is ``{query word: {product word: chance}}``, of word keys (:func:`rankops.pair_features.word_key`).
    """

    chances: Mapping[str, Mapping[str, float]]

    def margin(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float64]:
        """float64 ``(len(pairs),)``, at most 0; without a query word it is the logarithm of :data:`FLOOR`."""
        return np.array([self._row(query, product) for query, product in pairs], dtype=np.float64)

    def _row(self, query: str, product: str) -> float:
        asked, offered = word_keys(query), set(word_keys(product))
        found = [self._chance(word, offered) for word in asked] or [0.0]
        return float(np.log(np.array(found) + FLOOR).mean())

    def _chance(self, word: str, offered: set[str]) -> float:
        known = self.chances.get(word, {})
        total = min(1.0, sum(known[other] for other in sorted(offered & known.keys())))
        return max(total, ITSELF) if word in offered else total

    def save(self, path: Path) -> None:
        """Write the file (deterministic bytes): one row a pair of words, sorted."""
        rows = sorted((word, other, chance) for word, known in self.chances.items() for other, chance in known.items())
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            query=np.array([word for word, _, _ in rows], dtype=np.str_),
            product=np.array([other for _, other, _ in rows], dtype=np.str_),
            chance=np.array([chance for _, _, chance in rows], dtype=np.float32),
        )
        write_bytes(path, buffer.getvalue())


def load_words(path: Path) -> WordModel:
    """Read what :meth:`WordModel.save` wrote. Raises :class:`IntegrityError` for anything else."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
            columns = [stored[name].tolist() for name in ("query", "product", "chance")]
        chances: dict[str, dict[str, float]] = {}
        for word, other, chance in zip(*columns, strict=True):
            if not 0 <= chance <= 1:
                raise ValueError(f"a chance of {chance}")
            chances.setdefault(str(word), {})[str(other)] = float(chance)
    except (OSError, ValueError, KeyError, TypeError, BadZipFile) as error:
        raise IntegrityError(f"{path} is no word model: {error}", REBUILD) from error
    return WordModel(chances)
