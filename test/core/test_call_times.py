"""What is expected of calls of each size, from those that were measured."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from perception_ros.core.call_times import CallTimes


def test_nothing_is_expected_before_anything_was_measured() -> None:
    assert CallTimes().expect_ns(4) == 0


def test_it_follows_what_is_measured() -> None:
    """An engine that slows down, as when it gets hot, is believed within some calls."""
    times = CallTimes()
    for duration_ns in [1000] * 50 + [2000] * 50:
        times.note(4, duration_ns)
    assert abs(times.expect_ns(4) - 2000) <= 20


def test_durations_that_vary_leave_room() -> None:
    times = CallTimes()
    for n in range(100):
        times.note(1, 1000 + 200 * (n % 2))
    assert 1150 < times.expect_ns(1) < 1250


@given(st.lists(st.tuples(st.integers(1, 8), st.integers(1, 10**9)), min_size=1))
def test_larger_calls_take_longer_but_not_more_than_in_proportion(
    measured: list[tuple[int, int]]
) -> None:
    """One slow measurement of a size must not make it slower than calls that do the same."""
    times = CallTimes()
    for size, duration_ns in measured:
        times.note(size, duration_ns)
    expected = [times.expect_ns(size) for size in range(1, 9)]
    assert expected == sorted(expected)
    per_frame = [ns / size for size, ns in enumerate(expected, 1)]
    assert all(after <= before + 1 for before, after in pairwise(per_frame))
