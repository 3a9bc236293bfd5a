"""Which products a ranker is asked to order for a query: the first results of BM25 and of the un-tuned base model.

Evaluation makes its candidates in the same way, so that what training watches on the dev split is what the gate judges
on the test split: mostly products that no judge has seen.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rankops.dataset import Dataset, Split
from rankops.fusion import DIGITS, top_rows
from rankops.lexical import LexicalIndex
from rankops.text import normalize_query
from rankops.training.crossencoder_data import Candidates
from rankops.training.torch_encoder import TorchEncoder


class CandidateSource:
    """The catalogue, indexed by words and by the vectors of ``retriever`` (a bi-encoder's folder)."""

    def __init__(self, dataset: Dataset, retriever: Path, *, max_tokens: int) -> None:
        self._dataset = dataset
        self._ids = np.asarray(dataset.catalogue["product_id"].to_list())
        # By product id, so that equal scores are ordered as evaluation orders them.
        order = np.argsort(self._ids, kind="stable")
        all_texts = dataset.product_texts()
        texts = [all_texts[row] for row in order.tolist()]
        self._ids = self._ids[order]
        self._words = LexicalIndex.build({"text": texts})
        self._encoder = TorchEncoder(retriever, max_query_tokens=max_tokens, max_product_tokens=max_tokens)
        self._vectors = self._encoder.encode(texts, role="product")

    def of(self, split: Split, depth: int) -> Candidates:
        """The first ``depth`` of each, together, for every query of a split; words first."""
        asked = list(self._dataset.split(split).select("query_id", "query").iter_rows())
        vectors = self._encoder.encode([normalize_query(text) for _, text in asked], role="query")
        found: dict[str, list[str]] = {}
        for (query_id, text), vector in zip(asked, vectors, strict=True):
            shares = self._words.match(text).fields[0]
            by_words = [row for row in top_rows(shares, depth).tolist() if shares[row] > 0]
            by_vector = top_rows(np.round(self._vectors @ vector, DIGITS), depth).tolist()
            found[query_id] = self._ids[list(dict.fromkeys([*by_words, *by_vector]))].tolist()
        return found
