"""Cameras as cheap as can be: messages are made once, and only their stamps are new each time.

A process of its own, told what to do by `trial.py`, which says what it has really sent. All its
cameras are triggered at once, as by one wire: their images of one tick have one stamp, the time at
which the tick began, and go out one after the other.

A tick that is a period late or more is left out: a camera that was held up sends no burst.
"""

from __future__ import annotations

import signal
import struct
import sys
import time
from typing import Any

import numpy as np
import rclpy
from rclpy.node import Node
from rclpy.serialization import serialize_message
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image as ImageMessage

from perception_ros.benchmarks.live.figures import Delays, Sent
from perception_ros.benchmarks.live.settings import Absence, Stream
from perception_ros.benchmarks.tasks import serve_stdin
from perception_ros.core.image import Image
from perception_ros.rig.pictures import pictures
from perception_ros.ros.messages import bgr_to_jpeg, to_header, to_image_message
from perception_ros.ros.qos import make_qos, SETTLE_S
from perception_ros.ros.rcl import publish

_JPEG_QUALITY = 90
_DEPTH = 5
_STAMP = struct.Struct('<iI')
_STAMP_AT = 4
"""Behind the encapsulation; rclpy writes little endian where the machine is."""
_NAP_S = 0.05
"""So soon a sender that waits notices that it is to end."""


class Camera:
    """One topic and its messages."""

    def __init__(self, node: Node, name: str, stream: Stream) -> None:
        self.name = name
        self.stamps_ns: list[int] = []
        self._node = node
        self._kind = CompressedImage if stream.encoding == 'jpeg' else ImageMessage
        self._topic = stream.topic(name)
        self._qos = make_qos(stream.reliability, _DEPTH)
        self._messages = [_serialised(name, picture, stream) for picture in pictures(stream)]
        self._publisher: Any = None
        self._ready_ns = 0
        self.appear()

    def appear(self) -> None:
        """Announce the topic."""
        if self._publisher is None:
            self._publisher = self._node.create_publisher(self._kind, self._topic, self._qos)
            self._ready_ns = 0

    def vanish(self) -> None:
        """Withdraw the topic."""
        if self._publisher is not None:
            self._node.destroy_publisher(self._publisher)
            self._publisher = None

    def subscribers(self) -> int:
        """Return how many listen."""
        return self._publisher.get_subscription_count() if self._publisher is not None else 0

    def is_ready(self, now_ns: int) -> bool:
        """Say whether somebody has been listening for long enough to hear."""
        if self._publisher is None:
            return False
        if not self._ready_ns and self.subscribers():
            self._ready_ns = now_ns + round(SETTLE_S * 1e9)
        return 0 < self._ready_ns <= now_ns

    def send(self, stamp_ns: int) -> None:
        """Publish the next picture."""
        message = self._messages[len(self.stamps_ns) % len(self._messages)]
        self.stamps_ns.append(stamp_ns)
        publish(self._publisher, stamped(message, stamp_ns))


class Sender:
    """The cameras of this process; each public method is a task."""

    def __init__(self, node: Node, stream: Stream, cameras: list[str]) -> None:
        self._cameras = [Camera(node, name, stream) for name in cameras]
        self._period_ns = round(1e9 / stream.rate_hz)
        self._is_over = False

    def end(self) -> None:
        """Send no more: what is going on returns soon."""
        self._is_over = True

    def deaf(self, subscribers: int) -> dict[str, list[str]]:
        """Name the cameras that fewer listen to."""
        return {'cameras': [c.name for c in self._cameras if c.subscribers() < subscribers]}

    def send(
        self, begin_ns: int, seconds: float, file: str, absences: list[Absence] | None = None
    ) -> dict[str, Any]:
        """Send for a while, and say what was sent.

        :param begin_ns: of the first tick, on the monotonic clock.
        :param file: to write the stamps to, a .npz of int64 by camera.
        :param absences: when cameras are gone; they come back once they are heard again.
        """
        for camera in self._cameras:
            camera.stamps_ns = []
        cpu_s = time.process_time()
        ticks = Ticks(begin_ns, self._period_ns, round(seconds * 1e9))
        while not self._is_over and (due_ns := ticks.next_ns()) is not None:
            self._sleep_until(due_ns)
            now_ns = time.monotonic_ns()
            self._come_and_go((due_ns - begin_ns) / 1e9, absences or [])
            if not ticks.begin(now_ns):
                continue
            stamp_ns = time.time_ns()
            for camera in self._cameras:
                if not absences or camera.is_ready(now_ns):
                    camera.send(stamp_ns)
        self._sleep_until(ticks.end_ns)
        took_s = max(time.monotonic_ns() - begin_ns, 1) / 1e9
        stamps = {c.name: np.array(c.stamps_ns, np.int64) for c in self._cameras}
        np.savez(file, **stamps)  # type: ignore[arg-type]  # of its keyword allow_pickle
        counts = {name: len(found) for name, found in stamps.items()}
        return Sent(
            frames=sum(counts.values()), by_camera=counts, rate_hz=ticks.done / took_s,
            asked_hz=1e9 / self._period_ns, skipped_ticks=ticks.skipped,
            lateness_ms=Delays.of(ticks.lateness_ms),
            cpu_cores=(time.process_time() - cpu_s) / took_s,
        ).model_dump()

    def _come_and_go(self, at_s: float, absences: list[Absence]) -> None:
        for camera in self._cameras:
            spans = [span for name, *span in absences if name == camera.name]
            if any(begin <= at_s < end for begin, end in spans):
                camera.vanish()
            else:
                camera.appear()

    def _sleep_until(self, due_ns: int) -> None:
        while not self._is_over and (left_ns := due_ns - time.monotonic_ns()) > 0:
            time.sleep(min(left_ns / 1e9, _NAP_S))


class Ticks:
    """Times at which to send, at absolute distances from the first."""

    def __init__(self, begin_ns: int, period_ns: int, length_ns: int) -> None:
        self.end_ns = begin_ns + length_ns
        self.done = 0
        self.skipped = 0
        self.lateness_ms: list[float] = []
        self._period_ns = period_ns
        self._due_ns = begin_ns

    def next_ns(self) -> int | None:
        """Return when the next tick is due; None: there is none before the end."""
        return self._due_ns if self._due_ns < self.end_ns - self._period_ns // 2 else None

    def begin(self, now_ns: int) -> bool:
        """Count the tick that is due; False: it is too late, and those before now are left out."""
        late_ns = now_ns - self._due_ns
        if late_ns >= self._period_ns:
            missed = late_ns // self._period_ns
            self.skipped += missed
            self._due_ns += missed * self._period_ns
            return False
        self.done += 1
        self.lateness_ms.append(late_ns / 1e6)
        self._due_ns += self._period_ns
        return True


def stamped(message: bytearray, stamp_ns: int) -> bytearray:
    """Write a stamp into a serialised message that starts with a header, and return it."""
    _STAMP.pack_into(message, _STAMP_AT, *divmod(stamp_ns, 1_000_000_000))
    return message


def _serialised(camera: str, bgr: Any, stream: Stream) -> bytearray:
    header = to_header(0, f'{camera}_optical_frame')
    if stream.encoding == 'jpeg':
        message = bgr_to_jpeg(header, bgr, _JPEG_QUALITY)
    else:
        pixels = np.ascontiguousarray(bgr).reshape(-1).data
        image = Image(pixels, 'bgr8', stream.width, stream.height, 3 * stream.width)
        message = to_image_message(header, image)
    return bytearray(serialize_message(message))


def main() -> None:
    """Send what is asked for; arguments: the stream as JSON, then the names of the cameras."""
    stream = Stream.model_validate_json(sys.argv[1])
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node(f'sender_{sys.argv[2]}')
    sender = Sender(node, stream, sys.argv[2:])
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sender.end())
    try:
        serve_stdin(sender)
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == '__main__':
    main()
