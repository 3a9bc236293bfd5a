from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankops.load.histogram import PRECISION, LatencyHistogram


@given(st.lists(st.floats(min_value=1e-6, max_value=3600), min_size=1, max_size=200), st.floats(0.1, 100))
def test_percentiles_are_those_of_the_values_within_the_stated_precision(values: list[float], percent: float) -> None:
    histogram = LatencyHistogram()
    for value in values:
        histogram.record(value)
    exact = float(np.percentile(values, percent, method="inverted_cdf"))
    assert histogram.percentile(percent) == pytest.approx(exact, rel=PRECISION, abs=1.01e-6)
    assert histogram.n == len(values)


def test_an_empty_histogram_has_no_percentile_and_more_than_an_hour_is_told() -> None:
    histogram = LatencyHistogram()
    assert np.isnan(histogram.percentile(99))
    histogram.record(5000.0)
    histogram.record(-1.0)
    assert histogram.clipped == 1
    assert histogram.percentile(50) == 0.0


@given(st.lists(st.floats(1e-6, 100), min_size=1, max_size=50), st.lists(st.floats(1e-6, 100), min_size=1, max_size=50))
def test_merging_and_reading_back_keep_every_count(first: list[float], second: list[float]) -> None:
    one, two, both = LatencyHistogram(), LatencyHistogram(), LatencyHistogram()
    for value in first:
        one.record(value)
        both.record(value)
    for value in second:
        two.record(value)
        both.record(value)
    one.add(two)
    assert one.sparse() == both.sparse()
    read = LatencyHistogram.from_sparse(one.sparse())
    assert read.percentile(90) == pytest.approx(one.percentile(90), rel=PRECISION, abs=1e-6)
    assert read.n == len(first) + len(second)


def test_the_share_above_a_bound_counts_only_what_lies_above_it() -> None:
    histogram = LatencyHistogram()
    for milliseconds in (1, 2, 3, 40, 60, 80):
        histogram.record(milliseconds / 1e3)
    assert histogram.share_above(0.050) == pytest.approx(2 / 6)
    assert histogram.share_above(0.0005) == 1.0
