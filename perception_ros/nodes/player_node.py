"""Play pictures as camera topics: a folder, a video, a bag, or a still that cameras pan over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
import json
from pathlib import Path
import sys
import time
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
import rclpy
from rclpy.duration import Duration
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.publisher import Publisher
from sensor_msgs.msg import CameraInfo, CompressedImage
from sensor_msgs.msg import Image as ImageMessage

from perception_ros.bags import open_input
from perception_ros.core.errors import ConfigError, PerceptionError
from perception_ros.core.files import write_text
from perception_ros.core.image import Image
from perception_ros.core.playback import Fate, play, PlayerConfig, Slot, Timeline
from perception_ros.core.sources import FrameSet
from perception_ros.ros.declare import declare_flat, EmptyListsNode
from perception_ros.ros.messages import (
    bgr_to_jpeg,
    to_camera_info,
    to_header,
    to_image_message,
)
from perception_ros.ros.qos import make_qos, SETTLE_S

_LAST_WORDS_S = 5.0
"""How long the last frames may take to arrive before the player ends."""


class Camera:
    """The topics of one camera, and the message made of its latest frame."""

    def __init__(self, node: Node, name: str, position: int, config: PlayerConfig) -> None:
        self.name = name
        self.counts: Counter[Fate] = Counter()
        self.size = (0, 0)
        self._position = position
        self._config = config
        self._frame: NDArray[np.uint8] | None = None
        qos = make_qos(config.reliability, config.queue_depth)
        is_raw = config.transport == 'raw'
        topic = f'{name}/image_raw' if is_raw else f'{name}/image_raw/compressed'
        message_type = ImageMessage if is_raw else CompressedImage
        self.images: Publisher[Any] = node.create_publisher(message_type, topic, qos)
        self.infos: Publisher[Any] = node.create_publisher(CameraInfo, f'{name}/camera_info', qos)

    def prepare(self, frame: NDArray[np.uint8]) -> None:
        """Make messages of a BGR frame; a repeated one is encoded only once."""
        if frame is self._frame:
            return
        self._frame = frame
        height, width = frame.shape[:2]
        self.size = (width, height)
        self._info = to_camera_info(
            width, height, self._config.matrix(self._position, width, height)
        )
        no_header = to_header(0, '')
        if self._config.transport == 'compressed':
            self._message = bgr_to_jpeg(no_header, frame, self._config.jpeg_quality)
        else:
            self._message = to_image_message(no_header, _as_encoding(frame, self._config.encoding))

    def publish(self, stamp_ns: int) -> None:
        """Send the prepared image and its CameraInfo."""
        header = to_header(stamp_ns, f'{self.name}_optical_frame')
        self._message.header = self._info.header = header
        self.images.publish(self._message)
        self.infos.publish(self._info)

    def summary(self) -> dict[str, object]:
        """Return what became of this camera's frames."""
        return {
            'topic': self.images.topic_name,
            'width': self.size[0],
            'height': self.size[1],
            **{fate.value: self.counts[fate] for fate in Fate},
        }


class PlayerNode(EmptyListsNode):
    """Publishes frame sets at a steady rate, in the thread that also spins it."""

    def __init__(self) -> None:
        super().__init__('player', automatically_declare_parameters_from_overrides=True)
        self._config = declare_flat(self, PlayerConfig)
        config = self._config
        self._source = open_input(Path(config.input).expanduser(), config.cameras)
        config.check_cameras(self._source.cameras)
        self._cameras = {
            name: Camera(self, name, position, config)
            for position, name in enumerate(self._source.cameras)
        }
        self._sets = 0
        self._late_sets = 0
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self)

    def run(self) -> None:
        """Play to the end, or until ROS shuts down.

        :raises PerceptionError: a file of the input cannot be read.
        """
        log = self.get_logger()
        log.info(
            f'playing {self._source.description} as {", ".join(self._cameras)} at '
            f'{self._config.rate_hz:g} Hz'
        )
        try:
            self._wait_for_subscribers()
            self._play()
            self._wait_until_received()
        except KeyboardInterrupt:
            pass
        except Exception:
            # A signal shuts the context down, perhaps in the middle of a call, which then fails.
            if self.context.ok():
                raise
        finally:
            self._report()

    def _wait_for_subscribers(self) -> None:
        wanted = self._config.wait_for_subscribers
        publishers = [camera.images for camera in self._cameras.values()]
        while any(publisher.get_subscription_count() < wanted for publisher in publishers):
            self._spin_until(time.monotonic_ns() + 50_000_000)
        if wanted:
            self._spin_until(time.monotonic_ns() + round(SETTLE_S * 1e9))

    def _play(self) -> None:
        config = self._config
        timeline = Timeline(self._source.cameras, config)
        period_ns = timeline.due_ns(1)
        frame_sets = play(self._source, loop=config.loop, sets=config.frames)
        # Times are counted from here, so that what one set takes does not add up over many.
        start_ns, first_stamp_ns = 0, 0
        for index, frames in enumerate(frame_sets):
            slots = timeline.next_set()
            self._prepare(frames, slots)
            now_ns = time.monotonic_ns()
            if index == 0:
                start_ns = now_ns
                first_stamp_ns = self.get_clock().now().nanoseconds
            late_ns = now_ns - start_ns - timeline.due_ns(index)
            if late_ns > period_ns:
                # a camera that was held up does not send its missed frames in a burst
                self._late_sets += 1
                start_ns += late_ns
                first_stamp_ns += late_ns
            self._publish(
                slots, start_ns + timeline.due_ns(index), first_stamp_ns + timeline.due_ns(index)
            )
            self._sets += 1

    def _prepare(self, frames: FrameSet, slots: Iterable[Slot]) -> None:
        for slot in slots:
            if slot.fate is Fate.PUBLISHED:
                self._cameras[slot.camera].prepare(frames[slot.camera])

    def _publish(self, slots: Iterable[Slot], due_ns: int, stamp_ns: int) -> None:
        for slot in slots:
            camera = self._cameras[slot.camera]
            if slot.fate is Fate.PUBLISHED:
                self._spin_until(due_ns + slot.delay_ns)
                camera.publish(stamp_ns + slot.delay_ns)
            camera.counts[slot.fate] += 1
        self._spin_until(due_ns)

    def _spin_until(self, due_ns: int) -> None:
        """Serve parameter requests until then; at least once, so that a busy player still ends."""
        while True:
            remaining_ns = due_ns - time.monotonic_ns()
            self._executor.spin_once(timeout_sec=max(remaining_ns, 0) / 1e9)
            if not self.context.ok():
                raise ExternalShutdownException
            if remaining_ns <= 0:
                return

    def _wait_until_received(self) -> None:
        timeout = Duration(seconds=_LAST_WORDS_S)
        for camera in self._cameras.values():
            if not camera.images.wait_for_all_acked(timeout):
                self.get_logger().warning(
                    f'some subscriber of {camera.images.topic_name} has not taken the last frames '
                    f'within {_LAST_WORDS_S:g} s'
                )

    def _report(self) -> None:
        cameras = {name: camera.summary() for name, camera in self._cameras.items()}
        published = ', '.join(f'{name} {counts["published"]}' for name, counts in cameras.items())
        # the log of a context that was shut down goes nowhere
        print(f'player: published {self._sets} sets: {published}', file=sys.stderr, flush=True)
        for problem in self._source.problems:
            print(f'player: {problem}', file=sys.stderr, flush=True)
        if self._config.report:
            report = {
                'input': self._config.input,
                'rate_hz': self._config.rate_hz,
                'sets': self._sets,
                'late_sets': self._late_sets,
                'problems': self._source.problems,
                'cameras': cameras,
            }
            path = Path(self._config.report)
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_text(path, json.dumps(report, indent=2) + '\n')
            except OSError as error:
                raise ConfigError(f'report: cannot write {path}: {error}') from error


def _as_encoding(bgr: NDArray[np.uint8], encoding: str) -> Image:
    height, width = bgr.shape[:2]
    if encoding == 'mono8':
        pixels = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY), np.uint8)
    elif encoding == 'rgb8':
        pixels = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)
    else:
        pixels = np.ascontiguousarray(bgr)
    return Image(pixels.reshape(-1).data, encoding, width, height, pixels.nbytes // height)


def main(args: list[str] | None = None) -> int:
    """Run the player; the exit status is 0 also after SIGINT and SIGTERM."""
    rclpy.init(args=args)
    try:
        node = PlayerNode()
        node.run()
        node.destroy_node()
    except PerceptionError as error:
        print(f'player: {error}', file=sys.stderr)
        return 1
    except (ExternalShutdownException, KeyboardInterrupt):
        pass  # asked to end before it began
    finally:
        rclpy.try_shutdown()
    return 0


if __name__ == '__main__':
    sys.exit(main())
