"""Publishes a bag's messages, as they are, when their turn comes.

Stamps stay those of the bag, and `/clock` tells its time, as with `ros2 bag play --clock`. So the
node matches and ages frames as on the vehicle, and a result belongs to a frame by its stamp. No
latency is read from that clock, which ticks; all are measured on the machine's monotonic one.

Each further round has stamps that go on where the last one has ended.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from queue import SimpleQueue
import threading
import time
from typing import Any

from rclpy.node import Node
from rosgraph_msgs.msg import Clock

from perception_ros.bags.bag import Bag, Message, open_bag, Topic
from perception_ros.bags.messages import IMAGE, TF
from perception_ros.core.errors import ImageError
from perception_ros.core.latency import Histogram
from perception_ros.faults.inject import Touch
from perception_ros.realtime.ledger import Publication
from perception_ros.realtime.options import RealtimeOptions
from perception_ros.replay.job import Job
from perception_ros.ros.cameras import CLOCKS_DISAGREE_NS
from perception_ros.ros.cdr import (
    read_compressed_image,
    read_header,
    read_image,
    shift_transforms,
    write_stamp,
)
from perception_ros.ros.messages import to_stamp
from perception_ros.ros.qos import make_qos

_DEPTH = 10
_CLOCK_NS = 25_000_000
"""Between two ticks, as `ros2 bag play --clock` has it."""
_AHEAD_BYTES = 32 << 20
"""What is read while there is time until the next message."""
_NO_TIME_NS = 2_000_000
"""So shortly before a message nothing is read ahead."""
_SINGLE_FRAME_NS = 100_000_000
"""A round of one frame lasts so long."""
_OF_SENSORS = 'sensor_msgs/'
"""Types whose stamps go on in later rounds, as those of `/tf` do; those of others stay."""


@dataclass(slots=True)
class Pace:
    """How well the player kept time; times in ns."""

    late: Histogram = field(default_factory=Histogram)
    """Of images."""
    first_due_ns: int = 0
    first_ns: int = 0
    last_due_ns: int = 0
    last_ns: int = 0

    def add(self, due_ns: int, now_ns: int) -> None:
        """Count an image that was due at one time and went out at another."""
        if not self.late.total:
            self.first_due_ns, self.first_ns = due_ns, now_ns
        self.late.add(now_ns - due_ns)
        self.last_due_ns, self.last_ns = due_ns, now_ns


class Player:
    """A thread that plays; `start` begins, `stop` ends it early.

    Latched messages from before the span that is played go out first.

    :param node: publishes.
    :param beside: topics that are played besides the images of the cameras.
    :param told: is given each image before it goes out, and what faults have touched.
    """

    def __init__(
        self,
        node: Node,
        job: Job,
        live: RealtimeOptions,
        beside: Mapping[str, Topic],
        told: SimpleQueue[Publication | Touch],
    ) -> None:
        self.pace = Pace()
        self.problems: list[str] = []
        self.error: Exception | None = None
        self.now_ns = 0
        """Time of recording of what was played last, in the bag."""
        self.round = 0
        self._job = job
        self._rate = live.rate
        self._rounds = live.loop
        self._told = told
        self._cameras = {topic: camera for camera, topic in job.topics.items()}
        self._topics = {**beside, **{name: job.bag.topics[name] for name in self._cameras}}
        self._by_arrival = frozenset(
            name for name, camera in job.config.cameras.items()
            if camera.stamp_source == 'arrival'
        )
        """Cameras whose stamps are the times of recording."""
        self._clock = node.create_publisher(Clock, '/clock', make_qos('best_effort', 1))
        self._publishers: dict[tuple[str, str], Any] = {}
        for name, topic in self._topics.items():
            self._announce(node, name, topic)
        self._halt = threading.Event()
        self._thread = threading.Thread(target=self._run, name='player', daemon=True)
        self._begun_ns = 0
        """When, on the monotonic clock, the message was due that is the first of the round."""
        self._base_ns = 0
        """When that message was recorded."""
        self._shift_ns = 0
        """What stamps of this round are later."""
        self._ticked_ns = 0

    @property
    def is_playing(self) -> bool:
        """Whether it has not come to its end."""
        return self._thread.is_alive()

    def is_heard(self) -> bool:
        """Say whether somebody listens to each camera."""
        return all(
            publisher.get_subscription_count()
            for (topic, _), publisher in self._publishers.items() if topic in self._cameras
        )

    def start(self) -> None:
        """Begin to play."""
        self._thread.start()

    def stop(self) -> None:
        """Play no more. Idempotent."""
        self._halt.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _announce(self, node: Node, name: str, topic: Topic) -> None:
        kind = topic.types[0]
        package, _, plain = kind.partition('/msg/')
        try:
            message_type = getattr(import_module(f'{package}.msg'), plain)
        except (ImportError, AttributeError):
            self.problems.append(f'{name}: {kind} is not installed here; it is not played')
            return
        if len(topic.types) > 1:
            self.problems.append(f'{name}: only {kind} is played, and no {topic.types[1:]}')
        qos = make_qos(
            'best_effort' if topic.is_best_effort else 'reliable', _DEPTH,
            'transient_local' if topic.is_latched else 'volatile',
        )
        self._publishers[name, kind] = node.create_publisher(message_type, name, qos)

    def _run(self) -> None:
        try:
            with open_bag(self._job.options.bag) as bag:
                try:
                    self._play(bag)
                finally:
                    self.problems += bag.problems
        except Exception as error:  # nobody would hear of it in this thread
            self.error = error

    def _play(self, bag: Bag) -> None:
        latched = {name for name, topic in self._topics.items() if topic.is_latched}
        if self._job.start_ns is not None and latched:
            for message in bag.messages(latched, None, self._job.start_ns):
                self._publish(message)
        due_ns = 0
        for turn in range(self._rounds):
            self.round = turn
            stamps: dict[str, tuple[int, int, int]] = {}
            """By topic of images: first and last time of recording, and how many."""
            for message in self._paced(self._read(bag, turn), due_ns):
                if message.topic in self._cameras:
                    first_ns, _, count = stamps.get(message.topic, (message.time_ns, 0, 0))
                    stamps[message.topic] = first_ns, message.time_ns, count + 1
                self._send(message)
            if self._halt.is_set() or not stamps:
                return
            first_ns, last_ns, count = max(stamps.values(), key=lambda item: item[2])
            interval_ns = (last_ns - first_ns) // (count - 1) if count > 1 else _SINGLE_FRAME_NS
            length_ns = self.now_ns - self._base_ns + interval_ns
            due_ns = self._begun_ns + round(length_ns / self._rate)
            self._shift_ns += length_ns

    def _read(self, bag: Bag, turn: int) -> Iterator[Message]:
        """Return what is played in a round, with its faults, which are told of once."""
        touched = (lambda touch: None) if turn else self._told.put
        return self._job.messages(self._topics, touched, bag)

    def _paced(self, messages: Iterator[Message], begin_ns: int) -> Iterator[Message]:
        """Yield each message when it is due, and read ahead while there is time."""
        waiting: deque[Message] = deque()
        size, is_first, is_end = 0, True, False
        while not self._halt.is_set():
            left_ns = self._due_ns(waiting[0]) - time.monotonic_ns() if waiting else 0
            if not is_end and (
                not waiting or (size < _AHEAD_BYTES and left_ns > _NO_TIME_NS)
            ):
                if (message := next(messages, None)) is None:
                    is_end = True
                    continue
                if is_first:
                    # opening the bag took its time, which is no lateness
                    self._begun_ns = begin_ns or time.monotonic_ns() + _NO_TIME_NS
                    self._base_ns, is_first = message.time_ns, False
                waiting.append(message)
                size += len(message.data)
            elif not waiting:
                return
            elif left_ns > 0:
                self._tick()
                self._halt.wait(min(left_ns, _CLOCK_NS) / 1e9)
            else:
                message = waiting.popleft()
                size -= len(message.data)
                yield message

    def _due_ns(self, message: Message) -> int:
        return self._begun_ns + round((message.time_ns - self._base_ns) / self._rate)

    def _tick(self) -> None:
        now_ns = time.monotonic_ns()
        if now_ns - self._ticked_ns >= _CLOCK_NS and self._begun_ns:
            self._ticked_ns = now_ns
            of_bag_ns = self._base_ns + round((now_ns - self._begun_ns) * self._rate)
            self._clock.publish(Clock(clock=to_stamp(of_bag_ns + self._shift_ns)))

    def _send(self, message: Message) -> None:
        """Publish a message that is due, and tell of it before if it is an image."""
        self.now_ns = message.time_ns
        self._tick()
        if (camera := self._cameras.get(message.topic)) is None:
            self._publish(self._shifted(message))
            return
        bag_stamp_ns, size = _look_at(message)
        if camera in self._by_arrival and bag_stamp_ns:
            bag_stamp_ns = message.time_ns
            message = _stamped(message, bag_stamp_ns)
        played = self._shifted(message)
        transport_ns: int | None = message.time_ns - bag_stamp_ns
        if abs(transport_ns or 0) > CLOCKS_DISAGREE_NS:
            transport_ns = None
        stamp_ns = bag_stamp_ns + self._shift_ns if bag_stamp_ns else 0
        due_ns, now_ns = self._due_ns(message), time.monotonic_ns()
        self.pace.add(due_ns, now_ns)
        self._told.put(Publication(
            camera, stamp_ns, bag_stamp_ns, now_ns, max(now_ns - due_ns, 0), transport_ns, size
        ))
        self._publish(played)

    def _shifted(self, message: Message) -> Message:
        if not self._shift_ns:
            return message
        try:
            if message.type == TF:
                return message._replace(data=shift_transforms(message.data, self._shift_ns))
            if not message.type.startswith(_OF_SENSORS):
                return message
            stamp_ns = read_header(message.data, message.type).stamp_ns
            return _stamped(message, stamp_ns + self._shift_ns) if stamp_ns else message
        except ImageError:
            return message

    def _publish(self, message: Message) -> None:
        if publisher := self._publishers.get((message.topic, message.type)):
            publisher.publish(bytes(message.data))


def _look_at(message: Message) -> tuple[int, tuple[int, int]]:
    """Return stamp and size of an image; zeros where the node will not find any either."""
    read = read_image if message.type == IMAGE else read_compressed_image
    try:
        stamp_ns, _, image = read(message.data)
    except ImageError:
        return 0, (0, 0)
    return stamp_ns, (image.width, image.height)


def _stamped(message: Message, stamp_ns: int) -> Message:
    return message._replace(data=write_stamp(message.data, message.type, stamp_ns))
