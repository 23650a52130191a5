"""The demonstration's own ROS node: listens to what comes out."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
import numpy as np
from sensor_msgs.msg import CompressedImage, Image
from vision_msgs.msg import Detection2DArray

from perception_ros.core.topics import overlay_topic
from perception_ros.demo.harvest import FrameKey, Harvest
from perception_ros.demo.station import Check, Station
from perception_ros.ros.messages import to_nanoseconds
from perception_ros.ros.qos import make_qos

_DEPTH = 200
"""More than the publishers hold: nothing is lost while a picture is written to disk."""


class Listener(Station):
    """Takes results and latency, and keeps them in a harvest. A context manager."""

    def __init__(self, domain: int, harvest: Harvest, check: Check) -> None:
        super().__init__('demo', domain, check)
        self.results: dict[str, int] = {}
        self.last_result_s = time.monotonic()
        self._harvest = harvest

    def listen(self, topics: dict[tuple[str, str, str], str], cameras: tuple[str, ...]) -> None:
        """Subscribe to (camera, model, output) -> topic, to overlays and to latency."""
        for (camera, model, output), topic in topics.items():
            if output == 'detections':
                take = partial(self._take_detections, camera, model)
                self._subscribe(Detection2DArray, topic, take)
            else:
                self._subscribe(Image, topic, partial(self._take_mask, f'{model}/{output}'))
        for camera in cameras:
            take = partial(self._take_overlay, camera)
            self._subscribe(CompressedImage, overlay_topic(camera), take)
        self._node.create_subscription(
            DiagnosticArray, '/perception/latency', self._take_latency, make_qos('reliable', 10)
        )

    def wait_for_publishers(self, timeout_s: float) -> None:
        """Wait until each of the topics has a publisher.

        :raises DemoError: some has none; they are named.
        """
        self.wait_for(self.results, timeout_s)

    def _subscribe(self, message_type: type, topic: str, take: Callable[[Any], None]) -> None:
        name = f'/perception/{topic}'
        self.results[name] = 0

        def count(message: Any) -> None:
            self.results[name] += 1
            self.last_result_s = time.monotonic()
            take(message)

        self._node.create_subscription(message_type, name, count, make_qos('reliable', _DEPTH))

    def _take_detections(self, camera: str, model: str, message: Detection2DArray) -> None:
        labelled = []
        for detection in message.detections:
            centre, box = detection.bbox.center.position, detection.bbox
            half_x, half_y = box.size_x / 2, box.size_y / 2
            corners = [centre.x - half_x, centre.y - half_y, centre.x + half_x, centre.y + half_y]
            labelled.append((detection.results[0].hypothesis.class_id, np.array(corners)))
        self._harvest.add_boxes(model, _key(camera, message), labelled)

    def _take_mask(self, name: str, message: Image) -> None:
        self._harvest.masks[name] += 1

    def _take_overlay(self, camera: str, message: CompressedImage) -> None:
        self._harvest.add_picture(_key(camera, message), bytes(message.data))

    def _take_latency(self, message: DiagnosticArray) -> None:
        for status in message.status:
            camera, _, stage = status.name.rpartition('/')
            if stage == 'total':
                values = {pair.key: pair.value for pair in status.values}
                self._harvest.latency_p95_ms[camera] = float(values.get('p95_ms', 'nan'))


def _key(camera: str, message: Any) -> FrameKey:
    return FrameKey(camera, to_nanoseconds(message.header.stamp))
