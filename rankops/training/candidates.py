"""Which products a ranker is asked to order for a query: the first results of BM25 and of the un-tuned base model.

Evaluation makes its candidates of the same runs, so that what training watches on the dev split is what the gate judges
on the test split: mostly products that no judge has seen.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from rankops.dataset import Dataset, Split
from rankops.runs import bm25_run, candidates_of, encoder_run
from rankops.training.crossencoder_data import Candidates
from rankops.training.torch_encoder import TorchEncoder


def split_candidates(
    dataset: Dataset, splits: Collection[Split], retriever: Path, depth: int, *, max_tokens: int
) -> dict[Split, Candidates]:
    """The first ``depth`` of each, together, for every query of each split; words first.

    ``retriever`` is a bi-encoder's folder, and encodes the catalogue once.
    """
    asked = {split: list(dataset.split(split).select("query_id", "query").iter_rows()) for split in splits}
    queries = [query for split in splits for query in asked[split]]
    texts, ids = dataset.product_texts(), dataset.catalogue["product_id"].to_list()
    encoder = TorchEncoder(retriever, max_query_tokens=max_tokens, max_product_tokens=max_tokens)
    runs = [bm25_run(queries, texts, ids, k=depth), encoder_run(encoder, queries, texts, ids, k=depth)]
    found = candidates_of(runs, depth)
    return {split: {query_id: found[query_id] for query_id, _ in asked[split]} for split in splits}
