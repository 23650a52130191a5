"""Percentiles from fixed memory must be those of the numbers themselves."""

from __future__ import annotations

import sys

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from perception_ros.core.latency import Histogram, Key, LatencyRecorder, merge_by
from perception_ros.core.passage import Passage

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
    """Seconds are merged into what the summary says: it must not depend on how they were cut."""
    merged, together = histogram(a), Histogram()
    merged.merge(histogram(b))
    together.add_all(np.array(a + b))
    assert merged.total == together.total == len(a + b)
    assert merged.max_ns == together.max_ns
    for percent in (1, 50, 95, 99, 100):
        assert merged.percentile_ms(percent) == together.percentile_ms(percent)


def test_what_takes_longer_than_any_bucket_is_counted() -> None:
    filled = histogram([10**15])
    assert (filled.total, filled.max_ns) == (1, 10**15)


def test_the_greatest_is_exact_and_negative_counts_as_zero() -> None:
    filled = histogram([-5, 123_456_789])
    assert filled.summary_ms()['max'] == 123.457
    assert filled.percentile_ms(50) == 0.0


def test_empty_is_zero() -> None:
    assert Histogram().summary_ms() == {'p50': 0, 'p95': 0, 'p99': 0, 'max': 0}


def passage(infer_ns: int, stamped_ns: int | None = None) -> Passage:
    """Return the way of a frame on which only the engine takes its time."""
    return Passage(stamped_ns, 100, 100, 100, 100, 100, *[100 + infer_ns] * 3)


def test_recorder_hands_over_and_begins_afresh() -> None:
    recorder = LatencyRecorder()
    recorder.record('front', 'boxes', passage(1_000_000, stamped_ns=90))
    recorder.record('left', 'boxes', passage(9_000_000))
    taken = recorder.take()
    by_stage = merge_by(lambda key: key.stage, taken)
    assert by_stage['infer'].total == 2
    assert by_stage['total'].max_ns == 9_000_000
    assert taken[Key('front', 'boxes', 'total')].max_ns == 1_000_010, 'since the stamp'
    assert Key('left', 'boxes', 'transport') not in taken, 'nothing is known of it'
    assert recorder.take() == {}


def test_recorder_keeps_nothing_of_single_frames_however_many_come() -> None:
    """Nobody takes what is recorded offline: memory must stay flat all the same."""
    recorder = LatencyRecorder()
    one = passage(1_000_000)
    before = sys.getrefcount(one)
    for _ in range(2000):
        recorder.record('front', 'boxes', one)
    assert sys.getrefcount(one) - before < 1000
    assert recorder.take()[Key('front', 'boxes', 'infer')].total == 2000
