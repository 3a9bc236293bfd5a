"""Two texts to one row of tokens, as training and server both make it.

Token types say what a token is: 0 and 1 are the two sides (as BERT has it), 2 and 3 the same sides where the token's
word stands on the other side too. A model whose table of types has only two rows gets the sides alone, a model
without such a table no types.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding

from rankops.onnx_session import read_tokenizer
from rankops.pair_features import shared_words

MARKED_TYPES = 4
Pair = tuple[str, str]


@dataclass(frozen=True)
class PairTokens:
    """One pair: token ids and types, int64, of one length."""

    ids: NDArray[np.int64]
    types: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ids)


class PairTokenizer:
    """A tokenizer file for pairs, cut to ``max_tokens`` from the longer side first; ``marked`` adds types 2 and 3."""

    def __init__(self, path: Path, *, max_tokens: int, marked: bool) -> None:
        self._tokenizer = read_tokenizer(path, max_tokens)
        self._marked = marked

    def __call__(self, pairs: Sequence[Pair]) -> list[PairTokens]:
        """One entry a pair, unpadded."""
        encoded = self._tokenizer.encode_batch(list(pairs))
        return [self._tokens(pair, one) for pair, one in zip(pairs, encoded, strict=True)]

    def _tokens(self, pair: Pair, encoded: Encoding) -> PairTokens:
        types = np.array(encoded.type_ids, dtype=np.int64)
        if self._marked:
            marks = [_characters(text, other) for text, other in (pair, pair[::-1])]
            sides, offsets = encoded.sequence_ids, encoded.offsets
            types += [
                2 * int(side is not None and start < end and marks[side][start])
                for side, (start, end) in zip(sides, offsets, strict=True)
            ]
        return PairTokens(np.array(encoded.ids, dtype=np.int64), types)


def _characters(text: str, other: str) -> NDArray[np.bool_]:
    """For each character of ``text`` whether its word is shared."""
    shared = np.zeros(len(text), dtype=np.bool_)
    for start, end in shared_words(text, other):
        shared[start:end] = True
    return shared


def padded(rows: Sequence[PairTokens]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Ids, mask and types ``(n, longest)``, padded with zeros (masked, so any id does)."""
    ids = np.zeros((len(rows), max(map(len, rows))), dtype=np.int64)
    mask, types = np.zeros_like(ids), np.zeros_like(ids)
    for place, row in enumerate(rows):
        ids[place, : len(row)] = row.ids
        types[place, : len(row)] = row.types
        mask[place, : len(row)] = 1
    return ids, mask, types
