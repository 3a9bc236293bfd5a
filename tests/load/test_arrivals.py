from __future__ import annotations

import numpy as np
import pytest

from rankops.errors import BadInput
from rankops.load.arrivals import arrivals
from tests.load.models import waits


def test_poisson_arrivals_have_exponential_gaps_and_the_same_seed_gives_the_same() -> None:
    times = arrivals("poisson", 200, 100, seed=3)
    gaps = np.diff(times)
    assert np.mean(gaps) == pytest.approx(1 / 200, rel=0.03)
    assert np.std(gaps) == pytest.approx(1 / 200, rel=0.05)
    assert times[-1] < 100 and np.all(gaps >= 0)
    assert np.array_equal(times, arrivals("poisson", 200, 100, seed=3))
    assert not np.array_equal(times[:10], arrivals("poisson", 200, 100, seed=4)[:10])


def test_a_queue_fed_by_them_waits_as_the_m_d_1_formula_says() -> None:
    # Pollaczek-Khinchine with deterministic service: rho * D / (2 * (1 - rho))
    for load in (0.3, 0.7):
        waiting = waits(arrivals("poisson", load / 0.01, 4000, seed=1), 0.01)
        assert np.mean(waiting) == pytest.approx(load * 0.01 / (2 * (1 - load)), rel=0.05)


def test_constant_arrivals_have_equal_gaps() -> None:
    assert arrivals("constant", 10, 1.0).tolist() == pytest.approx([i / 10 for i in range(10)])


@pytest.mark.parametrize(("rate", "seconds"), [(0, 1), (-3, 1), (5, 0), (float("nan"), 1)])
def test_a_load_that_is_none_is_refused(rate: float, seconds: float) -> None:
    with pytest.raises(BadInput, match="positive"):
        arrivals("poisson", rate, seconds)
