"""Takes the node's results from their topics, as they lie on the wire."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
import time
from typing import Any, NamedTuple

import numpy as np
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import Image
from vision_msgs.msg import Detection2DArray

from perception_ros.bags.messages import boxes_of, DETECTIONS_2D, IMAGE
from perception_ros.bundles.manifest import Manifest
from perception_ros.core.types import Detections
from perception_ros.demo.station import Check, Station
from perception_ros.ros.cdr import read_header
from perception_ros.ros.qos import make_qos

_DEPTH = 200
"""More than the publishers hold."""

Key = tuple[str, str, str]
"""Camera, model and output."""



class Heard(NamedTuple):
    """A result that has arrived."""

    camera: str
    model: str
    output: str
    """One of those of `Manifest.outputs`."""
    stamp_ns: int
    """As the frame was played."""
    frame_id: str
    received_ns: int
    """On the machine's monotonic clock."""
    message: bytes
    """Serialised."""


Hear = Callable[[Heard], None]


class ResultListener(Station):
    """A station that subscribes to results. A context manager."""

    def __init__(self, domain: int, check: Check) -> None:
        super().__init__('replay', domain, check)

    @property
    def node(self) -> Any:
        """The ROS node, for whoever publishes from it."""
        return self._node

    def listen(self, topics: Mapping[Key, str], hear: Hear) -> None:
        """Subscribe to topics, by camera, model and output."""
        for key, topic in topics.items():
            kind, name = (
                (Detection2DArray, DETECTIONS_2D) if key[2] == 'detections' else (Image, IMAGE)
            )
            take = partial(self._take, hear, key, name)
            qos = make_qos('reliable', _DEPTH)
            self._node.create_subscription(kind, topic, take, qos, raw=True)

    def _take(self, hear: Hear, key: Key, kind: str, message: bytes) -> None:
        received_ns = time.monotonic_ns()
        stamp_ns, frame_id = read_header(message, kind)
        hear(Heard(*key, stamp_ns, frame_id, received_ns, message))


def detections_of(message: bytes, manifest: Manifest) -> Detections:
    """Return a Detection2DArray as the core has it; labels count the classes of the bundle."""
    assert manifest.detection is not None, 'it has such a topic'
    names = tuple(item.name for item in manifest.detection.classes)
    content = deserialize_message(message, Detection2DArray)
    boxes, classes = boxes_of(content)
    scores = [item.results[0].hypothesis.score for item in content.detections]
    return Detections(
        np.asarray(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32),
        np.array([names.index(str(name)) for name in classes], np.int32), names,
    )
