"""A bag of any kind, opened for reading, without a ROS installation.

    with open_bag(path) as bag:
        for message in bag.messages(['/front/image_raw']):
            ...
    for problem in bag.problems:
        ...

What is damaged costs only itself: the rest is read, and `problems` says in words what was left
out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from typing_extensions import Self

from perception_ros.bags.files import bag_files, unpacked
from perception_ros.bags.guard import open_store
from perception_ros.bags.salvage.pieces import unpack_message
from perception_ros.bags.store import Channel, Definition, in_time_order, Part, Record, Store
from perception_ros.bags.types import Types
from perception_ros.core.errors import BagError

END_OF_TIME_NS = 2**63 - 1
TF_STATIC = '/tf_static'


class Message(NamedTuple):
    """One message, its bytes as CDR whatever the bag has."""

    topic: str
    type: str
    """Such as 'sensor_msgs/msg/Image'."""
    time_ns: int
    """When it was recorded; its header has the sensor's time."""
    data: bytes | memoryview


@dataclass(frozen=True, slots=True)
class Topic:
    """What a bag says about a topic. `types` are several where another type came by its name."""

    name: str
    types: tuple[str, ...]
    count: int
    """Messages, as the index says."""
    is_latched: bool
    """Late subscribers get the last message."""
    definitions: Mapping[str, Definition]
    is_best_effort: bool = False
    """It was published so, as far as the bag says."""


class Bag:
    """An open bag; `open_bag` opens one."""

    def __init__(self, path: Path) -> None:
        """
        Open all files of it.

        :raises BagError: none of them holds anything that can be read.
        """
        self.path = path
        self.problems: list[str] = []
        """What is damaged, as far as it has been noticed: iteration finds more."""
        self.types = Types()
        self._exit = ExitStack()
        self._stores: list[Store] = []
        self._spoilt: Counter[str] = Counter()
        try:
            self._open(bag_files(path, self.note))
        except BaseException:
            self._exit.close()
            raise
        self.topics = _topics(self._stores)
        filled = [store for store in self._stores if any(store.counts.values())]
        self.start_ns = min((store.start_ns for store in filled), default=0)
        self.end_ns = max((store.end_ns for store in filled), default=0)
        """Time of the last message; both are 0 where there is none."""
        self.compression = ', '.join(sorted(
            {store.compression for store in self._stores} - {''}
            | {path.suffix.lstrip('.') for path in self.files if path.suffix == '.zstd'}
        ))
        if not filled:
            self.note(f'{path.name} holds no messages')

    def messages(
        self,
        topics: Collection[str] | None = None,
        start_ns: int | None = None,
        end_ns: int | None = None,
    ) -> Iterator[Message]:
        """Yield messages in the order in which they were recorded, a few of them in memory.

        :param topics: names; all topics where it is None. One that is not there is a problem.
        :param start_ns: yield what was recorded at or after this time,
        :param end_ns: and before this one.
        :raises BagError: none of the topics is there.
        """
        wanted = self._wanted(topics)
        start_ns = 0 if start_ns is None else start_ns
        end_ns = END_OF_TIME_NS if end_ns is None else end_ns
        spoilt_before = Counter(self._spoilt)
        parts = [
            Part(store.start_ns, lambda store=store: store.records(  # type: ignore[misc]
                wanted, start_ns, end_ns
            ))
            for store in self._stores
            if any(store.counts.values())
        ]
        for record in in_time_order(parts):
            if (data := self._cdr(record)) is not None:
                channel = record.channel
                yield Message(channel.topic, channel.type, record.time_ns, data)
        for topic, count in (self._spoilt - spoilt_before).items():
            if count > 1:
                self.note(f'{topic}: {count} messages were left out')

    def decode(self, message: Message) -> Any:
        """Return a message as an object with the fields of its type.

        :raises BagError: its bytes are not of that type, or nothing is known of the type.
        """
        return self.types.decode(message.type, message.data)

    def note(self, problem: str) -> None:
        """Note what is damaged; a problem is told of once."""
        if problem not in self.problems:
            self.problems.append(problem)

    def spoil(self, topic: str, problem: str) -> None:
        """Note that a message cannot be used; the first of each topic is told of."""
        self._spoilt[topic] += 1
        if self._spoilt[topic] == 1:
            self.note(f'{topic}: {problem}')

    def close(self) -> None:
        """Close all files."""
        self._exit.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _open(self, files: list[Path]) -> None:
        self.files = files
        refused = []
        for path in self._exit.enter_context(unpacked(files, self.note)):
            try:
                store = open_store(path, self.note)
            except BagError as error:
                refused.append(str(error))
                continue
            self._exit.callback(store.close)
            self._stores.append(store)
        if not self._stores:
            raise BagError('; '.join(refused))
        for problem in refused:
            self.note(problem)
        for store in self._stores:
            for channel in store.counts:
                try:
                    self.types.describe(channel.type, channel.definition)
                except BagError as error:
                    self.note(f'{channel.topic}: {error}')

    def _wanted(self, topics: Collection[str] | None) -> frozenset[str]:
        if topics is None:
            return frozenset(self.topics)
        missing = sorted(set(topics) - set(self.topics))
        if missing and len(missing) == len(set(topics)):
            raise BagError(
                f'{self.path} has no topic {", ".join(missing)}; expected one of '
                f'{", ".join(self.topics) or "none, for it has no topics"}'
            )
        for name in missing:
            self.note(f'there is no topic {name}')
        return frozenset(topics)

    def _cdr(self, record: Record) -> bytes | memoryview | None:
        channel = record.channel
        try:
            data = unpack_message(record.data)
            if channel.encoding == 'ros1':
                return self.types.from_ros1(channel.type, data)
            if channel.encoding != 'cdr':
                raise BagError(f'is written as {channel.encoding!r}, expected cdr')
        except (BagError, ValueError) as error:
            self.spoil(channel.topic, f'a message at {record.time_ns / 1e9:.3f} s: {error}')
            return None
        return data


def open_bag(path: Path) -> Bag:
    """Open a `.mcap`, `.db3` or `.bag`, one of them in zstd, or a folder of such files.

    :raises BagError: there is none, or nothing in it can be read.
    """
    try:
        return Bag(path)
    except OSError as error:
        raise BagError(f'{path}: cannot be read; {error.strerror}') from error


def _topics(stores: list[Store]) -> dict[str, Topic]:
    counts: Counter[Channel] = Counter()
    for store in stores:
        for channel, count in store.counts.items():
            counts[channel] += count
    names = sorted({channel.topic for channel in counts})
    topics = {}
    for name in names:
        channels = [channel for channel in counts if channel.topic == name]
        topics[name] = Topic(
            name,
            tuple(dict.fromkeys(channel.type for channel in channels)),
            sum(counts[channel] for channel in channels),
            name == TF_STATIC or any(channel.is_latched for channel in channels),
            {channel.type: channel.definition for channel in channels},
            all(channel.is_best_effort for channel in channels),
        )
    return topics
