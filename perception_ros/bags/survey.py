"""What is in a bag and what is wrong with it, by going through all of it once."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from perception_ros.bags.bag import Bag, Message, Topic
from perception_ros.bags.frames import IMAGE_TYPES
from perception_ros.bags.messages import IMAGE
from perception_ros.core.errors import ImageError
from perception_ros.ros.cdr import read_compressed_image, read_header, read_image

_GAP = 2.5
"""Times the usual interval: at least one message is missing."""
_LEAST_FOR_GAPS = 5
_JUMP_NS = 500_000_000
"""A stamp that moves so much more, or less, than the time of recording: a clock was set."""


@dataclass(frozen=True, slots=True)
class TopicSurvey:
    """One topic, as it was read; times in seconds, and since the bag's first message."""

    name: str
    types: tuple[str, ...]
    count: int
    bytes: int
    is_latched: bool
    content: str
    """Of images encoding and size, as the first one has them."""
    frame_ids: tuple[str, ...]
    """That headers name, in the order in which they come; none where messages have no header."""
    rate_hz: float | None
    """None for fewer than two messages."""
    gaps: int
    """Intervals of more than 2.5 times the usual one."""
    longest_gap_s: float
    longest_gap_at_s: float
    zero_stamps: int
    repeated_stamps: int
    backward_stamps: int
    jumps: int
    """Stamps that move 0.5 s more, or less, than the time of recording, and do not go back."""
    stamp_delay_s: tuple[float, float] | None
    """Least and greatest time from stamp to recording; None where messages have no stamp."""

    def as_json(self) -> dict[str, Any]:
        """Return all of it, ready for JSON."""
        return {name: getattr(self, name) for name in self.__slots__}

    @property
    def remarks(self) -> tuple[str, ...]:
        """Say in words what is not as it should be."""
        said = []
        if len(self.types) > 1:
            said.append(f'{len(self.types)} types under one name')
        if self.gaps:
            said.append(
                f'{_times(self.gaps, "gap")}, the longest of {self.longest_gap_s:.2f} s at '
                f'{self.longest_gap_at_s:.2f} s'
            )
        if self.zero_stamps:
            said.append(f'{_times(self.zero_stamps, "stamp")} of 0')
        if self.backward_stamps:
            said.append(f'{_times(self.backward_stamps, "stamp")} older than the one before')
        if self.repeated_stamps:
            said.append(f'{_times(self.repeated_stamps, "stamp")} as the one before')
        if self.jumps:
            said.append(f'{_times(self.jumps, "stamp")} after a jump of the clock')
        return tuple(said)


def survey(
    bag: Bag, track: Callable[[Iterable[Message]], Iterable[Message]] = iter
) -> list[TopicSurvey]:
    """Read a whole bag and return what is on each topic, by name.

    Where a bag is damaged, more or fewer are read than its index says: `bag.problems` has it.

    :param track: what the messages are drawn through, such as a progress bar.
    """
    watches = {name: _Watch(bag, topic) for name, topic in bag.topics.items()}
    for message in track(bag.messages()):
        watches[message.topic].see(message)
    found = [watch.result(bag.start_ns) for watch in watches.values()]
    for item in found:
        said = bag.topics[item.name].count
        if said != item.count:
            bag.note(f'{item.name}: the index says {said} messages, {item.count} could be read')
    return found


@dataclass(slots=True)
class _Watch:
    """Gathers what is seen of one topic: two numbers for each message."""

    bag: Bag
    topic: Topic
    times_ns: array[int] = field(default_factory=lambda: array('q'))
    stamps_ns: array[int] = field(default_factory=lambda: array('q'))
    bytes: int = 0
    content: str = ''
    frame_ids: dict[str, None] = field(default_factory=dict)
    """A set that keeps its order."""

    def see(self, message: Message) -> None:
        self.times_ns.append(message.time_ns)
        self.bytes += len(message.data)
        if not self.bag.types.starts_with_header(message.type):
            return
        try:
            header = read_header(message.data, message.type)
            self.stamps_ns.append(header.stamp_ns)
            self.frame_ids[header.frame_id] = None
            if message.type in IMAGE_TYPES and not self.content:
                self.content = _content(message)
        except ImageError as error:
            self.stamps_ns.append(message.time_ns)
            self.bag.spoil(self.topic.name, f'at {message.time_ns / 1e9:.3f} s: {error}')

    def result(self, start_ns: int) -> TopicSurvey:
        times = np.frombuffer(self.times_ns, np.int64)
        steps = np.diff(times)
        gaps, longest = 0, 0
        if len(times) >= _LEAST_FOR_GAPS:
            gaps = int((steps > _GAP * max(float(np.median(steps)), 1.0)).sum())
            longest = int(steps.argmax())
        spread_ns = int(times[-1] - times[0]) if len(times) else 0
        stamps = np.frombuffer(self.stamps_ns, np.int64)
        whole = len(stamps) == len(times) > 0
        known = (stamps[:-1] > 0) & (stamps[1:] > 0)
        moved = np.diff(stamps)[known]
        jumped = (np.abs(moved - steps[known]) > _JUMP_NS) if whole else moved < 0
        delays = (times - stamps)[stamps > 0] if whole else np.zeros(0)
        return TopicSurvey(
            name=self.topic.name,
            types=self.topic.types,
            count=len(times),
            bytes=self.bytes,
            is_latched=self.topic.is_latched,
            content=self.content,
            frame_ids=tuple(self.frame_ids),
            rate_hz=(len(times) - 1) * 1e9 / spread_ns if spread_ns else None,
            gaps=gaps,
            longest_gap_s=int(steps[longest]) / 1e9 if gaps else 0.0,
            longest_gap_at_s=(int(times[longest]) - start_ns) / 1e9 if gaps else 0.0,
            zero_stamps=int((stamps == 0).sum()),
            repeated_stamps=int((moved == 0).sum()),
            backward_stamps=int((moved < 0).sum()),
            jumps=int((jumped & (moved > 0)).sum()),
            stamp_delay_s=(float(delays.min()) / 1e9, float(delays.max()) / 1e9)
            if len(delays) else None,
        )


def _content(message: Message) -> str:
    read = read_image if message.type == IMAGE else read_compressed_image
    image = read(message.data).image
    return f'{image.encoding} {image.width}x{image.height}'


def _times(count: int, what: str) -> str:
    return f'{count} {what}{"" if count == 1 else "s"}'
