"""Painted points out: the cloud as it came, with what each point shows."""

from __future__ import annotations

from collections.abc import Callable
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from sensor_msgs.msg import PointCloud2
from vision_msgs.msg import LabelInfo

from perception_ros.core.cloud import Cloud
from perception_ros.core.topics import OBSTACLE_POINTS, PAINTED_LABELS, PAINTED_POINTS
from perception_ros.fusion.obstacles import obstacle_mask
from perception_ros.fusion.pipeline import FusedSweep
from perception_ros.fusion.types import Paint
from perception_ros.ros.markers import class_colours
from perception_ros.ros.messages import to_header, to_label_info
from perception_ros.ros.qos import make_qos
from perception_ros.ros.rcl import publish
from perception_ros.ros.serialise import ENCAPSULATION, padded, serialised_header, string

_QOS = make_qos('reliable', 5)
_LABEL_QOS = make_qos('reliable', 1, 'transient_local')
_UINT32 = struct.Struct('=I')
_GREY = 0x808080


class PaintedPublishers:
    """The topics of points; `destroy` ends them. Nobody listens: nothing is painted or copied."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._points = node.create_publisher(PointCloud2, PAINTED_POINTS, _QOS)
        self._obstacles = node.create_publisher(PointCloud2, OBSTACLE_POINTS, _QOS)
        self._labels = node.create_publisher(LabelInfo, PAINTED_LABELS, _LABEL_QOS)
        self._class_names: tuple[str, ...] | None = None

    @property
    def wanted(self) -> bool:
        """Whether anybody listens."""
        return bool(
            self._points.get_subscription_count() or self._obstacles.get_subscription_count()
        )

    def publish(self, fused: FusedSweep) -> None:
        """Publish the points of one sweep, if they were painted."""
        paint, sweep = fused.paint, fused.placed.fusion_set.sweep
        if paint is None or sweep.cloud is None:
            return
        if paint.class_names != self._class_names:
            self._class_names = paint.class_names
            header = to_header(sweep.stamp_ns, sweep.frame_id)
            self._labels.publish(to_label_info(header, paint.class_names))

        def painted() -> Cloud:
            return sweep.cloud.with_fields(paint_columns(paint))  # type: ignore[union-attr]

        def obstacles() -> Cloud:
            return painted().only(obstacle_mask(paint, fused.is_ground))

        for publisher, make in ((self._points, painted), (self._obstacles, obstacles)):
            self._send(publisher, sweep.stamp_ns, sweep.frame_id, make)

    def destroy(self) -> None:
        """Withdraw the topics."""
        for publisher in (self._points, self._obstacles, self._labels):
            self._node.destroy_publisher(publisher)

    @staticmethod
    def _send(publisher: Any, stamp_ns: int, frame_id: str, make: Callable[[], Cloud]) -> None:
        if publisher.get_subscription_count():
            publish(publisher, serialise_cloud(stamp_ns, frame_id, make()))


def paint_columns(paint: Paint) -> dict[str, NDArray[np.generic]]:
    """Return the fields that painting adds to each point, by name.

    class_id: uint8, 255 = no camera says; camera: uint8, 255 = none; object: uint16, index in the
    objects of the same stamp + 1, 0 = none; class_score: float32; rgb: uint32, the colour of the
    class as RViz and Foxglove read it, grey where there is none.
    """
    colours = np.full(256, _GREY, np.uint32)
    for number, (red, green, blue) in enumerate(class_colours(paint.class_names)):
        r, g, b = (round(255 * part) for part in (red, green, blue))
        colours[number] = r << 16 | g << 8 | b
    return {
        'class_id': paint.classes,
        'camera': paint.cameras,
        'object': paint.objects,
        'class_score': paint.scores,
        'rgb': colours[paint.classes],
    }


def serialise_cloud(stamp_ns: int, frame_id: str, cloud: Cloud) -> memoryview:
    """Return a PointCloud2; its points are copied once."""
    data = cloud.data[: cloud.height * cloud.row_step]
    parts = [ENCAPSULATION, serialised_header(stamp_ns, frame_id)]
    parts += [_UINT32.pack(number) for number in (cloud.height, cloud.width, len(cloud.fields))]
    for field in cloud.fields:
        parts.append(padded(string(field.name)) + _UINT32.pack(field.offset))
        parts.append(padded(bytes([field.datatype])) + _UINT32.pack(field.count))
    parts.append(padded(bytes([cloud.is_bigendian])))
    parts += [_UINT32.pack(n) for n in (cloud.point_step, cloud.row_step, data.size)]
    head = b''.join(parts)
    message = np.empty(len(head) + data.size + 1, np.uint8)
    message[: len(head)] = np.frombuffer(head, np.uint8)
    message[len(head) : -1] = data
    message[-1] = cloud.is_dense
    return message.data
