"""What is said of samples, by samples that were made by hand."""

from __future__ import annotations

import pytest

from perception_ros.benchmarks.statistics import Latency, ratios, Spread


def test_the_middle_and_where_eight_of_ten_lie() -> None:
    spread = Spread.of([float(value) for value in range(101)])
    assert (spread.median, spread.p10, spread.p90, spread.samples) == (50, 10, 90, 101)
    assert spread.width == pytest.approx(80 / 50)


def test_one_slow_sample_moves_no_median() -> None:
    assert Spread.of([1.0, 1.0, 1.0, 1.0, 900.0]).median == 1.0


@pytest.mark.parametrize(
    ('count', 'expected'),
    [
        pytest.param(1, 1, id='one call is its own percentile'),
        pytest.param(50, 50, id='of few the slowest'),
        pytest.param(1000, 991, id='of many a call that was really waited for'),
    ],
)
def test_p99(count: int, expected: float) -> None:
    assert Latency.of([float(value) for value in range(1, count + 1)]).p99 == expected


def test_ratios_are_of_neighbours() -> None:
    """A machine that is twice as slow in the second round slows both sides."""
    ratio = ratios([10.0, 20.0, 10.0], [5.0, 10.0, 5.0])
    assert ratio == Spread(median=2, p10=2, p90=2, samples=3)


def test_rounds_that_one_side_lacks_do_not_count() -> None:
    ratio = ratios([10.0, 20.0, 30.0], [5.0])
    assert ratio is not None and (ratio.median, ratio.samples) == (2, 1)
    assert ratios([], [1.0]) is None
    assert ratios([1.0], [0.0]) is None
