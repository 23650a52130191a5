"""Faults let loose on the messages of a bag.

Each fault is a stage: messages go through it in the order of time, and it hands them on in that
order. Only what it holds back is in memory. Stages follow each other as the faults do in their
file.

A part of a bag with faults is that part of the whole bag with faults: to know what comes in it, a
stage is given the messages before it too, as far back as its fault reaches.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from heapq import heappop, heappush
from itertools import count
from typing import NamedTuple

from perception_ros.bags.bag import Bag, END_OF_TIME_NS, Message
from perception_ros.core.errors import ImageError
from perception_ros.faults.kinds import Fault, Memory, Moment
from perception_ros.faults.plan import FaultPlan
from perception_ros.faults.targets import Target, targets_of
from perception_ros.ros.cdr import read_header

REMOVED = 'removed'
CHANGED = 'changed'
ADDED = 'added'
"""What became of a message: gone, other bytes or another time, or one that was not there."""


class Touch(NamedTuple):
    """A message that a fault has touched; times in ns."""

    fault: str
    """Its name."""
    camera: str
    """Of the image; '' for other messages."""
    topic: str
    what: str
    """`REMOVED`, `CHANGED` or `ADDED`."""
    origin_ns: int
    """When the message that it comes from was recorded,"""
    time_ns: int
    """and when this one comes, or would have."""
    was_ns: int | None
    """Stamp before,"""
    stamp_ns: int | None
    """and after; None where there is none, or it cannot be read."""


Record = Callable[[Touch], None]


class Item(NamedTuple):
    """A message between two faults, and when the one it comes from was recorded."""

    message: Message
    origin_ns: int


class Span(NamedTuple):
    """The part of a bag that is wanted, by time of recording."""

    start_ns: int
    end_ns: int

    def covers(self, time_ns: int) -> bool:
        """Say whether a time is in it; its end is not."""
        return self.start_ns <= time_ns < self.end_ns


class Stage:
    """One fault at work on a stream of messages in the order of time."""

    def __init__(
        self,
        fault: Fault,
        targets: Mapping[str, Target],
        start_ns: int,
        span: Span,
        record: Record,
    ) -> None:
        """
        Begin.

        :param targets: topics that it may strike.
        :param start_ns: time of the bag's first message.
        :param record: is told of each message that is touched and comes to it in the span.
        """
        self._fault = fault
        self._targets = targets
        self._start_ns = start_ns
        self._span = span
        self._record = record
        self._memory = {topic: Memory() for topic in targets}

    def apply(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield what comes instead of messages, in the order of time."""
        waiting: list[tuple[int, int, Item]] = []
        turn = count()
        for item in items:
            for made in self._strike(item):
                entry = made.time_ns, next(turn), Item(made, item.origin_ns)
                heappush(waiting, entry)
            # nothing that is still to come is earlier than this
            while waiting and waiting[0][0] <= item.message.time_ns:
                yield heappop(waiting)[2]
        while waiting:
            yield heappop(waiting)[2]

    def reach_ns(self, time_ns: int) -> int:
        """Return from when on it must be given messages to say what comes at a time."""
        return self._fault.reach_ns(time_ns - self._start_ns) + self._start_ns

    def _strike(self, item: Item) -> Iterable[Message]:
        message = item.message
        target = self._targets.get(message.topic)
        if target is None or message.type not in target.types:
            return (message,)
        memory = self._memory[message.topic]
        since_ns = message.time_ns - self._start_ns
        begun_ns = self._fault.begun_ns(since_ns)
        if begun_ns is None or not self._fault.strikes(target.chance, since_ns):
            made = self._fault.spare(message, memory)
        else:
            made = self._fault.strike(message, Moment(since_ns, begun_ns), memory)
        if not made:
            self._tell(REMOVED, target, item, message)
        for index, out in enumerate(made):
            if out is not message:
                self._tell(ADDED if index else CHANGED, target, item, out)
        return made

    def _tell(self, what: str, target: Target, item: Item, made: Message) -> None:
        if self._span.covers(item.message.time_ns):
            self._record(Touch(
                self._fault.name, target.camera, made.topic, what, item.origin_ns, made.time_ns,
                *(
                    _stamp_ns(message) if message.type in target.stamped else None
                    for message in (item.message, made)
                ),
            ))


class Injector:
    """The faults of a plan, for one bag."""

    def __init__(
        self, plan: FaultPlan, bag: Bag, cameras: Mapping[str, str], known: Collection[str] = ()
    ) -> None:
        """
        Find what each fault strikes.

        :param cameras: image topic -> camera.
        :param known: further cameras, of which the bag has no images.
        :raises ConfigError: a fault names cameras or topics that are not there, or cannot be
            struck by its kind.
        """
        self._bag = bag
        self._faults = [
            (fault, targets_of(fault, bag, cameras, known)) for fault in plan.faults
        ]
        self.topics = frozenset(
            topic for _, targets in self._faults for topic, target in targets.items()
            if not target.is_beside
        )
        """Those that faults strike, without the CameraInfo beside the images of a camera."""

    def messages(
        self,
        topics: Collection[str] | None = None,
        start_ns: int | None = None,
        end_ns: int | None = None,
        record: Record = lambda touch: None,
    ) -> Iterator[Message]:
        """Yield what `Bag.messages` would of a bag with these faults.

        :param record: is told of each message that is touched on these topics; over several parts
            of a bag, of each once.
        :raises BagError: none of the topics is there.
        """
        span = Span(start_ns or 0, END_OF_TIME_NS if end_ns is None else end_ns)
        stages = [
            Stage(fault, targets, self._bag.start_ns, span, record)
            for fault, targets in self._faults
        ]
        from_ns = span.start_ns
        for stage in reversed(stages):
            from_ns = min(from_ns, stage.reach_ns(from_ns))
        messages = self._bag.messages(topics, max(from_ns, 0), end_ns)
        items: Iterator[Item] = (Item(message, message.time_ns) for message in messages)
        for stage in stages:
            items = stage.apply(items)
        yield from (item.message for item in items if span.covers(item.message.time_ns))


def _stamp_ns(message: Message) -> int | None:
    try:
        return read_header(message.data, message.type).stamp_ns
    except ImageError:
        return None
