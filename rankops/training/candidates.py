"""Which products a ranker is asked to order for a query: the first results of its first stage.

That is a retriever of the repository, or BM25 and the un-tuned base model where the spec names none. Evaluation makes
its candidates of the same runs, so that what training watches on the dev split is what the gate judges on the test
split: mostly products that no judge has seen.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from rankops.dataset import Dataset, Split
from rankops.fusion import load_fusion
from rankops.runs import bm25_run, candidates_of, encoder_run, search_run
from rankops.specs import RankingSpec
from rankops.training.crossencoder_data import Candidates
from rankops.training.torch_encoder import TorchEncoder


def split_candidates(
    dataset: Dataset, splits: Collection[Split], spec: RankingSpec, retriever: Path
) -> dict[Split, Candidates]:
    """The candidates of every query of each split, in the order in which they are found.

    ``retriever`` is a bi-encoder's folder: that of the first stage, or of the base model, whose first results stand
    behind those of BM25. It encodes the catalogue once.
    """
    asked = {split: list(dataset.split(split).select("query_id", "query").iter_rows()) for split in splits}
    queries = [query for split in splits for query in asked[split]]
    depth, longest = spec.candidates, spec.max_pair_tokens
    if spec.first_stage is not None:
        found = search_run(TorchEncoder(retriever), load_fusion(retriever), dataset, queries, k=depth)
    else:
        texts, ids = dataset.product_texts(), dataset.catalogue["product_id"].to_list()
        base = TorchEncoder(retriever, max_query_tokens=longest, max_product_tokens=longest)
        found = candidates_of([bm25_run(queries, texts, ids), encoder_run(base, queries, texts, ids)], depth)
    return {split: {query_id: found[query_id] for query_id, _ in asked[split]} for split in splits}
