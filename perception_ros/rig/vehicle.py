"""A vehicle as cheap as can be: LiDAR, results of cameras, lenses and frames, all made once.

A process of its own, as `sender.py`: a tick is one image of each camera. Results come
`result_delay_ms` after the image that they are of, as an engine needs time; the LiDAR's sweep
comes at the end of its turn, with every so many ticks.
"""

from __future__ import annotations

import signal
import sys
import time
from typing import Any

from geometry_msgs.msg import TransformStamped
import numpy as np
from numpy.typing import NDArray
import rclpy
from rclpy.node import Node
from rclpy.serialization import serialize_message
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from tf2_msgs.msg import TFMessage
from vision_msgs.msg import Detection2DArray, LabelInfo

from perception_ros.benchmarks.live.figures import Delays, Sent
from perception_ros.benchmarks.live.settings import Absence, Vehicle
from perception_ros.benchmarks.tasks import serve_stdin
from perception_ros.core.cloud import Cloud, PointField
from perception_ros.core.poses import pose, quaternion_of
from perception_ros.core.types import Detections, SemanticMask
from perception_ros.rig.sender import stamped, Ticks
from perception_ros.rig.street import CAR, LIDAR_M, NAMES, Street
from perception_ros.ros.messages import to_camera_info, to_header, to_label_info
from perception_ros.ros.painted import serialise_cloud
from perception_ros.ros.qos import make_qos
from perception_ros.ros.rcl import publish
from perception_ros.ros.serialise import serialise_detections, serialise_semantic

LIDAR = 'lidar'
OUTPUTS = {'objects': '/perception/objects', 'points': '/perception/points/painted'}
"""What is to come of each sweep, and on which topic."""
_SPEED_M_S = 10.0
_SCORE = 0.9


class Sender:
    """The topics of the vehicle; each public method is a task."""

    def __init__(self, node: Node, vehicle: Vehicle) -> None:
        self._vehicle = vehicle
        self._street = Street(vehicle.cameras, (vehicle.width, vehicle.height), vehicle.points)
        self._is_over = False
        reliable = make_qos('reliable', 10)
        latched = make_qos('reliable', 1, 'transient_local')
        self._frames = node.create_publisher(TFMessage, '/tf', reliable)
        self._fixed_frames = node.create_publisher(TFMessage, '/tf_static', latched)
        self._fixed_frames.publish(TFMessage(transforms=list(self._mounts())))
        self._sweeps = node.create_publisher(PointCloud2, '/lidar/points', reliable)
        self._sweep = bytearray(serialise_cloud(0, LIDAR, _cloud(self._street.sweep())))
        self._topics: list[tuple[Any, bytearray]] = []
        self._lenses: list[tuple[Any, bytearray]] = []
        self._labels = []
        for index, camera in enumerate(vehicle.names):
            for kind, topic, message in self._results(index, camera):
                self._topics.append((node.create_publisher(kind, topic, reliable), message))
            lens = node.create_publisher(CameraInfo, f'/{camera}/camera_info', reliable)
            self._lenses.append((lens, self._lens(camera)))
            if vehicle.masks:
                topic = f'/perception/{camera}/semantic/scene/label_info'
                self._labels.append(node.create_publisher(LabelInfo, topic, latched))
                self._labels[-1].publish(to_label_info(to_header(0, ''), NAMES))

    def end(self) -> None:
        """Send no more: what is going on returns soon."""
        self._is_over = True

    def deaf(self, subscribers: int) -> dict[str, list[str]]:
        """Name the topics that fewer listen to."""
        publishers = [self._frames, self._fixed_frames, self._sweeps, *self._labels]
        publishers += [publisher for publisher, _ in (*self._topics, *self._lenses)]
        return {'cameras': [
            publisher.topic_name for publisher in publishers
            if publisher.get_subscription_count() < subscribers
        ]}

    def send(
        self, begin_ns: int, seconds: float, file: str, absences: list[Absence]
    ) -> dict[str, Any]:
        """Send for a while, and say what was sent; arguments as of `sender.Sender.send`.

        Frames are sweeps, each of which is to come out twice, as `OUTPUTS`.
        """
        assert not absences, 'nothing here comes and goes'
        vehicle = self._vehicle
        cpu_s, stamps = time.process_time(), []
        ticks = Ticks(begin_ns, round(1e9 / vehicle.rate_hz), round(seconds * 1e9))
        each = round(vehicle.rate_hz / vehicle.lidar_hz)
        while not self._is_over and (due_ns := ticks.next_ns()) is not None:
            time.sleep(max(due_ns - time.monotonic_ns(), 0) / 1e9)
            if not ticks.begin(time.monotonic_ns()):
                continue
            now_ns = time.time_ns()
            self._move(now_ns)
            for publisher, message in self._lenses:
                publish(publisher, stamped(message, now_ns))
            if ticks.done % each == 0:
                stamps.append(now_ns)
                publish(self._sweeps, stamped(self._sweep, now_ns))
            for publisher, message in self._topics:
                publish(publisher, stamped(message, now_ns - self._delay_ns))
        time.sleep(max(ticks.end_ns - time.monotonic_ns(), 0) / 1e9)
        took_s = max(time.monotonic_ns() - begin_ns, 1) / 1e9
        stamps_ns = {output: np.array(stamps, np.int64) for output in OUTPUTS}
        np.savez(file, **stamps_ns)  # type: ignore[arg-type]  # of its keyword allow_pickle
        return Sent(
            frames=len(stamps), by_camera=dict.fromkeys(OUTPUTS, len(stamps)),
            rate_hz=ticks.done / took_s, asked_hz=vehicle.rate_hz,
            skipped_ticks=ticks.skipped, lateness_ms=Delays.of(ticks.lateness_ms),
            cpu_cores=(time.process_time() - cpu_s) / took_s,
        ).model_dump()

    @property
    def _delay_ns(self) -> int:
        return round(self._vehicle.result_delay_ms * 1e6)

    def _move(self, now_ns: int) -> None:
        away_m = _SPEED_M_S * (now_ns % 10**12) / 1e9
        place = pose((away_m, 0, 0), (0, 0, 0, 1))
        message = TFMessage(transforms=[_transform(now_ns, 'odom', 'base_link', place)])
        self._frames.publish(message)

    def _mounts(self) -> Any:
        yield _transform(0, 'base_link', LIDAR, pose((0, 0, LIDAR_M), (0, 0, 0, 1)))
        for index, camera in enumerate(self._vehicle.names):
            yield _transform(
                0, 'base_link', f'{camera}_optical', self._street.base_from_camera(index)
            )

    def _results(self, index: int, camera: str) -> Any:
        frame_id, base = f'{camera}_optical', f'/perception/{camera}'
        boxes = self._street.boxes(index)
        found = Detections(
            boxes, np.full(len(boxes), _SCORE, np.float32), np.full(len(boxes), CAR, np.int32),
            NAMES,
        )
        yield Detection2DArray, f'{base}/detections', bytearray(
            serialise_detections(0, frame_id, found)
        )
        if self._vehicle.masks:
            mask = SemanticMask(self._street.mask(index), NAMES)
            yield Image, f'{base}/semantic/scene', bytearray(
                serialise_semantic(0, frame_id, mask)
            )

    def _lens(self, camera: str) -> bytearray:
        lens = self._street.lens
        message = to_camera_info(lens.width, lens.height, lens.matrix.reshape(9).tolist())
        message.header = to_header(0, f'{camera}_optical')
        return bytearray(serialize_message(message))


def _cloud(points: NDArray[np.float32]) -> Cloud:
    """Return points as most drivers publish them: with an intensity, 16 bytes each."""
    rows = np.zeros((len(points), 4), np.float32)
    rows[:, :3] = points
    fields = tuple(
        PointField(name, 4 * index, 7) for index, name in enumerate(('x', 'y', 'z', 'intensity'))
    )
    return Cloud(
        data=rows.view(np.uint8).reshape(-1), width=len(rows), height=1, fields=fields,
        point_step=16, row_step=16 * len(rows),
    )


def _transform(
    stamp_ns: int, parent: str, child: str, matrix: NDArray[np.float64]
) -> TransformStamped:
    message = TransformStamped(header=to_header(stamp_ns, parent), child_frame_id=child)
    at, turn = message.transform.translation, message.transform.rotation
    at.x, at.y, at.z = matrix[:3, 3].tolist()
    turn.x, turn.y, turn.z, turn.w = quaternion_of(matrix[:3, :3])
    return message


def main() -> None:
    """Send what is asked for; the argument is the vehicle as JSON, others do not matter."""
    vehicle = Vehicle.model_validate_json(sys.argv[1])
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node('vehicle')
    sender = Sender(node, vehicle)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sender.end())
    try:
        serve_stdin(sender)
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == '__main__':
    main()
