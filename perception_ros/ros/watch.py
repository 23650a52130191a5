"""What a running node says of itself once a second, heard over its topics."""

from __future__ import annotations

from collections.abc import Mapping
import os
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus

from perception_ros.core.errors import WatchError
from perception_ros.core.passage import STAGES
from perception_ros.core.types import DropReason
from perception_ros.ros.apart import NodeApart
from perception_ros.ros.qos import make_qos

LEVELS = {
    DiagnosticStatus.OK: 'ok', DiagnosticStatus.WARN: 'warn', DiagnosticStatus.ERROR: 'error',
    DiagnosticStatus.STALE: 'stale',
}

_QOS = make_qos('reliable', 10)
_REASONS = frozenset(reason.value for reason in DropReason) - {DropReason.MISSING.value}

Statuses = dict[str, DiagnosticStatus]


class Watch(NodeApart):
    """A node apart that listens to a perception node. A context manager.

    :param namespace: of the node, such as '/perception'.
    """

    def __init__(self, namespace: str, domain: int) -> None:
        super().__init__(f'perception_top_{os.getpid()}', domain)
        self._namespace = '/' + namespace.strip('/')
        self._domain = domain
        self._latency: Statuses | None = None
        self._statuses: Statuses | None = None
        self._others: set[str] = set()
        self.heard_s = 0.0
        """When it was heard last, on the monotonic clock."""
        for topic, take in (
            (f'{self._namespace.rstrip("/")}/latency', self._take_latency),
            ('/diagnostics', self._take_diagnostics),
        ):
            self._node.create_subscription(DiagnosticArray, topic, take, _QOS)

    def wait(self, timeout_s: float) -> dict[str, Any]:
        """Return what the node said of its last second, once it has said something new.

        :raises WatchError: it says nothing; with what is known of why.
        """
        deadline_s, before_s = time.monotonic() + timeout_s, self.heard_s
        while self.heard_s == before_s or self._latency is None or self._statuses is None:
            remaining_s = deadline_s - time.monotonic()
            if remaining_s <= 0:
                raise WatchError(self._why_silent(timeout_s))
            self._executor.spin_once(timeout_sec=remaining_s)
        return snapshot(self._namespace, self._latency, self._statuses)

    def _take_latency(self, message: DiagnosticArray) -> None:
        self._latency = {status.name: status for status in message.status}

    def _take_diagnostics(self, message: DiagnosticArray) -> None:
        """Keep what is of our node; everyone talks on this topic."""
        found: Statuses = {}
        for status in message.status:
            node, _, name = status.name.partition(': ')
            namespace = '/' + node.rpartition('/')[0]
            if namespace == self._namespace:
                found[name] = status
            elif name.startswith('camera '):
                self._others.add(namespace)
        if any(name.startswith('camera ') for name in found):
            self._statuses, self.heard_s = found, time.monotonic()

    def _why_silent(self, waited_s: float) -> str:
        topic = f'{self._namespace.rstrip("/")}/latency'
        what = f'no perception node was heard below {self._namespace} in {waited_s:g} s'
        if self._others:
            others = ', '.join(sorted(self._others))
            return f'{what}; others were heard, so name one of {others}'
        if self._node.count_publishers(topic):
            return (
                f'{what}, but {topic} is published: the node is configured and not active; '
                f'activate it with: ros2 lifecycle set {self._namespace}/perception_node activate'
            )
        return (
            f'{what} (ROS_DOMAIN_ID {self._domain}); start one, or name its namespace and its '
            'ROS_DOMAIN_ID'
        )


def snapshot(namespace: str, latency: Statuses, statuses: Statuses) -> dict[str, Any]:
    """Return what a node said of its last second, ready for JSON.

    :param latency: of its topic `latency`, by name.
    :param statuses: of `/diagnostics`, by name without the node's.
    """
    found: dict[str, Any] = {
        'namespace': namespace, 'cameras': {}, 'models': {}, 'process': {}, 'machine': {},
        'gpus': [], 'no_gpu': '',
    }
    for name, status in statuses.items():
        kind, _, which = name.partition(' ')
        values = _values(status)
        about = {'level': LEVELS.get(status.level, 'error'), 'text': status.message}
        if kind == 'camera':
            found['cameras'][which] = _camera(which, values, about, latency)
        elif kind == 'model':
            found['models'][which] = _model(values, about)
        elif name == 'gpu':
            found['no_gpu'] = status.message.removeprefix('none: ')
        elif kind == 'gpu':
            found['gpus'].append({**about, **values})
        elif name in ('process', 'machine'):
            found[name] = {**about, **values}
    return found


def _camera(
    name: str, values: Mapping[str, Any], about: Mapping[str, str], latency: Statuses
) -> dict[str, Any]:
    of_stage = {stage: latency.get(f'{name}/{stage}') for stage in STAGES}
    times = {stage: _values(status) for stage, status in of_stage.items() if status}
    return {
        **about,
        'received': values.get('received', 0),
        'results': times.get('total', {}).get('count', 0),
        'missing': values.get('missing', 0),
        'dropped': {key: value for key, value in values.items() if key in _REASONS and value},
        'latency': times,
    }


def _model(values: Mapping[str, Any], about: Mapping[str, str]) -> dict[str, Any]:
    calls, inferred = values.get('engine_calls', 0), values.get('inferred', 0)
    known = {key: value for key, value in values.items() if not key.startswith('total_')}
    return {
        **about, **known, 'batch': round(inferred / calls, 2) if calls else None,
        'latency': {
            key.removeprefix('total_'): value
            for key, value in values.items() if key.startswith('total_')
        },
    }


def _values(status: DiagnosticStatus) -> dict[str, Any]:
    """Return a status's pairs, numbers as such and those named part/name below their part."""
    values: dict[str, Any] = {}
    for pair in status.values:
        part, slash, name = pair.key.partition('/')
        if slash:
            values.setdefault(part, {})[name] = _number(pair.value)
        else:
            values[pair.key] = _number(pair.value)
    return values


def _number(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
