"""An observer: takes messages and keeps when each was stamped and when it came.

A process of its own. It hears results, beside the node that is measured, or images, to measure
what a subscriber costs: `typed` and `raw` are the two ways of rclpy, with an executor in the main
thread as nodes have it, and `intake` is the perception node's.
"""

from __future__ import annotations

from functools import partial
import signal
import sys
import threading
import time
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CompressedImage, Image, PointCloud2
from typing_extensions import Buffer
from vision_msgs.msg import Detection2DArray, Detection3DArray

from perception_ros.benchmarks.live.settings import Reliability
from perception_ros.benchmarks.tasks import serve_stdin
from perception_ros.ros.cdr import read_header
from perception_ros.ros.intake import Intake
from perception_ros.ros.messages import to_nanoseconds
from perception_ros.ros.qos import make_qos

Kind = Literal['raw', 'jpeg', 'detections', 'objects', 'points']
Way = Literal['typed', 'raw', 'intake']
KINDS = {
    'raw': Image, 'jpeg': CompressedImage, 'detections': Detection2DArray,
    'objects': Detection3DArray, 'points': PointCloud2,
}


class Wanted(BaseModel):
    """What to hear, and how."""

    topics: dict[str, str]
    """By camera."""
    kind: Kind | dict[str, Kind]
    """Of all topics, or by camera."""
    way: Way = 'raw'
    reliability: Reliability = 'best_effort'
    depth: int = 5

    def kind_of(self, camera: str) -> Kind:
        """Return what the topic of a camera carries."""
        return self.kind[camera] if isinstance(self.kind, dict) else self.kind


class Receiver:
    """What has come; each public method is a task."""

    def __init__(self, node: Any, wanted: Wanted) -> None:
        self._node = node
        self._topics = wanted.topics
        self._heard: dict[str, list[tuple[int, int]]] = {name: [] for name in wanted.topics}
        self._intake = Intake() if wanted.way == 'intake' else None
        qos = make_qos(wanted.reliability, wanted.depth)
        is_raw = wanted.way != 'typed'
        for camera, topic in wanted.topics.items():
            take = partial(self._take_raw if is_raw else self._take_typed, self._heard[camera])
            group = self._intake.group if self._intake else None
            subscription = node.create_subscription(
                KINDS[wanted.kind_of(camera)], topic, take, qos, raw=is_raw, callback_group=group
            )
            if self._intake:
                self._intake.add(subscription, take)
        if self._intake:
            self._intake.start()

    def stop(self) -> None:
        """Take no more."""
        if self._intake:
            self._intake.stop()

    def silent(self) -> dict[str, list[str]]:
        """Name the cameras whose topic nobody publishes."""
        return {
            'cameras': [
                name for name, topic in self._topics.items()
                if not self._node.count_publishers(topic)
            ]
        }

    def count(self) -> dict[str, int]:
        """Say how many messages have come."""
        return {'messages': sum(map(len, self._heard.values()))}

    def keep(self, file: str) -> dict[str, int]:
        """Write what has come: a .npz of int64 [n, 2] by camera, stamp and receipt in ns."""
        arrays = {
            name: np.array(list(heard), np.int64).reshape(-1, 2)
            for name, heard in self._heard.items()
        }
        np.savez(file, **arrays)  # type: ignore[arg-type]  # of its keyword allow_pickle
        return self.count()

    @staticmethod
    def _take_raw(heard: list[tuple[int, int]], message: Buffer) -> None:
        received_ns = time.time_ns()
        heard.append((read_header(message, 'of a topic').stamp_ns, received_ns))

    @staticmethod
    def _take_typed(heard: list[tuple[int, int]], message: Any) -> None:
        received_ns = time.time_ns()
        heard.append((to_nanoseconds(message.header.stamp), received_ns))


def main() -> None:
    """Listen until nobody asks any more; the argument says to what, as JSON."""
    wanted = Wanted.model_validate_json(sys.argv[1])
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it ends with its stdin, in good order
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node('receiver')
    receiver = Receiver(node, wanted)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    # The main thread takes the messages: in another one malloc would give each image's memory
    # back, and fault it in again for the next.
    asked = threading.Thread(target=serve_stdin, args=(receiver,), name='tasks', daemon=True)
    asked.start()
    while asked.is_alive():
        executor.spin_once(timeout_sec=0.2)
    receiver.stop()
    executor.shutdown()
    node.destroy_node()
    rclpy.try_shutdown()


if __name__ == '__main__':
    main()
