"""What one file of a bag is to the rest: channels, and records in the order of time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Set
import heapq
from typing import NamedTuple, Protocol


class Definition(NamedTuple):
    """A message type as the bag describes it: `form` is 'msg', 'idl', or '' for not at all."""

    form: str = ''
    text: str = ''


class Channel(NamedTuple):
    """A topic with one type; a topic that changed its type has several."""

    topic: str
    type: str
    """ROS 2's way to write it, for ROS 1 too: 'sensor_msgs/msg/Image'."""
    definition: Definition
    encoding: str
    """'cdr' or 'ros1'; others are carried, but nothing is decoded."""
    is_latched: bool
    """Late subscribers get the last message: transient local, latching."""
    is_best_effort: bool = False
    """All its publishers were, as far as the file says."""


class Record(NamedTuple):
    """One message as it lies in the file; `time_ns` is when it was recorded."""

    time_ns: int
    channel: Channel
    data: bytes | memoryview


class Store(Protocol):
    """One file. What is damaged in it is said through the `tell` it was opened with."""

    counts: dict[Channel, int]
    """Messages of each channel, as the index says or a scan has found."""
    start_ns: int
    end_ns: int
    """Times of the first and the last message; 0 where there is none."""
    compression: str
    """Of the chunks inside, '' for none."""

    def records(self, topics: Set[str], start_ns: int, end_ns: int) -> Iterator[Record]:
        """Yield the messages of these topics with start <= time < end, in the order of time."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...


class Part(NamedTuple):
    """Records in the order of time, none before `start_ns`; opened when that time comes."""

    start_ns: int
    open: Callable[[], Iterable[Record]]


def in_time_order(parts: Iterable[Part]) -> Iterator[Record]:
    """Merge parts, of which only those are open whose time it is; equal times keep their order."""
    waiting = deque(sorted(parts, key=lambda part: part.start_ns))
    heap: list[tuple[int, int, Record, Iterator[Record]]] = []
    opened = 0
    while waiting or heap:
        while waiting and (not heap or waiting[0].start_ns <= heap[0][0]):
            records = iter(waiting.popleft().open())
            opened += 1
            if (first := next(records, None)) is not None:
                heapq.heappush(heap, (first.time_ns, opened, first, records))
        if not heap:
            continue
        _, number, record, records = heap[0]
        yield record
        if (following := next(records, None)) is None:
            heapq.heappop(heap)
        else:
            heapq.heapreplace(heap, (following.time_ns, number, following, records))
