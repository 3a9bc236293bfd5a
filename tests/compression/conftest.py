"""A tiny transformer with random weights and a tiny shop, so that the whole ladder runs in seconds."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from rankops.dataset import COLUMNS, Dataset
from rankops.encoding import Encoder
from rankops.specs import ModelSpec
from tests.support.tiny_artifact import SPECIAL, write_tokenizer

os.environ.setdefault("HF_HUB_OFFLINE", "1")

COLOURS = ["red", "blue", "green", "black", "white", "brown", "grey", "pink"]
THINGS = ["shoe", "lamp", "chair", "phone", "bag", "table", "watch", "knife"]
WORDS = [*SPECIAL, *COLOURS, *THINGS, "for", "garden"]


@pytest.fixture(scope="session")
def spec() -> ModelSpec:
    return ModelSpec(name="tiny", task="retrieval", compression={"quality_budget": 0.2})


@pytest.fixture(scope="session")
def dataset() -> Dataset:
    """64 products, one dev query for each; the product of that very name is the relevant one."""
    names = [f"{colour} {thing}" for colour in COLOURS for thing in THINGS]
    ids = [f"p{number:02d}" for number in range(len(names))]
    catalogue = pl.DataFrame(
        {"product_id": ids, "title": names, "description": "for garden", "category": "", "brand": "",
         "attributes": "", "price": 1.0, "added_day": date(2025, 1, 1)},
        schema=COLUMNS["catalogue"],
    )  # fmt: skip
    query_ids = [i.replace("p", "q") for i in ids]
    queries = pl.DataFrame(
        {"query_id": query_ids, "query": names, "group_id": query_ids, "split": "dev", "popularity": "head",
         "category": ""},
        schema=COLUMNS["queries"],
    )  # fmt: skip
    judgements = pl.DataFrame({"query_id": query_ids, "product_id": ids, "grade": 3}, schema=COLUMNS["judgements"])
    interactions = pl.DataFrame(schema=COLUMNS["interactions"])
    return Dataset(catalogue=catalogue, interactions=interactions, queries=queries, judgements=judgements)


@pytest.fixture(scope="session")
def reciprocal_rank(dataset: Dataset):
    """A real relevance measure of an encoder on the tiny shop: 1 / rank of the product that was asked for."""

    def score(encoder: Encoder) -> np.ndarray:
        products = encoder.encode(dataset.catalogue["title"].to_list(), role="product")
        queries = encoder.encode(dataset.queries["query"].to_list(), role="query")
        scores = queries @ products.T
        own = np.diag(scores)[:, None]
        return 1.0 / (1 + (scores > own + 1e-6).sum(axis=1))

    return score


def save_checkpoint(folder: Path, model) -> Path:
    """A Hugging Face folder: config, safetensors and the tiny tokenizer."""
    from transformers import PreTrainedTokenizerFast

    model.save_pretrained(folder, safe_serialization=True)
    write_tokenizer(folder / "raw.json", WORDS)
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_file=str(folder / "raw.json"), **names).save_pretrained(folder)
    (folder / "raw.json").unlink()
    return folder


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT of two layers whose words are far apart."""
    import torch
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=64, initializer_range=0.3, attention_dropout=0.0,
    )  # fmt: skip
    return save_checkpoint(tmp_path_factory.mktemp("checkpoint"), BertModel(config).eval())
