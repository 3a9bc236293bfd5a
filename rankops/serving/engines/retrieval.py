"""A retriever, loaded: encoder, indexes and products in memory."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import NamedTuple

import numpy as np

from rankops.errors import IntegrityError
from rankops.pace import rest
from rankops.release.golden import read_golden
from rankops.release.manifest import ReleaseManifest
from rankops.release.products import read_products
from rankops.release.retrieval import EMBEDDING, QUERY
from rankops.release.searcher import Found, Searcher
from rankops.serving.config import ServerConfig
from rankops.serving.engines import REFUSED, Tensor

_ANSWER_BYTES, _RESULT_BYTES = 400, 40
"""What an answer and each result take beside the JSON: ids are the index's, lists and numbers are the answer's own
(with an entry of the cache 1.3 kB for ten results, by tracemalloc)."""

_BLOCK = 256
"""Products that are made ready for display between two rests: about a millisecond."""

_DEEPER = 4
"""Times as deep is searched again, where too much of what was found cannot be bought."""

_ENCODE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class Wish(NamedTuple):
    """What a search depends on beside the release: the normalized query, how many, from which score, what may be named.

    ``only_available``: no product that the release's catalogue says cannot be bought.
    """

    query: str
    k: int
    min_score: float | None = None
    only_available: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """The products of one search, best first: ids, scores, and the JSON array that the caller gets.

    ``seconds`` are those of its stages (encode, search, lexical, rerank).
    """

    product_ids: list[str]
    scores: list[float]
    json: bytes
    seconds: dict[str, float]

    @property
    def size(self) -> int:
        """Bytes in memory, about."""
        return len(self.json) + _ANSWER_BYTES + _RESULT_BYTES * len(self.product_ids)


@dataclass(frozen=True)
class SearchEngine:
    """Implements :class:`rankops.serving.engines.Engine` for retrieval.

    ``products`` is the JSON of each product for display, up to the place of its score: it is made once, at load.
    ``unavailable`` are products that cannot be bought. ``together``: a batch costs little more than one search (an
    accelerator).
    """

    manifest: ReleaseManifest
    searcher: Searcher
    products: dict[str, bytes]
    unavailable: frozenset[str] = frozenset()
    endpoint: str = "/search"
    inputs: tuple[Tensor, ...] = (Tensor(QUERY, "BYTES", (-1,)),)
    together: bool = False

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """One embedding a query."""
        return (Tensor(EMBEDDING, "FP32", (-1, self.searcher.encoder.dimension)),)

    @property
    def summary(self) -> str:
        """How many products there are, and what finds them."""
        how = "vectors" if self.searcher.hybrid is None else "vectors and words"
        return f"{len(self.products):,} products, by {how}"

    def infer(self, texts: Mapping[str, Sequence[str]]) -> dict[str, np.ndarray]:
        """Embeddings of queries."""
        return {EMBEDDING: self.searcher.embed(texts[QUERY])}

    def search_many(self, wishes: Sequence[Wish]) -> list[Answer]:
        """The answer to each wish: encoded alone on a CPU, together on an accelerator, compared at once."""
        found = self.searcher.search_many([wish.query for wish in wishes], [wish.k for wish in wishes])
        return [
            self._answer(self._available(one, wish) if wish.only_available else one, wish.min_score)
            for one, wish in zip(found, wishes, strict=True)
        ]

    def search(self, wish: Wish) -> Answer:
        """The best products for one query; those that score below the wish's bound are left out."""
        return self.search_many([wish])[0]

    def _available(self, found: Found, wish: Wish) -> Found:
        """The wish's best among what can be bought: the search goes deeper until there are enough."""
        depth, most = wish.k, min(wish.k + len(self.unavailable), len(self.products))
        while True:
            kept = [place for place, product in enumerate(found.product_ids) if product not in self.unavailable]
            if len(kept) >= wish.k or depth >= most:
                kept = kept[: wish.k]
                return replace(
                    found,
                    product_ids=[found.product_ids[place] for place in kept],
                    scores=[found.scores[place] for place in kept],
                )
            depth = min(_DEEPER * depth, most)
            found = self.searcher.search(wish.query, depth)

    def _answer(self, found: Found, min_score: float | None) -> Answer:
        ids, scores = found.product_ids, found.scores
        if min_score is not None:
            kept = sum(score >= min_score for score in scores)  # best first
            ids, scores = ids[:kept], scores[:kept]
        parts = [b"%b%r}" % (self.products[i], score) for i, score in zip(ids, scores, strict=True)]
        return Answer(ids, scores, b"[" + b",".join(parts) + b"]", found.seconds)


def load(config: ServerConfig, manifest: ReleaseManifest) -> SearchEngine:
    """Load a verified release. Raises :class:`IntegrityError` when its parts do not belong together."""
    searcher = Searcher.open(config.release, providers=config.providers, session=config.session(manifest))
    if (digest := searcher.encoder.digest) != manifest.encoder_digest:
        raise IntegrityError(
            f"the manifest's encoder is {manifest.encoder_digest}, the bundled one is {digest}", REFUSED
        )
    rest()
    products = read_products(config.release, searcher.index.product_ids)
    shown, together = _displays(products.shown), config.provider == "cuda"
    engine = SearchEngine(manifest, searcher, shown, products.unavailable, together=together)
    for request in read_golden(config.release).requests:  # the index's pages and the model's are in memory after this
        engine.search(Wish(request.name, 1))
        rest()
    return engine


def _displays(products: Mapping[str, Mapping[str, object]]) -> dict[str, bytes]:
    shown = {}
    for number, (product_id, product) in enumerate(products.items()):
        if not number % _BLOCK:
            rest()
        shown[product_id] = _display(product)
    return shown


def _display(product: Mapping[str, object]) -> bytes:
    """The product's JSON object without its end: what is left to say is the score."""
    known = {
        name: None if isinstance(value, float) and not isfinite(value) else value for name, value in product.items()
    }
    return _ENCODE(known)[:-1].encode() + b',"score":'
