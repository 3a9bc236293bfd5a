"""Product search with BentoML; ``bentoml serve bentoml_service:Search``, or ``:SearchInBatches`` for its batching.

``PEER_ENCODER``, ``PEER_DATA`` and ``PEER_WORKERS`` say what is served and by how many processes.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import bentoml
from onnx_search import OnnxSearch

_WORKERS = int(os.environ.get("PEER_WORKERS", "2"))


def _engine() -> OnnxSearch:
    return OnnxSearch(Path(os.environ["PEER_ENCODER"]), Path(os.environ["PEER_DATA"]), threads=1)


@bentoml.service(workers=_WORKERS, traffic={"timeout": 30}, logging={"access": {"enabled": False}})
class Search:
    """One query a request."""

    def __init__(self) -> None:
        self.engine = _engine()

    @bentoml.api(route="/search")
    def search(self, query: str) -> dict[str, Any]:
        return self.engine.search([query])[0]


@bentoml.service(workers=_WORKERS, traffic={"timeout": 30}, logging={"access": {"enabled": False}})
class SearchInBatches:
    """Requests of one query, joined by BentoML's adaptive batching."""

    def __init__(self) -> None:
        self.engine = _engine()

    @bentoml.api(route="/search", batchable=True, max_batch_size=16, max_latency_ms=1000)
    def search(self, query: list[str]) -> list[dict[str, Any]]:
        return self.engine.search(query)
