"""The sequential part of a next-item model, as it is served: ONNX Runtime and numpy, no PyTorch.

``sequence.onnx`` takes ``items`` (int64 ``(1, length)``: rows of products, first to last) and gives ``probabilities``
(float32 ``(n,)``: of each product of the model to come next). ``sequence.json`` is :class:`SequenceConfig`. Both lie
beside the files of :mod:`rankops.next_item`, or neither does.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rankops.errors import IntegrityError
from rankops.files import write_bytes, write_json
from rankops.onnx_session import CPU, REBUILD, open_session, run_session

if TYPE_CHECKING:
    import onnxruntime as ort

GRAPH, CONFIG = "sequence.onnx", "sequence.json"
SEQUENCE_FILES = (GRAPH, CONFIG)
ITEMS, PROBABILITIES = "items", "probabilities"


@dataclass(frozen=True)
class SequenceConfig:
    """``sequence.json``: what the probabilities weigh beside the item-item score, and how many products of a context
    are read (the last ``length``).
    """

    weight: float
    length: int
    storage: str = "float32"
    facts: dict[str, Any] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write ``sequence.json`` into a folder."""
        write_json(folder / CONFIG, asdict(self))


class SequenceScorer(Protocol):
    """What a next-item model asks. Safe to share between threads."""

    @property
    def config(self) -> SequenceConfig:
        """Weight and length."""
        ...

    def probabilities(self, rows: Sequence[int]) -> NDArray[np.float32]:
        """float32 ``(n,)`` with sum 1: how likely each product comes after those of ``rows`` (at least one)."""
        ...

    def save(self, folder: Path) -> None:
        """Write its files into a folder."""
        ...


@dataclass(frozen=True)
class OnnxSequence:
    """Implements :class:`SequenceScorer` over ``sequence.onnx``."""

    config: SequenceConfig
    graph: bytes
    session: ort.InferenceSession

    def probabilities(self, rows: Sequence[int]) -> NDArray[np.float32]:
        """See :class:`SequenceScorer`."""
        items = np.asarray(rows[-self.config.length :], dtype=np.int64)[None, :]
        return run_session(self.session, PROBABILITIES, {ITEMS: items})

    def save(self, folder: Path) -> None:
        """Write both files."""
        write_bytes(folder / GRAPH, self.graph)
        self.config.save(folder)


def read_sequence_config(folder: Path) -> SequenceConfig:
    """Read ``sequence.json``. Raises :class:`IntegrityError` saying what is wrong with it."""
    try:
        config = SequenceConfig(**json.loads((folder / CONFIG).read_text()))
        sound = config.weight > 0 and config.length >= 1
    except (OSError, TypeError, ValueError) as error:
        raise IntegrityError(f"{folder / CONFIG} cannot be read: {error}", REBUILD) from error
    if not sound:
        raise IntegrityError(f"{folder / CONFIG}: weight and length must be above 0: {config}", REBUILD)
    return config


def load_sequence(folder: Path, products: int) -> OnnxSequence | None:
    """The sequential part of an artifact or a release; None where there is none (item-item alone).

    Raises :class:`IntegrityError` where one of the two files is missing, or the network is not one over so many
    ``products``.
    """
    there = [name for name in SEQUENCE_FILES if (folder / name).is_file()]
    if not there:
        return None
    if len(there) < len(SEQUENCE_FILES):
        raise IntegrityError(f"{folder} holds {there[0]} without the other of {SEQUENCE_FILES}", REBUILD)
    found = OnnxSequence(read_sequence_config(folder), (folder / GRAPH).read_bytes(), open_session(folder / GRAPH, CPU))
    answer = found.probabilities([0])
    if answer.shape != (products,) or not np.isfinite(answer).all():
        raise IntegrityError(f"{folder / GRAPH}: {answer.shape} or NaN is no answer over {products} products", REBUILD)
    return found
