"""Fixtures of the evaluation room; the builders are in ``samples``."""

from __future__ import annotations

import pytest

from rankops.dataset import Dataset
from tests.evaluation.samples import noisy_run, small_shop


@pytest.fixture(scope="session")
def shop() -> Dataset:
    return small_shop()


@pytest.fixture(scope="session")
def runs(shop: Dataset) -> dict[str, dict[str, list[str]]]:
    """random < bm25 < base < champion < challenger."""
    noise = {"random": 30.0, "bm25": 2.5, "base": 1.8, "champion": 0.9, "challenger": 0.5}
    return {system: noisy_run(shop, level, seed) for seed, (system, level) in enumerate(noise.items())}
