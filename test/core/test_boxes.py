"""Which boxes belong together."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
import numpy as np
import pytest

from perception_ros.core.boxes import match, overlaps


def test_overlap_is_intersection_over_union() -> None:
    left = np.array([[0.0, 0, 10, 10], [20, 20, 30, 30]])
    right = np.array([[5.0, 0, 15, 10]])
    assert overlaps(left, right) == pytest.approx(np.array([[50 / 150], [0]]))


@given(arrays(float, st.tuples(st.integers(0, 6), st.integers(0, 6)), elements=st.floats(-1, 1)))
def test_each_has_one_partner_at_most_and_the_best_go_first(shares: np.ndarray) -> None:
    before = shares.copy()
    pairs = match(shares, 0.5)
    assert (shares == before).all(), 'the caller keeps its array'
    found = [shares[pair] for pair in pairs]
    assert found == sorted(found, reverse=True) and all(share >= 0.5 for share in found)
    for side in (0, 1):
        assert len({pair[side] for pair in pairs}) == len(pairs)
    rows, columns = {pair[0] for pair in pairs}, {pair[1] for pair in pairs}
    for place in zip(*np.nonzero(shares >= 0.5), strict=True):
        assert place[0] in rows or place[1] in columns, 'no pair was overlooked'
