"""A SQLite bag that is damaged, read row by row past the pages that are gone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
import struct
from typing import NamedTuple

import apsw

from perception_ros.bags.qos import is_latched
from perception_ros.bags.salvage.base import Index, Raw, Salvaged, Tell
from perception_ros.bags.store import Channel, Definition
from perception_ros.core.errors import BagError

_ROWS = 64
_BYTES = 4 << 20
"""A block has so many rows, or a row more than so many bytes."""
_WHOLE_PAGES = 'bags_whole_pages'
_LARGEST_PAGE = 1 << 16
"""Bytes; written as 1."""
_FORMS = {'ros2msg': 'msg', 'ros2idl': 'idl'}


_kept: list[apsw.VFS] = []
"""SQLite knows it by its name, which holds only as long as it lives."""

_Row = tuple[int, int, int, bytes]
"""Number, topic, time, message."""


class _Place(NamedTuple):
    """Rows with numbers from `first` to `last`."""

    first: int
    last: int


def missing_rows(path: Path) -> str:
    """Return why SQLite alone would lose messages or change them, '' where it would not.

    :raises OSError: the file cannot be read.
    """
    if log := _log(path):
        return f'it was not closed: its newest messages lie in {log} beside it'
    size, wanted = path.stat().st_size, _size(path)
    if size < wanted:
        return f'it was cut off: {wanted - size} of {wanted} bytes are missing'
    return ''


def scan_db3(path: Path, tell: Tell) -> Salvaged:
    """Return what can be read of a SQLite bag."""
    try:
        connection = _connect(path)
    except apsw.Error as error:
        raise BagError(f'{path}: expected a SQLite bag; {error}') from error
    try:
        # else a file that is shorter than it says is not read at all
        connection.execute('PRAGMA writable_schema = ON')
        channels = _channels(connection)
    except (apsw.Error, UnicodeDecodeError) as error:
        connection.close()
        raise BagError(
            f'{path}: expected a SQLite bag, none of its topics can be read: {error}'
        ) from error
    index, first = Index(), 0
    skipped = 0
    while not (read := _read(connection, first, _ROWS)).is_over:
        if read.rows:
            place = _Place(read.rows[0][0], read.rows[-1][0])
            index.add(place, (Raw(*row[1:]) for row in read.rows))
        first = read.following
        if read.is_broken:
            following = _behind(connection, first)
            if following is None:
                tell(f'the rows of messages from number {first} on cannot be read; left out')
                break
            skipped += following - first
            first = following
    if skipped:
        tell(f'{skipped} rows of messages, or fewer, cannot be read; left out')

    def messages(place: _Place) -> Iterator[Raw]:
        found = _read(connection, place.first, place.last - place.first + 1).rows
        return (Raw(*row[1:]) for row in found if row[0] <= place.last)

    return Salvaged(index, channels, messages, connection.close, tell)


def _log(path: Path) -> str:
    """Return the name of the log that SQLite has left beside a file, '' where there is none."""
    log = path.with_name(f'{path.name}-wal')
    return log.name if log.is_file() and log.stat().st_size else ''


def _header(path: Path) -> tuple[int, int]:
    """Return the size of a page and their number, 0 where the file does not say it.

    Source: "Database File Format" of SQLite, 1.3.
    """
    with path.open('rb') as stream:
        head = stream.read(100)
    if len(head) < 100 or head[24:28] != head[92:96]:  # the number is of an older version
        return 0, 0
    size, pages = struct.unpack_from('>H', head, 16)[0], struct.unpack_from('>I', head, 28)[0]
    return (_LARGEST_PAGE if size == 1 else size), pages


def _size(path: Path) -> int:
    size, pages = _header(path)
    return size * pages


class _WholePages(apsw.VFS):
    """Files as far as their pages are whole.

    SQLite fills a page that was cut off with zeros, and the messages on it would change.
    """

    def __init__(self) -> None:
        super().__init__(_WHOLE_PAGES, '')

    def xOpen(  # noqa: N802 - SQLite's name
        self, name: str | apsw.URIFilename | None, flags: list[int]
    ) -> apsw.VFSFile:
        return _WholePagesFile('', name, flags)


class _WholePagesFile(apsw.VFSFile):

    def xFileSize(self) -> int:  # noqa: N802
        size = super().xFileSize()
        page = int.from_bytes(self.xRead(2, 16), 'big')
        return size - size % (_LARGEST_PAGE if page == 1 else max(page, 1))


def _connect(path: Path) -> apsw.Connection:
    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
    name = str(path.resolve()).replace('%', '%25').replace('?', '%3f').replace('#', '%23')
    if _log(path):  # which is for SQLite alone to read
        return apsw.Connection(f'file:{name}?mode=ro', flags=flags)
    if _WHOLE_PAGES not in apsw.vfs_names():
        _kept.append(_WholePages())
    return apsw.Connection(f'file:{name}?immutable=1', flags=flags, vfs=_WHOLE_PAGES)


class _Read(NamedTuple):
    """Some rows, and how it goes on."""

    rows: list[_Row]
    following: int
    """Number from which on nothing has been looked at."""
    is_broken: bool
    """The row there cannot be read."""
    is_over: bool
    """There was none."""


def _read(connection: apsw.Connection, first: int, count: int) -> _Read:
    """Read rows from a number on: so many, or fewer large ones."""
    rows: list[_Row] = []
    following, size, is_over = first, 0, True
    try:
        for number, topic, time_ns, data in connection.execute(
            'SELECT id, topic_id, timestamp, data FROM messages NOT INDEXED WHERE id >= ? '
            'ORDER BY id LIMIT ?', (first, count),
        ):
            following, is_over = number + 1, False
            if isinstance(data, bytes) and isinstance(time_ns, int) and isinstance(topic, int):
                rows.append((number, topic, time_ns, data))
                size += len(data)
                if size > _BYTES:
                    break
    except (apsw.Error, UnicodeDecodeError, OverflowError):
        return _Read(rows, following, is_broken=True, is_over=False)
    return _Read(rows, following, is_broken=False, is_over=is_over)


def _behind(connection: apsw.Connection, first: int) -> int | None:
    """Return the number of a row behind a damaged place, None where none can be read."""
    step = 1
    while step < 1 << 40:
        read = _read(connection, first + step, 1)
        if read.is_over:
            return None
        if not read.is_broken:
            return _nearest(connection, first + step // 2, read.following - 1)
        step *= 2
    return None


def _nearest(connection: apsw.Connection, low: int, high: int) -> int:
    """Return the first readable row between one that is not and one that is, by halving."""
    while high - low > 1:
        middle = (low + high) // 2
        if _read(connection, middle, 1).is_broken:
            low = middle
        else:
            high = middle
    return high


def _channels(connection: apsw.Connection) -> dict[int, Channel]:
    columns = {row[1] for row in connection.execute('PRAGMA table_info(topics)')}
    if not columns:
        raise apsw.SQLError('there is no table of topics')
    definitions = {}
    try:
        for name, form, text in connection.execute(
            'SELECT topic_type, encoding, encoded_message_definition FROM message_definitions'
        ):
            definitions[name] = Definition(_FORMS.get(form, ''), text)
    except (apsw.Error, UnicodeDecodeError):
        pass  # older bags have no such table
    qos = 'offered_qos_profiles' if 'offered_qos_profiles' in columns else "''"
    return {
        number: Channel(
            topic, name, definitions.get(name, Definition()), encoding, is_latched(profiles)
        )
        for number, topic, name, encoding, profiles in connection.execute(
            f'SELECT id, name, type, serialization_format, {qos} FROM topics'
        )
    }
