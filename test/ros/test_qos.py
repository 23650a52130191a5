"""QoS profiles and the words for a mismatch."""

from __future__ import annotations

import pytest

pytest.importorskip('rclpy', reason='needs rclpy')

from rclpy.qos import (
    DurabilityPolicy,
    qos_check_compatible,
    QoSCompatibility,
    ReliabilityPolicy,
)

from perception_ros.core.errors import ConfigError
from perception_ros.ros.qos import explain_mismatch, incompatibilities, make_qos


def test_words_become_policies() -> None:
    profile = make_qos('reliable', 7, 'transient_local')
    assert profile.depth == 7
    assert profile.reliability == ReliabilityPolicy.RELIABLE
    assert profile.durability == DurabilityPolicy.TRANSIENT_LOCAL


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        pytest.param(('fast', 1), "reliability is 'fast'; expected one of best", id='reliability'),
        pytest.param(('reliable', 0), 'depth is 0; expected 1 or more', id='depth'),
        pytest.param(('reliable', 1, 'forever'), "durability is 'forever'", id='durability'),
    ],
)
def test_other_words_are_refused(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_qos(*arguments)


@pytest.mark.parametrize('requested', ['best_effort', 'reliable'])
@pytest.mark.parametrize('offered', ['best_effort', 'reliable'])
@pytest.mark.parametrize('requested_durability', ['volatile', 'transient_local'])
@pytest.mark.parametrize('offered_durability', ['volatile', 'transient_local'])
def test_agrees_with_the_middleware(
    requested: str, offered: str, requested_durability: str, offered_durability: str
) -> None:
    subscription = make_qos(requested, 1, requested_durability)
    publisher = make_qos(offered, 1, offered_durability)
    verdict, _ = qos_check_compatible(publisher, subscription)
    assert bool(incompatibilities(subscription, publisher)) == (verdict == QoSCompatibility.ERROR)


def test_the_line_names_topic_publisher_and_remedy() -> None:
    line = explain_mismatch(
        '/front/image_raw',
        make_qos('reliable', 5),
        [('/driver', make_qos('best_effort', 5)), ('/player', make_qos('reliable', 5))],
        'Set cameras.front.reliability to best_effort',
    )
    assert line == (
        'no messages from /front/image_raw because of a QoS mismatch: /driver: it publishes '
        'best_effort, but the subscription asks for reliable. '
        'Set cameras.front.reliability to best_effort'
    )
