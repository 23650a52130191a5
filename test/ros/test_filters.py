"""The policy message_filters: the distribution's own synchroniser behind the core's contract."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

pytest.importorskip('rclpy', reason='needs rclpy')

from perception_ros.core.config import load_config, PerceptionConfig
from perception_ros.core.errors import ConfigError
from perception_ros.ros.filters import make_matcher, MessageFiltersMatcher, QUEUE_SIZE
from test.builders import frame, MS

INSTALLED = importlib.util.find_spec('message_filters') is not None
needs_it = pytest.mark.skipif(not INSTALLED, reason='needs message_filters of a distribution')


def config(policy: str = 'message_filters', **cameras: Any) -> PerceptionConfig:
    return load_config(
        {
            'cameras': cameras or {'front': {}, 'left': {}},
            'synchronizer': {'policy': policy, 'tolerance_ms': 20.0},
        }
    )


def test_other_policies_are_the_cores() -> None:
    assert make_matcher(config('deadline')) is None


@pytest.mark.skipif(INSTALLED, reason='message_filters is installed')
def test_without_it_the_error_says_what_to_do() -> None:
    with pytest.raises(ConfigError, match='use policy deadline'):
        make_matcher(config())


@needs_it
def test_it_gives_complete_sets_only() -> None:
    matcher = MessageFiltersMatcher(config())
    matcher.push(frame('front', 1000))
    assert matcher.poll(0) == []
    assert matcher.next_deadline_ns() is None
    matcher.push(frame('left', 1010))
    assert matcher.next_deadline_ns() == 0
    [found] = matcher.poll(7)
    assert found.cameras == ('front', 'left')
    assert found.matched_ns == 7


@needs_it
def test_offsets_are_for_matching_only() -> None:
    matcher = MessageFiltersMatcher(config(front={}, left={'time_offset_ms': -500.0}))
    matcher.push(frame('front', 1000))
    matcher.push(frame('left', 1500))
    [found] = matcher.poll(0)
    assert [f.stamp_ns // MS for f in found.frames] == [1000, 1500]


@needs_it
def test_it_begins_afresh_after_a_flush() -> None:
    """A frame left in its queues would match one whose partner has long been dropped."""
    matcher = MessageFiltersMatcher(config())
    matcher.push(frame('front', 1000))
    assert matcher.flush(0) == []
    matcher.push(frame('left', 1005))
    assert matcher.poll(0) == []
    matcher.push(frame('front', 1010))
    assert len(matcher.poll(0)) == 1


@needs_it
def test_every_frame_is_emitted_or_has_a_record() -> None:
    """It forgets the earliest without a word; the record says so."""
    matcher = MessageFiltersMatcher(config())
    for n in range(25):
        matcher.push(frame('front', 1000 + 100 * n))
    matcher.push(frame('front', 1000 + 100 * 24))
    for n in (20, 21):
        matcher.push(frame('left', 1000 + 100 * n))
    sets = matcher.poll(0) + matcher.flush(0)
    reasons = [drop.reason.value for drop in matcher.take_drops()]
    assert len(sets) == 2
    assert reasons.count('duplicate') == 1
    assert reasons.count('unmatched') == 25 - 2
    assert QUEUE_SIZE < 25
