"""Camera topics into frames: subscribe, read in place, hand to the pipeline."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
import time
from typing import Any

from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image

from perception_ros.core.config import CameraConfig
from perception_ros.core.errors import ImageError
from perception_ros.core.pipeline import Pipeline
from perception_ros.core.types import Frame
from perception_ros.ros.bridge import understood
from perception_ros.ros.cdr import read_compressed_image, read_image
from perception_ros.ros.qos import explain_mismatch, make_qos

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks

CLOCKS_DISAGREE_NS = 10_000_000_000
"""A stamp further than this from the node's clock is of another clock (a bag without
use_sim_time): nothing can be said about the time that such a frame was under way."""


class CameraSubscriptions:
    """The image subscriptions of one pipeline; `destroy` ends them.

    :param on_mismatch: called with (camera, text) when a publisher's QoS does not fit.
    """

    def __init__(
        self, node: Node, pipeline: Pipeline, on_mismatch: Callable[[str, str], None]
    ) -> None:
        self._node = node
        self._pipeline = pipeline
        self._on_mismatch = on_mismatch
        self._subscriptions = []
        for name, camera in pipeline.config.cameras.items():
            topic = camera.topic_for(name)
            compressed = camera.transport == 'compressed'
            events = SubscriptionEventCallbacks(
                incompatible_qos=partial(self._explain, name, camera)
            )
            self._subscriptions.append(
                node.create_subscription(
                    CompressedImage if compressed else Image,
                    topic,
                    partial(self._receive, name, camera),
                    make_qos(camera.reliability, camera.queue_depth),
                    raw=True,
                    event_callbacks=events,
                )
            )

    def destroy(self) -> None:
        """Unsubscribe."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []

    def _receive(self, name: str, camera: CameraConfig, serialised: bytes) -> None:
        received_ns = time.monotonic_ns()
        read = read_compressed_image if camera.transport == 'compressed' else read_image
        try:
            stamp_ns, frame_id, image = read(serialised)
            image = understood(image)
        except ImageError as error:
            self._pipeline.refuse(name, error)
            return
        now_ns = self._node.get_clock().now().nanoseconds
        transport_ns: int | None = now_ns - stamp_ns
        if camera.stamp_source == 'arrival':
            stamp_ns, transport_ns = now_ns, None
        elif abs(now_ns - stamp_ns) > CLOCKS_DISAGREE_NS:
            transport_ns = None
        self._pipeline.receive(Frame(name, stamp_ns, received_ns, image, frame_id, transport_ns))

    def _explain(self, name: str, camera: CameraConfig, event: Any) -> None:
        topic = camera.topic_for(name)
        offered = [
            (info.node_name, info.qos_profile)
            for info in self._node.get_publishers_info_by_topic(topic)
        ]
        remedy = f'Set cameras.{name}.reliability to best_effort, or change the publisher'
        requested = make_qos(camera.reliability, camera.queue_depth)
        self._on_mismatch(name, explain_mismatch(topic, requested, offered, remedy))
