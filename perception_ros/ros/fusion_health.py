"""What a fusion says of itself once a second: `/diagnostics` and `health`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
import numpy as np
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node

from perception_ros.fusion.pipeline import BEHIND_NS
from perception_ros.fusion.threaded import ThreadedSweeps
from perception_ros.ros.messages import to_diagnostics
from perception_ros.ros.qos import make_qos
from perception_ros.ros.silence import why_silent
from perception_ros.ros.statuses import Status
from perception_ros.ros.trust import TrustPublisher, verdict_of

PERIOD_S = 1.0

_LEAST_STEPS, _MOST_GAPS = 10, 0.1
"""So many sweeps must have come, and after so large a share of them others may be missing."""

FUSION, LIDAR = 'fusion', 'lidar'
"""Subjects of `health`, beside one for each camera, as in `camera front in fusion`."""


class FusionHealth:
    """Publishes how a fusion fares; `destroy` ends it."""

    def __init__(self, node: Node, sweeps: ThreadedSweeps) -> None:
        self._node = node
        self._sweeps = sweeps
        config = sweeps.pipeline.config
        self._cameras = tuple(config.cameras)
        self._diagnostics = node.create_publisher(
            DiagnosticArray, '/diagnostics', make_qos('reliable', 10)
        )
        subjects = [LIDAR, FUSION, *(_subject(camera) for camera in self._cameras)]
        self._trust = TrustPublisher(node, subjects, config.trust_after_s)
        self._late = dict(sweeps.matcher.late)
        self._timer: Any = None

    def start(self) -> None:
        """Begin to publish."""
        self._sweeps.counters.take()
        self._trust.start()
        steady = Clock(clock_type=ClockType.STEADY_TIME)  # a simulated one may stand
        self._timer = self._node.create_timer(PERIOD_S, self.publish, clock=steady)

    def stop(self) -> None:
        """Publish no more. Idempotent."""
        if self._timer:
            self._node.destroy_timer(self._timer)
            self._timer = None
            self._trust.stop()

    def destroy(self) -> None:
        """Stop, and withdraw the topics."""
        self.stop()
        self._trust.destroy()
        self._node.destroy_publisher(self._diagnostics)

    def publish(self) -> None:
        """Publish what happened since the last call."""
        counts, cameras, problems, latencies_ms = self._sweeps.counters.take()
        statuses = {
            LIDAR: self._lidar(counts, problems.get(LIDAR, '')),
            FUSION: self._fusion(counts, problems, latencies_ms),
        }
        for camera in self._cameras:
            late = self._sweeps.matcher.late[camera] - self._late[camera]
            self._late[camera] += late
            statuses[_subject(camera)] = _camera(
                cameras[camera, 'fused'], cameras[camera, 'missing'], late,
                problems.get(camera, ''), partial(self._why_missing, camera),
            )
        self._trust.judge({name: verdict_of(status) for name, status in statuses.items()})
        prefix = self._node.get_fully_qualified_name().lstrip('/')
        named = {f'{prefix}: {name}': status for name, status in statuses.items()}
        self._diagnostics.publish(to_diagnostics(
            self._node.get_clock().now().nanoseconds,
            {name: status.values for name, status in named.items()},
            levels={name: status.level for name, status in named.items()},
            messages={name: status.text for name, status in named.items()},
            hardware_id=prefix,
        ))

    def _lidar(self, counts: Counter[str], problem: str) -> Status:
        values = {name: counts[name] for name in ('received', 'invalid')}
        if problem:
            return Status(DiagnosticStatus.ERROR, problem, values)
        if counts['received']:
            text = f'{counts["received"]} sweeps/s'
            gaps, steps = self._sweeps.counters.gaps()
            if steps >= _LEAST_STEPS and gaps > _MOST_GAPS * steps:
                return Status(DiagnosticStatus.WARN, f'{text}: {_lost_text(gaps, steps)}', values)
            return Status(DiagnosticStatus.OK, text, values)
        lidar = self._sweeps.pipeline.config.lidar
        why = why_silent(
            self._node, lidar.topic, 'sensor_msgs/msg/PointCloud2', 'Set lidar.topic',
            make_qos(lidar.reliability, 1),
        )
        text = f'no sweeps: {why or "the LiDAR is silent"}'
        return Status(DiagnosticStatus.ERROR, text, values)

    def _why_missing(self, camera: str) -> str:
        """Say which of a camera's topics nobody publishes, or not as what it should be."""
        config = self._sweeps.pipeline.config.cameras[camera]
        for output, topic in config.topics(camera).items():
            kind = 'sensor_msgs/msg/Image'
            if output == 'detections':
                kind = 'vision_msgs/msg/Detection2DArray'
            if why := why_silent(self._node, topic, kind, f'Set the topics of cameras.{camera}'):
                return why
        return ''

    def _fusion(
        self, counts: Counter[str], problems: dict[str, str], latencies_ms: list[float]
    ) -> Status:
        values: dict[str, Any] = {
            name: counts[name]
            for name in ('fused', 'failed', 'skipped', 'uncompensated', 'guessed', 'unplaced')
        }
        if latencies_ms:
            for name, share in (('p50', 50), ('p95', 95), ('p99', 99), ('max', 100)):
                values[f'latency_{name}_ms'] = round(float(np.percentile(latencies_ms, share)), 2)
        wrong = [*self._sweeps.pipeline.calibration_problems]
        wrong += [problems[name] for name in ('tf', FUSION) if name in problems]
        fused = counts['fused']
        text = f'{fused} sweeps/s'
        if counts['failed'] or not fused:
            return Status(DiagnosticStatus.ERROR, '; '.join([text, *wrong]), values)
        if counts['skipped']:
            wrong.insert(0, f'{counts["skipped"]} sweeps/s were left out: fusing takes too long')
        config = self._sweeps.pipeline.config
        if counts['unplaced']:
            wrong.append(
                "objects are in the LiDAR's frame: /tf does not connect "
                f'{config.output_frame!r} with it then'
            )
        if counts['uncompensated']:
            fixed = config.fixed_frame
            wrong.append(
                f"the vehicle's motion is not taken out: /tf does not connect {fixed!r} then"
            )
        elif counts['guessed']:
            wrong.append(
                f'{config.fixed_frame!r} is more than {BEHIND_NS / 1e6:g} ms behind: the '
                "vehicle's motion is guessed; let odometry be published sooner, or see whether "
                'its stamps are of the same clock as those of the LiDAR'
            )
        level = DiagnosticStatus.WARN if wrong else DiagnosticStatus.OK
        return Status(level, '; '.join([text, *wrong]), values)


def _lost_text(gaps: int, steps: int) -> str:
    return (
        f'sweeps are missing after {gaps} of {steps}, as their stamps say. Where the driver '
        'publishes them all they are lost on the way, for which they are too large: give Fast DDS '
        'the profile of docs/transport.md, or set lidar.reliability to reliable'
    )


def _subject(camera: str) -> str:
    return f'camera {camera} in fusion'


def _camera(
    fused: int, missing: int, late: int, problem: str, why_missing: Callable[[], str]
) -> Status:
    values = {'fused': fused, 'missing': missing, 'late': late}
    if problem:
        level = DiagnosticStatus.WARN if fused else DiagnosticStatus.ERROR
        return Status(level, problem, values)
    if missing:
        level = DiagnosticStatus.WARN if fused else DiagnosticStatus.ERROR
        why = why_missing()
        if late:
            why = f'{late} results/s come too late: raise max_wait_ms'
        return Status(level, ', '.join(filter(None, [f'missing from {missing} sweeps/s', why])),
                      values)
    if not fused:
        return Status(DiagnosticStatus.ERROR, 'no sweep that it could have a part in', values)
    return Status(DiagnosticStatus.OK, f'in {fused} sweeps/s', values)
