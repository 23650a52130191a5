"""MCAP without its index: records gone through one by one, chunks opened as far as they are whole.

Source of the layout: the MCAP specification, version 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
import struct
from typing import NamedTuple
import zlib

from perception_ros.bags.qos import is_latched
from perception_ros.bags.salvage.base import Index, Raw, Salvaged, Tell
from perception_ros.bags.salvage.file import File
from perception_ros.bags.salvage.pieces import COMPRESSIONS, decompressed
from perception_ros.bags.store import Channel, Definition
from perception_ros.core.errors import BagError

MAGIC = b'\x89MCAP0\r\n'
_FOOTER, _SCHEMA, _CHANNEL, _MESSAGE, _CHUNK, _CHUNK_INDEX = 0x02, 0x03, 0x04, 0x05, 0x06, 0x08
_DATA_END = 0x0F
_FIRST_PRIVATE = 0x80
_HEAD = struct.Struct('<BQ')
_MESSAGE_HEAD = struct.Struct('<HIQQ')
_CHUNK_HEAD = struct.Struct('<QQQI')
_END_BYTES = _HEAD.size + 20 + len(MAGIC)
"""Of the footer and what stands behind it."""
_FORMS = {'ros2msg': 'msg', 'ros1msg': 'msg', 'ros2idl': 'idl', 'omgidl': 'idl'}
_RUN_BYTES = 4 << 20
"""Messages outside of chunks are read in runs of about so many bytes."""


class _Chunk(NamedTuple):
    start_ns: int
    end_ns: int
    size: int
    crc: int
    compression: str
    data: memoryview


class _Place(NamedTuple):
    """Records from `at` to `end` in the file: one chunk, or messages outside of chunks."""

    at: int
    end: int


class Outline(NamedTuple):
    """What the heads of a file's records say."""

    contradiction: str = ''
    """Where the file contradicts its own index."""
    has_index: bool = True
    """Whether there is one, or no need of one. Writers of streams make none."""


def outline(path: Path) -> Outline:
    """Compare a file with its index, without reading what is in its chunks.

    Readers believe the index: a chunk that it lacks or misplaces would be lost without a word.

    :raises OSError: the file cannot be read.
    """
    with File(path) as view:
        if bytes(view[:8]) != MAGIC:
            return Outline('it does not start as an MCAP file does')
        if bytes(view[-8:]) != MAGIC:
            return Outline('it has no end: it was cut off, or never closed')
        chunks, indexed, last = set(), set(), 0
        messages = 0
        at = len(MAGIC)
        while at < len(view) - len(MAGIC):
            record = _record(view, at)
            if record is None or record.is_cut:
                return Outline(f'there is no record at byte {at}')
            last = record.op
            start = view[record.start : min(record.start + 32, record.end)]
            if last == _CHUNK and len(start) == 32:
                start_ns, end_ns = struct.unpack_from('<2Q', start)
                chunks.add((at, record.end - at, start_ns, end_ns))
            elif last == _CHUNK_INDEX and len(start) == 32:
                start_ns, end_ns, offset, length = struct.unpack('<4Q', start)
                indexed.add((offset, length, start_ns, end_ns))
            messages += last == _MESSAGE
            at = record.end
        if last != _FOOTER:
            return Outline('it has no footer')
        if indexed and indexed != chunks:
            return Outline(
                f'its index lists {len(indexed)} chunks, {len(indexed & chunks)} of which are '
                f'among the {len(chunks)} that are there'
            )
    return Outline(has_index=bool(indexed) or not (chunks or messages))


def scan_mcap(path: Path, tell: Tell) -> Salvaged:
    """Return what can be read of an MCAP file."""
    scan = _Scan(path, tell)
    channels = scan.channels()
    if not channels and not scan.index.blocks:
        scan.close()
        raise BagError(
            f'{path}: expected an MCAP file, found no topic and no message in its '
            f'{path.stat().st_size} bytes'
        )
    return Salvaged(
        scan.index, channels, scan.messages, scan.close, tell, ', '.join(sorted(scan.compressions))
    )


class _Record(NamedTuple):
    """Where a record's content lies."""

    op: int
    start: int
    end: int
    is_cut: bool
    """The file ends before the record does."""


class _Scan:
    """One way through a file; afterwards it reads the places that it has found."""

    def __init__(self, path: Path, tell: Tell) -> None:
        self.index = Index()
        self.compressions: set[str] = set()
        self._tell = tell
        self._schemas: dict[int, tuple[str, str, bytes]] = {}
        self._channels: dict[int, tuple[int, str, str, bytes]] = {}
        self._file = File(path)
        self._go_through()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def channels(self) -> dict[int, Channel]:
        """Return the channels by number."""
        found = {}
        for number, (schema, topic, encoding, metadata) in self._channels.items():
            name, form, text = self._schemas.get(schema, ('', '', b''))
            definition = Definition(_FORMS.get(form, ''), text.decode('utf-8', 'replace'))
            if encoding == 'ros1':
                name = name.replace('/', '/msg/') if name.count('/') == 1 else name
            found[number] = Channel(topic, name, definition, encoding, _latched(metadata))
        return found

    def messages(self, place: _Place) -> Iterator[Raw]:
        """Yield the messages at a place that the scan has found."""
        return self._messages(place, lambda problem: None)

    def _go_through(self) -> None:
        view, at, run = self._file, len(MAGIC), None
        indexed = _indexed_chunks(view)
        while at < len(view):
            record = _record(view, at)
            if record is None or (record.is_cut and record.op not in (_CHUNK, _MESSAGE)):
                self._end_run(run, at)
                run = None
                if bytes(view[at:]) == MAGIC:
                    return
                following = next((offset for offset in indexed if offset > at), len(view))
                self._tell(f'{following - at} bytes from byte {at} on are no records; left out')
                at = following
                continue
            if record.op == _MESSAGE and not record.is_cut:
                run = at if run is None else run
                if record.end - run > _RUN_BYTES:
                    self._end_run(run, record.end)
                    run = None
            else:
                self._end_run(run, at)
                run = None
            if record.is_cut:
                kind = 'chunk' if record.op == _CHUNK else 'message'
                self._tell(f'the file ends within the {kind} at byte {at}')
            if record.op == _CHUNK:
                place = _Place(at, record.end)
                self.index.add(place, self._messages(place, self._tell))
            elif record.op in (_SCHEMA, _CHANNEL):
                self._describe(view[record.start : record.end], record.op)
            at = record.end
        self._end_run(run, at)

    def _end_run(self, run: int | None, end: int) -> None:
        """Note the messages that lie outside of chunks from `run` to `end`, if there are any."""
        if run is not None:
            place = _Place(run, end)
            self.index.add(place, self._messages(place, self._tell))

    def _messages(self, place: _Place, tell: Tell) -> Iterator[Raw]:
        data = self._file[place.at : place.end]
        record = _record(data, 0)
        if record is not None and record.op == _CHUNK:
            inside, problem = self._open_chunk(data[record.start :])
            if problem:
                tell(f'the chunk at byte {place.at} is damaged: {problem}')
            data = memoryview(inside)
        at = 0
        while (record := _record(data, at)) is not None and not record.is_cut:
            content = data[record.start : record.end]
            if record.op == _MESSAGE and len(content) >= _MESSAGE_HEAD.size:
                channel, _, time_ns, _ = _MESSAGE_HEAD.unpack_from(content)
                # a copy: a view would keep the whole chunk in memory
                yield Raw(channel, time_ns, bytes(content[_MESSAGE_HEAD.size :]))
            elif record.op in (_SCHEMA, _CHANNEL):
                self._describe(content, record.op)
            at = record.end

    def _open_chunk(self, content: memoryview) -> tuple[bytes | memoryview, str]:
        chunk = _chunk(content)
        if chunk is None:
            return b'', 'its head is not whole'
        if chunk.compression not in COMPRESSIONS:
            return b'', f'it is compressed as {chunk.compression!r}, which is not known here'
        if chunk.compression:
            self.compressions.add(chunk.compression)
        inside, problem = decompressed(chunk.data, chunk.compression, chunk.size)
        if not problem and chunk.crc and zlib.crc32(inside) != chunk.crc:
            problem = 'its checksum differs; some message in it has changed'
        return inside, problem

    def _describe(self, content: memoryview, op: int) -> None:
        fields = _Fields(content)
        try:
            number = fields.uint16()
            if op == _CHANNEL:
                schema = fields.uint16()
                topic, encoding = fields.string(), fields.string()
                self._channels[number] = (schema, topic, encoding, bytes(fields.block()))
            else:
                name, form = fields.string(), fields.string()
                self._schemas[number] = (name, form, bytes(fields.block()))
        except (struct.error, ValueError):
            self._tell('the description of a topic cannot be read; left out')


class _Fields:
    """The fields of a record, one after the other.

    :raises ValueError: the record ends too early, or a string is no text.
    :raises struct.error: as ValueError.
    """

    def __init__(self, content: memoryview) -> None:
        self._content, self._at = content, 0

    def uint16(self) -> int:
        self._at += 2
        value: int = struct.unpack_from('<H', self._content, self._at - 2)[0]
        return value

    def block(self) -> memoryview:
        (length,) = struct.unpack_from('<I', self._content, self._at)
        start = self._at + 4
        self._at = start + length
        if self._at > len(self._content):
            raise ValueError('the record ends within a field')
        return self._content[start : self._at]

    def string(self) -> str:
        return str(self.block(), 'utf-8')


def _record(view: File | memoryview, at: int) -> _Record | None:
    """Return where the record at a place lies; None where no record can be."""
    head = view[at : at + _HEAD.size]
    if len(head) < _HEAD.size:
        return None
    op, length = _HEAD.unpack(head)
    if not 1 <= op <= _DATA_END and op < _FIRST_PRIVATE:
        return None
    start = at + _HEAD.size
    end = start + length
    return _Record(op, start, min(end, len(view)), end > len(view))


def _chunk(content: memoryview) -> _Chunk | None:
    if len(content) < _CHUNK_HEAD.size:
        return None
    start_ns, end_ns, size, crc = _CHUNK_HEAD.unpack_from(content)
    fields = _Fields(content[_CHUNK_HEAD.size :])
    try:
        compression = fields.string()
        at = _CHUNK_HEAD.size + 4 + len(compression.encode())
        (length,) = struct.unpack_from('<Q', content, at)
    except (struct.error, ValueError):
        return None
    return _Chunk(start_ns, end_ns, size, crc, compression, content[at + 8 : at + 8 + length])


def _indexed_chunks(view: File) -> list[int]:
    """Return where the index says that chunks are: places to go on at behind a damaged one."""
    at = len(view) - _END_BYTES
    if at < 0 or bytes(view[-8:]) != MAGIC:
        return []
    footer = _record(view, at)
    if footer is None or footer.op != _FOOTER:
        return []
    found = [at]
    (at,) = struct.unpack('<Q', view[footer.start : footer.start + 8])
    while at and (record := _record(view, at)) is not None and record.op != _FOOTER:
        if record.op == _CHUNK_INDEX and record.end - record.start >= 24:
            place = view[record.start + 16 : record.start + 24]
            found.append(struct.unpack('<Q', place)[0])
        at = record.end
    return sorted(found)


def _latched(metadata: bytes) -> bool:
    """Return whether the publisher's QoS, in a channel's metadata, is transient local."""
    fields = _Fields(memoryview(metadata))
    try:
        while True:
            if fields.string() == 'offered_qos_profiles':
                return is_latched(fields.string())
            fields.block()
    except (struct.error, ValueError):
        return False  # there is none
