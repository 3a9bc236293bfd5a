"""A loaded release, ready to answer: one engine a task, behind one protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

import numpy as np

from rankops.release.manifest import ReleaseManifest
from rankops.release.signing import verify
from rankops.serving.config import ServerConfig
from rankops.specs import Task

REFUSED = "roll back to the last release that verified, and rematerialize this one"


@dataclass(frozen=True)
class Tensor:
    """A tensor of the protocol v2; -1 in ``shape`` is any length. ``long`` texts may be as long as a product's."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    long: bool = False


class Engine(Protocol):
    """Everything that answering needs. Safe to share between threads."""

    @property
    def manifest(self) -> ReleaseManifest:
        """What is served."""
        ...

    @property
    def summary(self) -> str:
        """One line for the log: how much was loaded."""
        ...

    @property
    def endpoint(self) -> str:
        """The path that people ask: /search, /rerank or /recommend."""
        ...

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """What an inference of the protocol v2 takes: BYTES tensors of one length."""
        ...

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """What it gives."""
        ...

    def infer(self, texts: Mapping[str, Sequence[str]]) -> dict[str, np.ndarray]:
        """Output tensors by name for input texts by name, row by row."""
        ...


Load = Callable[[ServerConfig, ReleaseManifest], Engine]

_MODULES: dict[Task, str] = {
    "retrieval": "rankops.serving.engines.retrieval",
    "ranking": "rankops.serving.engines.ranking",
    "recommendation": "rankops.serving.engines.recommendation",
}


def load_engine(config: ServerConfig) -> Engine:
    """Verify the release, load the engine of its task, and answer one request to warm up.

    Raises :class:`rankops.errors.BadInput` when something is missing and :class:`IntegrityError` when the signature,
    a digest, or what belongs together is not right: there is no way to serve it all the same.
    """
    manifest = verify(config.release, config.public_key, config.digest)
    module: Any = import_module(_MODULES[manifest.task])
    engine: Engine = module.load(config, manifest)
    return engine
