"""Whether a query may name somebody, by the words of the catalogue that is served (``--request-log-names drop``)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from rankops.pii import may_name_someone
from rankops.serving.engines import Engine

_SCORE = b',"score":'
_WORD = re.compile(r"[^\W\d_]+")


class NameFilter:
    """Knows the words of the products that the engine has, read once a release, on the thread that asks."""

    def __init__(self, engine: Callable[[], Engine | None]) -> None:
        self._engine = engine
        self._release = ""
        self._known: frozenset[str] = frozenset()

    def may_be_in(self, query: str) -> bool:
        """See :func:`rankops.pii.may_name_someone`."""
        engine = self._engine()
        if engine is not None and engine.manifest.digest != self._release:
            self._known = frozenset(words(_texts(engine)))
            self._release = engine.manifest.digest
        return may_name_someone(query, self._known)


def words(texts: Iterable[str]) -> Iterable[str]:
    """Words in lower case."""
    return (word for text in texts for word in _WORD.findall(text.lower()))


def _texts(engine: Engine) -> Iterable[str]:
    """Texts of the products, of any kind of engine that has them; a retriever keeps them as JSON without its end."""
    products: Mapping[str, Any] = getattr(engine, "products", {})
    for product in products.values():
        facts = json.loads(product.removesuffix(_SCORE) + b"}") if isinstance(product, bytes) else product
        yield from (value for value in facts.values() if isinstance(value, str))
