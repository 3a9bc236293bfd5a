from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from benchmarks.served import Side
from benchmarks.soak import Soak, SoakReport, Swapped, comparison, pinned, second_release, slope, verdict, write_pin
from rankops.load.result import StageResult
from rankops.release.signing import verify
from tests.serving.conftest import Shop
from tests.support.tiny_release import GOLDEN


@pytest.fixture(scope="module")
def second(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Swapped:
    return second_release(shop.release, shop.private_key, tmp_path_factory.mktemp("soak") / "second")


def test_the_second_release_is_signed_and_another_one_with_the_same_encoder(shop: Shop, second: Swapped) -> None:
    other = verify(second.folder, shop.public_key, second.digest)
    assert other.digest != shop.manifest.digest and other.encoder_digest == shop.manifest.encoder_digest
    assert second_release(shop.release, shop.private_key, second.folder) == second


def test_five_seconds_with_swaps_lose_no_request(shop: Shop, second: Swapped, tmp_path: Path) -> None:
    releases = [Swapped(shop.release, shop.manifest.digest), second]
    pin = tmp_path / "pin.json"
    write_pin(pin, releases[0])
    command = ["--release", str(shop.release), "--digest", shop.manifest.digest, "--public-key", str(shop.public_key)]
    side = pinned(
        Side(
            "ours", [sys.executable, "-m", "rankops.serving", "--port", "{port}", *command, "--cache-entries", "0"], "0"
        ),
        pin,
    )
    said: list[str] = []
    side.start(said.append)
    assert side.server is not None
    try:
        with side.generator(GOLDEN) as generator:
            report = Soak(side, pin, releases, 1.5, said.append).run(generator, 40.0, 5.0, tmp_path / "progress.json")
    finally:
        side.server.stop()
    assert report.result.failures == {} and report.result.sent > 100
    assert len(report.swaps) >= 2 and len(report.memory) > 5
    labels = Counter(report.result.labels)
    assert labels[shop.manifest.digest] and labels[second.digest]
    assert [line for line in verdict(report, releases) if "memory" not in line] == []
    told = comparison(report, releases, None)
    assert told.also["latency (ms)"]["p99.9"] > 0 and told.n == report.result.sent
    assert (tmp_path / "progress.json").is_file()


def soaked(growth_mb_a_minute: float) -> SoakReport:
    generator = np.random.default_rng(0)
    report = SoakReport(100.0, 1800.0, StageResult(100.0))
    report.swaps = [120.0 * (i + 1) for i in range(14)]
    noise = generator.normal(0, 3, 1800)
    report.memory = [(float(s), 400 + growth_mb_a_minute * s / 60 + float(noise[s])) for s in range(1800)]
    report.result.labels.update({"a": 10, "b": 10})
    report.result.latency.record(0.01)
    return report


RELEASES = [Swapped(Path("a"), "a"), Swapped(Path("b"), "b")]


def test_a_leak_is_found_and_noise_is_none() -> None:
    assert not soaked(0.0).grows() and verdict(soaked(0.0), RELEASES) == []
    leaking = soaked(0.5)
    assert leaking.grows()
    value, (low, high) = leaking.growth()
    assert low < 30 < high and value == pytest.approx(30, rel=0.2)
    assert any("memory grows" in line for line in verdict(leaking, RELEASES))
    assert comparison(leaking, RELEASES, 125.0).ratio < 0.985


def test_failures_and_a_release_that_never_answered_are_named() -> None:
    report = soaked(0.0)
    report.result.failures["status 503"] = 2
    report.result.labels = Counter({"a": 20, "stranger": 1})
    wrong = verdict(report, RELEASES)
    assert wrong == ["2 x status 503", "no answer came from b", "answers of stranger"]


def test_a_slope_needs_three_points() -> None:
    assert slope([1, 2], [1, 2]) == (0.0, (-np.inf, np.inf))
    value, (low, high) = slope([0, 1, 2, 3], [0, 1.1, 1.9, 3.0])
    assert low < value < high and value == pytest.approx(0.98)
