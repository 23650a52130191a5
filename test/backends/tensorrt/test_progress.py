"""The builder's tree of phases as one number."""

from __future__ import annotations

import logging

from hypothesis import given
from hypothesis import strategies as st
import pytest

from perception_ros.backends.tensorrt.progress import LogProgress, Phases

EVENTS = st.lists(
    st.tuples(
        st.sampled_from(['start', 'step', 'finish']),
        st.sampled_from('abc'),
        st.sampled_from([None, 'a', 'b', 'c']),
        st.integers(0, 5),
    )
)


def test_a_phase_within_another_counts_as_a_part_of_its_step() -> None:
    phases = Phases()
    phases.start('build', None, 4)
    assert (phases.now, phases.share) == ('build', 0.0)
    phases.step('build', 1)
    assert phases.share == 0.5
    phases.start('time', 'build', 2)
    phases.step('time', 0)
    assert (phases.now, phases.share) == ('time', 0.5 + 0.25 / 2)
    phases.finish('time')
    phases.step('build', 3)
    assert (phases.now, phases.share) == ('build', 1.0)


def test_a_phase_that_is_left_without_a_word_is_closed_with_its_parent() -> None:
    phases = Phases()
    phases.start('build', None, 2)
    phases.start('time', 'build', 2)
    phases.start('optimise', 'build', 2)
    assert phases.now == 'optimise'
    phases.finish('optimise')
    assert phases.now == 'build'


@given(EVENTS)
def test_whatever_the_builder_tells_the_share_never_falls(
    events: list[tuple[str, str, str | None, int]],
) -> None:
    phases = Phases()
    last = 0.0
    for kind, name, parent, number in events:
        if kind == 'start':
            phases.start(name, parent, number)
        elif kind == 'step':
            phases.step(name, number)
        else:
            phases.finish(name)
        assert last <= phases.share <= 1.0
        last = phases.share


def test_the_log_has_a_line_when_it_begins_and_none_for_each_step(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    progress = LogProgress(logging.getLogger('test'), 'colours with tensorrt 10')
    for step in range(100):
        progress('timing', step / 100)
    assert caplog.messages == ['building colours with tensorrt 10: 0 %, timing']
