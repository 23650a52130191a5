"""Takes the node's results from their topics, as they lie on the wire."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
import time
from typing import Any

from rclpy.serialization import deserialize_message
from sensor_msgs.msg import Image
from vision_msgs.msg import Detection2DArray

from perception_ros.bags.messages import DETECTIONS_2D, IMAGE
from perception_ros.demo.station import Check, Station
from perception_ros.ros.cdr import read_header
from perception_ros.ros.qos import make_qos

_DEPTH = 200
"""More than the publishers hold."""

Hear = Callable[[str, str, str, int, str, int, bytes], None]
"""(camera, model, output, stamp_ns, frame_id, received_ns, message) -> nothing."""


class ResultListener(Station):
    """A station that subscribes to results. A context manager."""

    def __init__(self, domain: int, check: Check) -> None:
        super().__init__('replay', domain, check)

    @property
    def node(self) -> Any:
        """The ROS node, for whoever publishes from it."""
        return self._node

    def listen(self, topics: Mapping[tuple[str, str, str], str], hear: Hear) -> None:
        """Subscribe to topics, by camera, model and output."""
        for (camera, model, output), topic in topics.items():
            kind, name = (
                (Detection2DArray, DETECTIONS_2D) if output == 'detections' else (Image, IMAGE)
            )
            take = partial(self._take, hear, camera, model, output, name)
            qos = make_qos('reliable', _DEPTH)
            self._node.create_subscription(kind, topic, take, qos, raw=True)

    def _take(
        self, hear: Hear, camera: str, model: str, output: str, kind: str, message: bytes
    ) -> None:
        received_ns = time.monotonic_ns()
        stamp_ns, frame_id = read_header(message, kind)
        hear(camera, model, output, stamp_ns, frame_id, received_ns, message)


def unpack(message: bytes) -> Detection2DArray:
    """Return detections as an object."""
    found: Detection2DArray = deserialize_message(message, Detection2DArray)
    return found
