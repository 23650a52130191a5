"""Files that are whole, read through the library `rosbags`."""

from __future__ import annotations

from collections.abc import Iterator, Set
from pathlib import Path
from typing import Any

from rosbags.interfaces import (
    Connection,
    ConnectionExtRosbag1,
    ConnectionExtRosbag2,
    MessageDefinitionFormat,
    QosDurability,
    QosReliability,
)
from rosbags.rosbag1 import Reader as Reader1
from rosbags.rosbag2 import Reader as Reader2

from perception_ros.bags.store import Channel, Definition, Record

_FORMS = {MessageDefinitionFormat.MSG: 'msg', MessageDefinitionFormat.IDL: 'idl'}


class LibraryStore:
    """A `Store` of a `.mcap`, `.db3` or `.bag` whose index is right.

    The library raises many kinds of errors where a file is damaged, Python's own among them.
    """

    def __init__(self, path: Path) -> None:
        self._reader: Any = Reader1(path) if path.suffix == '.bag' else Reader2(path)
        self._reader.open()
        self._channels = {
            connection.id: _channel(connection) for connection in self._reader.connections
        }
        self.counts = dict.fromkeys(self._channels.values(), 0)
        for connection in self._reader.connections:
            self.counts[self._channels[connection.id]] += connection.msgcount
        is_empty = not self._reader.message_count
        self.start_ns = 0 if is_empty else self._reader.start_time
        self.end_ns = 0 if is_empty else self._reader.end_time - 1
        self.compression = _compression(self._reader)

    def records(self, topics: Set[str], start_ns: int, end_ns: int) -> Iterator[Record]:
        """Yield as a `Store` does."""
        wanted = [item for item in self._reader.connections if item.topic in topics]
        if not wanted:  # for the library that means all
            return
        for connection, time_ns, data in self._reader.messages(wanted, start_ns, end_ns):
            yield Record(time_ns, self._channels[connection.id], data)

    def close(self) -> None:
        """Close the file."""
        self._reader.close()


def _channel(connection: Connection) -> Channel:
    definition = Definition(
        _FORMS.get(connection.msgdef.format, ''), connection.msgdef.data
    )
    is_best_effort = False
    match connection.ext:
        case ConnectionExtRosbag1(latching=latching):
            encoding, is_latched = 'ros1', bool(latching)
        case ConnectionExtRosbag2(encoding, profiles):
            is_latched = any(
                profile.durability == QosDurability.TRANSIENT_LOCAL for profile in profiles
            )
            is_best_effort = bool(profiles) and all(
                profile.reliability == QosReliability.BEST_EFFORT for profile in profiles
            )
    return Channel(
        connection.topic, connection.msgtype, definition, encoding, is_latched, is_best_effort
    )


def _compression(reader: Any) -> str:
    """Return how the chunks of a file are compressed, as far as the library says."""
    if isinstance(reader, Reader1):
        return ', '.join(sorted({
            chunk.decompressor.__module__.split('.')[0].strip('_')
            for chunk in reader.chunks.values()
            if chunk.decompressor.__module__ not in (None, 'rosbags.rosbag1.reader')
        }))
    chunks = getattr(reader.storage, 'chunks', [])
    return ', '.join(sorted({chunk.compression for chunk in chunks} - {''}))
