"""A ROS 1 bag without its index: records gone through one by one.

Source of the layout: the description of the bag format 2.0 in the ROS 1 documentation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
import struct
from typing import NamedTuple

from perception_ros.bags.salvage.base import Index, Raw, Salvaged, Tell
from perception_ros.bags.salvage.file import File
from perception_ros.bags.salvage.pieces import COMPRESSIONS, decompressed
from perception_ros.bags.store import Channel, Definition
from perception_ros.core.errors import BagError

_MAGIC = b'#ROSBAG V2.0\n'
_MESSAGE, _HEADER, _CHUNK, _CHUNK_INFO, _CONNECTION = 2, 3, 5, 6, 7
_OPS = range(2, 8)
_LENGTH = struct.Struct('<I')
_MOST_HEADER_BYTES = 1 << 20
"""Names and definitions are far smaller: a longer header is none."""

Fields = Mapping[bytes, bytes]


class _Record(NamedTuple):
    op: int
    fields: Fields
    start: int
    end: int
    is_cut: bool


def scan_ros1(path: Path, tell: Tell) -> Salvaged:
    """Return what can be read of a ROS 1 bag."""
    scan = _Scan(path, tell)
    if not scan.channels and not scan.index.blocks:
        scan.close()
        raise BagError(
            f'{path}: expected a ROS 1 bag (format 2.0), found no topic and no message in its '
            f'{path.stat().st_size} bytes'
        )
    return Salvaged(
        scan.index, scan.channels, scan.messages, scan.close, tell,
        ', '.join(sorted(scan.compressions)),
    )


class _Scan:
    """One way through a file; afterwards it reads the chunks that it has found."""

    def __init__(self, path: Path, tell: Tell) -> None:
        self.index = Index()
        self.channels: dict[int, Channel] = {}
        self.compressions: set[str] = set()
        self._tell = tell
        self._file = File(path)
        self._go_through()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def messages(self, at: int) -> Iterator[Raw]:
        """Yield the messages of the chunk at a place that the scan has found."""
        return self._messages(at, lambda problem: None)

    def _go_through(self) -> None:
        view, at = self._file, len(_MAGIC)
        indexed = _indexed_chunks(view)
        while at < len(view):
            record = _record(view, at)
            if record is None or (record.is_cut and record.op != _CHUNK):
                following = next((offset for offset in indexed if offset > at), len(view))
                self._tell(f'{following - at} bytes from byte {at} on are no records; left out')
                at = following
                continue
            if record.is_cut:
                self._tell(f'the file ends within the chunk at byte {at}')
            if record.op == _CHUNK:
                self.index.add(at, self._messages(at, self._tell))
            elif record.op == _CONNECTION:
                self._describe(record.fields, view[record.start : record.end])
            at = record.end

    def _messages(self, at: int, tell: Tell) -> Iterator[Raw]:
        chunk = _record(self._file, at)
        if chunk is None:
            return
        inside, problem = self._open_chunk(chunk)
        if problem:
            tell(f'the chunk at byte {at} is damaged: {problem}')
        view, at = memoryview(inside), 0
        while (record := _record(view, at)) is not None and not record.is_cut:
            content = view[record.start : record.end]
            if record.op == _MESSAGE and len(record.fields.get(b'time', b'')) == 8:
                seconds, nanoseconds = struct.unpack('<II', record.fields[b'time'])
                number = _number(record.fields, b'conn')
                yield Raw(number, seconds * 1_000_000_000 + nanoseconds, bytes(content))
            elif record.op == _CONNECTION:
                self._describe(record.fields, content)
            at = record.end

    def _open_chunk(self, chunk: _Record) -> tuple[bytes | memoryview, str]:
        compression = chunk.fields.get(b'compression', b'none').decode('utf-8', 'replace')
        if compression not in COMPRESSIONS:
            return b'', f'it is compressed as {compression!r}, which is not known here'
        if compression != 'none':
            self.compressions.add(compression)
        data = self._file[chunk.start : chunk.end]
        return decompressed(data, compression, _number(chunk.fields, b'size'))

    def _describe(self, fields: Fields, content: memoryview) -> None:
        about = _fields(content)
        topic = fields.get(b'topic')
        if about is None or b'type' not in about or topic is None:
            self._tell('the description of a topic cannot be read; left out')
            return
        package, _, name = about[b'type'].decode('utf-8', 'replace').partition('/')
        text = about.get(b'message_definition', b'').decode('utf-8', 'replace')
        self.channels[_number(fields, b'conn')] = Channel(
            topic.decode('utf-8', 'replace'),
            f'{package}/msg/{name}',
            Definition('msg', text),
            'ros1',
            about.get(b'latching') == b'1',
        )


def _record(view: File | memoryview, at: int) -> _Record | None:
    """Return where the record at a place lies; None where no record can be."""
    length = _length(view, at)
    if length is None or length > _MOST_HEADER_BYTES:
        return None
    fields = _fields(view[at + 4 : at + 4 + length])
    size = _length(view, at + 4 + length)
    if fields is None or size is None or len(fields.get(b'op', b'')) != 1:
        return None
    op = fields[b'op'][0]
    if op not in _OPS:
        return None
    start = at + 8 + length
    return _Record(op, fields, start, min(start + size, len(view)), start + size > len(view))


def _length(view: File | memoryview, at: int) -> int | None:
    part = view[at : at + 4]
    return _LENGTH.unpack(part)[0] if len(part) == 4 else None


def _fields(content: memoryview) -> Fields | None:
    """Return the fields of a header, None where it is none."""
    found, at = {}, 0
    while at < len(content):
        length = _length(content, at)
        if length is None or at + 4 + length > len(content):
            return None
        name, equals, value = bytes(content[at + 4 : at + 4 + length]).partition(b'=')
        if not equals:
            return None
        found[name] = value
        at += 4 + length
    return found


def _number(fields: Fields, name: bytes) -> int:
    """Return a field of four or eight bytes, -1 where there is none."""
    value = fields.get(name, b'')
    return int.from_bytes(value, 'little') if len(value) in (4, 8) else -1


def _indexed_chunks(view: File) -> list[int]:
    """Return where the index says that chunks are: places to go on at behind a damaged one."""
    head = _record(view, len(_MAGIC))
    if head is None or head.op != _HEADER:
        return []
    found, at = [], _number(head.fields, b'index_pos')
    if at <= 0:
        return []
    found.append(at)
    while (record := _record(view, at)) is not None and not record.is_cut:
        if record.op == _CHUNK_INFO:
            found.append(_number(record.fields, b'chunk_pos'))
        at = record.end
    return sorted(found)
