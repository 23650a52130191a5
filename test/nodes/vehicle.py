"""A fusion node and the sensors of a vehicle behind another car, over real DDS."""

from __future__ import annotations

from collections.abc import Callable
import threading
import time
from typing import Any

from geometry_msgs.msg import TransformStamped
import numpy as np
from numpy.typing import NDArray
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField
from tf2_msgs.msg import TFMessage
from vision_msgs.msg import Detection2D, Detection2DArray, LabelInfo, ObjectHypothesisWithPose

from perception_ros.nodes.fusion_node import FusionNode
from perception_ros.ros.domain import free_domain
from perception_ros.ros.logs import log_to_ros
from perception_ros.ros.messages import to_camera_info, to_header, to_label_info
from perception_ros.ros.qos import make_qos
from test.nodes.bench import wait_until

SIZE = (640, 480)
FOCAL_PX = 400.0
CAR = np.array([15.0, 1.0, 0.8])
"""Middle of the car in base_link: 4.4 m long, 1.8 m wide, 1.6 m high, along x."""
CAR_SIZE = np.array([4.4, 1.8, 1.6])
LIDAR_M = np.array([0.0, 0.0, 1.8])
CAMERA_M = np.array([0.5, 0.0, 1.5])
ROAD, CAR_ID = 0, 1
NAMES = ('road', 'car')


def scene_points(ahead_m: float = 0.0) -> NDArray[np.float32]:
    """Return a road and what is seen of the car's back, float32 [N, 3] in the LiDAR's frame.

    :param ahead_m: how much further away the car is.
    """
    car = CAR + np.array([ahead_m, 0, 0])
    x, y = np.meshgrid(np.arange(3, 40, 0.5), np.arange(-8, 8.1, 0.4))
    road = np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], axis=1)
    under = (np.abs(road - car)[:, :2] < CAR_SIZE[:2] / 2).all(axis=1)
    across, up = np.meshgrid(np.linspace(-0.85, 0.85, 15), np.linspace(0.3, 1.5, 8))
    back = np.stack(
        [np.full(across.size, car[0] - 2.2), car[1] + across.ravel(), up.ravel()], axis=1
    )
    return (np.concatenate([road[~under], back]) - LIDAR_M).astype(np.float32)


def car_box(ahead_m: float = 0.0) -> tuple[float, float, float, float]:
    """Return the box of the car in the image, px."""
    car = CAR + np.array([ahead_m, 0, 0])
    corners = np.array([
        car + CAR_SIZE / 2 * [i, j, k] for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)
    ]) - CAMERA_M
    u = SIZE[0] / 2 - FOCAL_PX * corners[:, 1] / corners[:, 0]
    v = SIZE[1] / 2 - FOCAL_PX * corners[:, 2] / corners[:, 0]
    return float(u.min()), float(v.min()), float(u.max()), float(v.max())


def cloud(points: NDArray[np.float32], stamp_ns: int, frame_id: str = 'lidar') -> PointCloud2:
    """Return points with their intensity, 16 bytes each."""
    rows = np.zeros((len(points), 4), np.float32)
    rows[:, :3], rows[:, 3] = points, np.arange(len(points))
    message = PointCloud2(
        header=to_header(stamp_ns, frame_id), height=1, width=len(rows), point_step=16,
        row_step=16 * len(rows), is_dense=True,
        fields=[
            PointField(name=name, offset=4 * index, datatype=PointField.FLOAT32, count=1)
            for index, name in enumerate(('x', 'y', 'z', 'intensity'))
        ],
    )
    message.data = rows.tobytes()
    return message


def transform(
    parent: str, child: str, place: NDArray[np.float64], turn: tuple[float, ...] = (0, 0, 0, 1)
) -> TransformStamped:
    """Return where a frame is."""
    message = TransformStamped(header=to_header(0, parent), child_frame_id=child)
    at, about = message.transform.translation, message.transform.rotation
    at.x, at.y, at.z = (float(value) for value in place)
    about.x, about.y, about.z, about.w = (float(value) for value in turn)
    return message


OPTICAL = (-0.5, 0.5, -0.5, 0.5)
"""x right, y down, z forward, seen from x forward, y left, z up."""


class Vehicle:
    """A fusion node and the sensors of a vehicle, each in a context and a thread of its own."""

    def __init__(self, *cameras: str, **parameters: Any) -> None:
        self.cameras = cameras or ('front',)
        self.domain = free_domain()
        self._stoppers: list[Callable[[], None]] = []
        context = self._context()
        self.me = rclpy.create_node('vehicle', context=context)
        self._spin(self.me, context)
        values: dict[str, Any] = {
            'camera_names': list(self.cameras), 'lidar.reliability': 'reliable',
            'trust_after_s': 0.0, 'fixed_frame': '', 'max_wait_ms': 1000.0,
        }
        values |= {name.replace('__', '.'): value for name, value in parameters.items()}
        context = self._context()
        self.node = FusionNode(
            context=context,
            parameter_overrides=[Parameter(name, value=v) for name, v in values.items()],
        )
        log_to_ros(self.node)
        self._spin(self.node, context)
        self._publishers = self._announce()
        self.statuses: dict[str, Any] = {}
        self.heard: dict[str, list[Any]] = {}

    def drive(self) -> Vehicle:
        """Configure and activate the node, and wait until both have found each other."""
        assert self.node.trigger_configure() is TransitionCallbackReturn.SUCCESS
        assert self.node.trigger_activate() is TransitionCallbackReturn.SUCCESS
        wait_until(lambda: all(p.get_subscription_count() for p in self._publishers.values()))
        time.sleep(0.3)
        return self

    def frames(self, *, without: str = '') -> None:
        """Say where the sensors are."""
        items = [transform('base_link', 'lidar', LIDAR_M)] if without != 'lidar' else []
        items += [
            transform('base_link', f'{camera}_optical', CAMERA_M, OPTICAL)
            for camera in self.cameras if camera != without
        ]
        self.publish('/tf_static', TFMessage(transforms=items))
        with self.node.known() as pipeline:
            tree = pipeline.tree
        wait_until(lambda: {item.child_frame_id for item in items} <= set(tree.frames))

    def lens(self, camera: str = 'front', size: tuple[int, int] = SIZE) -> None:
        """Say what lens a camera has; in OpenCV's coordinates."""
        centre = SIZE[0] / 2 - 0.5, SIZE[1] / 2 - 0.5
        matrix = [FOCAL_PX, 0, centre[0], 0, FOCAL_PX, centre[1], 0, 0, 1]
        message = to_camera_info(*size, [float(number) for number in matrix])
        message.header.frame_id = f'{camera}_optical'
        self.publish(f'/{camera}/camera_info', message)

        def is_known() -> bool:
            with self.node.known() as pipeline:
                return pipeline.has_lens(camera, size)

        wait_until(is_known)

    def look(
        self, stamp_ns: int, camera: str = 'front', ahead_m: float = 0.0, seen: bool = True
    ) -> None:
        """Publish what the perception node would: the car's box, and a mask with car and road.

        :param seen: whether it finds the car.
        """
        header = to_header(stamp_ns, f'{camera}_optical')
        x1, y1, x2, y2 = car_box(ahead_m)
        found = Detection2D(header=header, id='front/1')
        found.bbox.center.position.x, found.bbox.center.position.y = (x1 + x2) / 2, (y1 + y2) / 2
        found.bbox.size_x, found.bbox.size_y = x2 - x1, y2 - y1
        guess = ObjectHypothesisWithPose()
        guess.hypothesis.class_id, guess.hypothesis.score = 'car', 0.9
        found.results = [guess]
        base = f'/perception/{camera}'
        boxes = Detection2DArray(header=header, detections=[found] * seen)
        self.publish(f'{base}/detections', boxes)
        mask = np.full(SIZE[::-1], ROAD, np.uint8)
        mask[: SIZE[1] // 2] = 255
        mask[round(y1) : round(y2), round(x1) : round(x2)] = CAR_ID
        image = Image(header=header, encoding='mono8', width=SIZE[0], height=SIZE[1])
        image.step, image.data = SIZE[0], mask.tobytes()
        self.publish(f'{base}/semantic/scene', image)

    def publish(self, topic: str, message: Any) -> None:
        """Publish on one of the topics that the node reads."""
        self._publishers[topic].publish(message)

    def sweep(self, stamp_ns: int, message: PointCloud2 | None = None) -> None:
        """Publish a sweep of the scene, or another message."""
        self.publish('/lidar/points', message or cloud(scene_points(), stamp_ns))

    def listen(self, kind: Any, topic: str) -> list[Any]:
        """Return a list to which is added what comes on a topic."""
        heard: list[Any] = []
        self.me.create_subscription(kind, topic, heard.append, make_qos('reliable', 100))
        wait_until(lambda: self.me.count_publishers(topic) > 0)
        wait_until(lambda: any(
            publisher.topic_name == topic and publisher.get_subscription_count()
            for publisher in self.node.publishers
        ))
        return heard

    def close(self) -> None:
        """End both."""
        for stop in reversed(self._stoppers):
            stop()

    def _announce(self) -> dict[str, Any]:
        latched = make_qos('reliable', 1, 'transient_local')
        reliable = make_qos('reliable', 10)
        kinds: dict[str, tuple[Any, Any]] = {
            '/lidar/points': (PointCloud2, reliable), '/tf_static': (TFMessage, latched),
            '/tf': (TFMessage, reliable),
        }
        for camera in self.cameras:
            base = f'/perception/{camera}'
            kinds |= {
                f'/{camera}/camera_info': (CameraInfo, reliable),
                f'{base}/detections': (Detection2DArray, reliable),
                f'{base}/semantic/scene': (Image, reliable),
                f'{base}/semantic/scene/label_info': (LabelInfo, latched),
            }
        made = {
            topic: self.me.create_publisher(kind, topic, qos)
            for topic, (kind, qos) in kinds.items()
        }
        for camera in self.cameras:
            made[f'/perception/{camera}/semantic/scene/label_info'].publish(
                to_label_info(to_header(0, ''), NAMES)
            )
        return made

    def _context(self) -> Any:
        context = rclpy.Context()
        rclpy.init(context=context, domain_id=self.domain)
        return context

    def _spin(self, node: Any, context: Any) -> None:
        executor = SingleThreadedExecutor(context=context)
        executor.add_node(node)
        thread = threading.Thread(target=executor.spin, daemon=True)
        thread.start()

        def stop() -> None:
            executor.shutdown()
            thread.join(10)
            if isinstance(node, FusionNode):
                node.close()
            node.destroy_node()
            rclpy.shutdown(context=context)

        self._stoppers.append(stop)
