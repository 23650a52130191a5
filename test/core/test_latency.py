"""Percentiles from fixed memory must be those of the numbers themselves."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from perception_ros.core.latency import Histogram, LatencyRecorder, merge_cameras

durations = st.lists(st.integers(0, 10**10), min_size=1, max_size=200)


def histogram(values: list[int]) -> Histogram:
    filled = Histogram()
    for value in values:
        filled.add(value)
    return filled


@given(values=durations, percent=st.sampled_from([1, 50, 95, 99, 100]))
def test_percentiles_are_right_to_one_bucket(values: list[int], percent: float) -> None:
    true_ms = float(np.percentile(values, percent, method='inverted_cdf')) / 1e6
    assert histogram(values).percentile_ms(percent) == pytest.approx(true_ms, rel=0.015, abs=1e-6)


@given(a=durations, b=durations)
def test_merging_is_counting_together(a: list[int], b: list[int]) -> None:
    """Replays on several machines are merged: the result must not depend on how they were cut."""
    merged = histogram(a)
    merged.merge(histogram(b))
    assert merged == histogram(a + b)


def test_the_greatest_is_exact_and_negative_counts_as_zero() -> None:
    filled = histogram([-5, 123_456_789])
    assert filled.summary_ms()['max'] == 123.457
    assert filled.percentile_ms(50) == 0.0


def test_empty_is_zero() -> None:
    assert Histogram().summary_ms() == {'p50': 0, 'p95': 0, 'p99': 0, 'max': 0}


def test_recorder_hands_over_and_begins_afresh() -> None:
    recorder = LatencyRecorder()
    recorder.record('front', {'infer': 1_000_000, 'total': 2_000_000})
    recorder.record('left', {'infer': 9_000_000})
    taken = recorder.take()
    assert merge_cameras(taken, 'infer').total == 2
    assert merge_cameras(taken, 'total').max_ns == 2_000_000
    assert recorder.take() == {}
