"""A file whose readable places have been found by a scan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from operator import attrgetter
from typing import Any, NamedTuple

from perception_ros.bags.store import Channel, in_time_order, Part, Record

Tell = Callable[[str], None]


class Raw(NamedTuple):
    """A message with the number that its channel has in the file."""

    channel: int
    time_ns: int
    data: bytes | memoryview


class Block(NamedTuple):
    """Messages that lie together and are read at once; `place` is what the format needs for it."""

    start_ns: int
    end_ns: int
    place: Any


class Index:
    """Gathers what a scan finds."""

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self._counts: Counter[int] = Counter()

    def add(self, place: Any, messages: Iterable[Raw]) -> int:
        """Note a block by the messages in it, and return how many these are."""
        times = []
        for message in messages:
            times.append(message.time_ns)
            self._counts[message.channel] += 1
        if times:
            self.blocks.append(Block(min(times), max(times), place))
        return len(times)

    def counts(self, channels: Mapping[int, Channel], tell: Tell) -> dict[Channel, int]:
        """Return the messages of each channel; those of unknown channels are told of."""
        if lost := sum(n for number, n in self._counts.items() if number not in channels):
            tell(f'{lost} messages are left out, nothing says any more of which topic they are')
        counts = dict.fromkeys(channels.values(), 0)
        for number, channel in channels.items():
            counts[channel] += self._counts[number]
        return counts


class Salvaged:
    """A `Store` of blocks; one block at a time is in memory where they do not overlap."""

    def __init__(
        self,
        index: Index,
        channels: Mapping[int, Channel],
        read: Callable[[Any], Iterable[Raw]],
        close: Callable[[], None],
        tell: Tell,
        compression: str = '',
    ) -> None:
        """
        Take what a scan has found.

        :param read: returns the messages at a block's place.
        """
        self.counts = index.counts(channels, tell)
        self.start_ns = min((block.start_ns for block in index.blocks), default=0)
        self.end_ns = max((block.end_ns for block in index.blocks), default=0)
        self.compression = compression
        self.close = close
        self._blocks = index.blocks
        self._channels = dict(channels)
        self._read = read

    def records(self, topics: Set[str], start_ns: int, end_ns: int) -> Iterator[Record]:
        """Yield as a `Store` does."""

        def records(place: Any) -> list[Record]:
            found = [
                Record(message.time_ns, channel, message.data)
                for message in self._read(place)
                if start_ns <= message.time_ns < end_ns
                and (channel := self._channels.get(message.channel)) is not None
                and channel.topic in topics
            ]
            return sorted(found, key=attrgetter('time_ns'))

        return in_time_order(
            Part(block.start_ns, lambda place=block.place: records(place))  # type: ignore[misc]
            for block in self._blocks
            if block.end_ns >= start_ns and block.start_ns < end_ns
        )
