"""Every nanosecond of a frame's way is in one stage: they add up, whoever drives the pipeline."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from perception_ros.core.passage import durations, Passage, STAGES

points_ns = st.lists(st.integers(0, 10**18), min_size=8, max_size=8)


@given(points_ns=points_ns, stamped_ns=st.none() | st.integers(0, 10**18))
def test_stages_add_up_to_the_total(points_ns: list[int], stamped_ns: int | None) -> None:
    """Also where clocks disagree, and a stage comes out below zero."""
    stages_ns = Passage(stamped_ns, *points_ns).stages_ns()
    first_ns = points_ns[0] if stamped_ns is None else stamped_ns
    assert stages_ns.pop('total') == sum(stages_ns.values()) == points_ns[-1] - first_ns
    assert ('transport' in stages_ns) == (stamped_ns is not None)


def test_many_are_as_one_by_one() -> None:
    some = [Passage(None, *range(8)), Passage(-9, *range(10, 90, 10))]
    rows = durations(some).tolist()
    assert rows[0] == [0, *some[0].stages_ns().values()]
    assert dict(zip(STAGES, rows[1], strict=True)) == some[1].stages_ns()
