"""QoS from the words of the configuration, and plain words for a QoS that does not fit."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

from perception_ros.core.errors import ConfigError

_PolicyT = TypeVar('_PolicyT')

_RELIABILITY = {
    'best_effort': ReliabilityPolicy.BEST_EFFORT,
    'reliable': ReliabilityPolicy.RELIABLE,
}
_DURABILITY = {
    'volatile': DurabilityPolicy.VOLATILE,
    'transient_local': DurabilityPolicy.TRANSIENT_LOCAL,
}

SETTLE_S = 0.5
"""A publisher knows its subscriber before the subscriber knows it; what goes out in between is
lost even with reliable QoS."""


def make_qos(reliability: str, depth: int, durability: str = 'volatile') -> QoSProfile:
    """Return a profile that keeps the last `depth` messages.

    :param reliability: 'best_effort' or 'reliable'.
    :param durability: 'volatile' or 'transient_local' (late subscribers get the last messages).
    :raises ConfigError: another word, or a depth below 1.
    """
    if depth < 1:
        raise ConfigError(f'QoS depth is {depth}; expected 1 or more')
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=_word(reliability, _RELIABILITY, 'reliability'),
        durability=_word(durability, _DURABILITY, 'durability'),
    )


def incompatibilities(requested: QoSProfile, offered: QoSProfile) -> list[str]:
    """Return what a publisher offers too little of for a subscription, in plain words."""
    found = []
    if (
        requested.reliability == ReliabilityPolicy.RELIABLE
        and offered.reliability == ReliabilityPolicy.BEST_EFFORT
    ):
        found.append('it publishes best_effort, but the subscription asks for reliable')
    if (
        requested.durability == DurabilityPolicy.TRANSIENT_LOCAL
        and offered.durability == DurabilityPolicy.VOLATILE
    ):
        found.append('it publishes volatile, but the subscription asks for transient_local')
    return found


def explain_mismatch(
    topic: str, requested: QoSProfile, offered: Iterable[tuple[str, QoSProfile]], remedy: str = ''
) -> str:
    """Return a log line about a subscription whose QoS some publisher cannot serve.

    :param offered: name and profile of each publisher, as `get_publishers_info_by_topic` says.
    :param remedy: which parameter to change, such as "Set cameras.front.reliability to
        best_effort".
    """
    culprits = [
        f'{name}: {", ".join(found)}'
        for name, profile in offered
        if (found := incompatibilities(requested, profile))
    ]
    what = '; '.join(culprits) or 'a publisher offers less than the subscription asks for'
    line = f'no messages from {topic} because of a QoS mismatch: {what}'
    return f'{line}. {remedy}' if remedy else line


def _word(word: str, known: dict[str, _PolicyT], name: str) -> _PolicyT:
    try:
        return known[word]
    except KeyError:
        raise ConfigError(
            f'QoS {name} is {word!r}; expected one of {", ".join(sorted(known))}'
        ) from None
