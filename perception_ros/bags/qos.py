"""Quality of service as bags keep it: which topics are latched, and what is written for ours."""

from __future__ import annotations

from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
import yaml

_FOREVER = QosTime(9223372036, 854775807)
"""How rosbag2 writes that there is no limit."""


def is_latched(profiles: str) -> bool:
    """Return whether one of the publishers' profiles, as YAML, is transient local."""
    try:
        offered = yaml.safe_load(profiles) or []
        return any(item.get('durability') in (1, 'transient_local') for item in offered)
    except (yaml.YAMLError, AttributeError, TypeError, ValueError):
        return False


def offered(is_latched: bool) -> Qos:
    """Return the profile to write for a topic: reliable, so that subscribers of any kind match."""
    durability = QosDurability.TRANSIENT_LOCAL if is_latched else QosDurability.VOLATILE
    return Qos(
        QosHistory.KEEP_LAST, 10, QosReliability.RELIABLE, durability,
        _FOREVER, _FOREVER, QosLiveliness.AUTOMATIC, _FOREVER, False,
    )
