"""What a pair's score is blended from beside the network: small models of cleaned texts, one file each."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rankops.pair_trees import LEXICAL, load_lexical
from rankops.pair_words import WORDS, load_words


class PairPart(Protocol):
    """A part of the score that is no network."""

    def margin(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float64]:
        """float64 ``(len(pairs),)``, larger for pairs that belong together, before any blending."""
        ...

    def save(self, path: Path) -> None:
        """Write the part's file (deterministic bytes)."""
        ...


Parts = Mapping[str, PairPart]
"""By the name that :class:`rankops.cross_encoding.Blend` weighs them by."""

FILES: Mapping[str, str] = {"lexical": LEXICAL, "words": WORDS}
_LOADERS: Mapping[str, Callable[[Path], PairPart]] = {"lexical": load_lexical, "words": load_words}


def part_files(named: Collection[str]) -> list[str]:
    """Those of ``named`` files that are parts, in the order of their names."""
    return [file for file in FILES.values() if file in named]


def load_parts(folder: Path, named: Collection[str]) -> dict[str, PairPart]:
    """The parts of a folder whose description names ``named`` files; :class:`IntegrityError` for a damaged one."""
    return {name: _LOADERS[name](folder / file) for name, file in FILES.items() if file in named}
