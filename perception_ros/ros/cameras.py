"""Camera topics into frames: subscribe, read in place, hand to the pipeline."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
import time
from typing import Any

from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image
from typing_extensions import Buffer

from perception_ros.core.config import CameraConfig
from perception_ros.core.machine import usable_cores
from perception_ros.core.pipeline import Pipeline
from perception_ros.core.types import Frame
from perception_ros.ros.bridge import understood
from perception_ros.ros.cdr import read_compressed_image, read_image
from perception_ros.ros.intake import Intake
from perception_ros.ros.qos import explain_mismatch, incompatibilities, make_qos

CLOCKS_DISAGREE_NS = 10_000_000_000
"""A stamp further than this from the node's clock is of another clock (a bag without
use_sim_time): nothing can be said about the time that such a frame was under way."""

CORES_PER_INTAKE = 4
"""Taking images gets a thread for so many cores: the other stages want theirs."""

_LOOK_S = 1.0
"""So often it is looked for publishers whose QoS does not fit."""


def intake_threads() -> int:
    """Return how many threads may take images on this machine."""
    return max(usable_cores() // CORES_PER_INTAKE, 1)


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
        self._subscriptions: list[Any] = []
        self._last_arrival_ns: dict[str, int] = {}
        self._told: dict[str, str] = {}
        self._timer: Any = None
        self._intake = Intake(min(len(pipeline.config.cameras), intake_threads()))
        try:
            for name, camera in pipeline.config.cameras.items():
                receive = partial(self._receive, name, camera)
                subscription = self._subscribe(name, camera, receive)
                self._subscriptions.append(subscription)
                self._intake.add(subscription, receive)
        except Exception:
            self.destroy()
            raise
        steady = Clock(clock_type=ClockType.STEADY_TIME)  # a simulated one may stand
        self._timer = node.create_timer(_LOOK_S, self._look_for_mismatches, clock=steady)
        self._intake.start()

    def destroy(self) -> None:
        """Unsubscribe; no frame is handed on after this."""
        self._intake.stop()
        if self._timer:
            self._node.destroy_timer(self._timer)
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []

    def _subscribe(
        self, name: str, camera: CameraConfig, receive: Callable[[Buffer], None]
    ) -> Any:
        return self._node.create_subscription(
            CompressedImage if camera.transport == 'compressed' else Image,
            camera.topic_for(name),
            receive,
            make_qos(camera.reliability, camera.queue_depth),
            callback_group=self._intake.group,
            raw=True,
        )

    def _receive(self, name: str, camera: CameraConfig, serialised: Buffer) -> None:
        """Make a frame of a message. Whatever is in it, the other cameras' must go on."""
        received_ns, stamp_ns = time.monotonic_ns(), 0
        read = read_compressed_image if camera.transport == 'compressed' else read_image
        try:
            stamp_ns, frame_id, image = read(serialised)
            image = understood(image)
            now_ns = self._node.get_clock().now().nanoseconds
            transport_ns: int | None = now_ns - stamp_ns
            if camera.stamp_source == 'arrival':
                stamp_ns, transport_ns = self._arrival_ns(name, now_ns), None
            elif abs(now_ns - stamp_ns) > CLOCKS_DISAGREE_NS:
                transport_ns = None
            frame = Frame(name, stamp_ns, received_ns, image, frame_id, transport_ns)
        except Exception as error:
            self._pipeline.refuse(name, error, stamp_ns)
        else:
            self._pipeline.receive(frame)

    def _arrival_ns(self, name: str, now_ns: int) -> int:
        """Return a stamp for a frame that came now, later than that of the one before.

        A simulated clock ticks more slowly than a camera, and stands at 0 before its first tick.
        """
        now_ns = now_ns or time.time_ns()
        last_ns = self._last_arrival_ns.get(name, 0)
        if last_ns - CLOCKS_DISAGREE_NS < now_ns <= last_ns:  # else the clock was set back
            now_ns = last_ns + 1
        self._last_arrival_ns[name] = now_ns
        return now_ns

    def _look_for_mismatches(self) -> None:
        """Tell of publishers whose QoS does not fit, once of each state of things."""
        for name, camera in self._pipeline.config.cameras.items():
            topic = camera.topic_for(name)
            requested = make_qos(camera.reliability, camera.queue_depth)
            misfits = [
                (info.node_name, info.qos_profile)
                for info in self._node.get_publishers_info_by_topic(topic)
                if incompatibilities(requested, info.qos_profile)
            ]
            remedy = f'Set cameras.{name}.reliability to best_effort, or change the publisher'
            text = explain_mismatch(topic, requested, misfits, remedy) if misfits else ''
            if text and text != self._told.get(name):
                self._on_mismatch(name, text)
            self._told[name] = text
