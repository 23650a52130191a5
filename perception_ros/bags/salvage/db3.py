"""A SQLite bag that is damaged, read row by row past the pages that are gone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
import sqlite3
import struct
from typing import NamedTuple

from perception_ros.bags.qos import is_latched
from perception_ros.bags.salvage.base import Index, Raw, Salvaged, Tell
from perception_ros.bags.store import Channel, Definition
from perception_ros.core.errors import BagError

_ROWS = 64
"""Read at once; a block has so many."""
_OVERFLOW_HEAD = 4
"""Bytes of a page of a long message that name the next one."""
_FORMS = {'ros2msg': 'msg', 'ros2idl': 'idl'}


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
    # With its log beside it SQLite must be let to it; without, it shall write nothing there.
    mode = 'mode=ro' if _log(path) else 'mode=ro&immutable=1'
    name = str(path.resolve()).replace('?', '%3f').replace('#', '%23')
    connection = sqlite3.connect(f'file:{name}?{mode}', uri=True, check_same_thread=False)
    try:
        # else a file that is shorter than it says is not read at all
        connection.execute('PRAGMA writable_schema = ON')
        channels = _channels(connection)
    except sqlite3.Error as error:
        connection.close()
        raise BagError(
            f'{path}: expected a SQLite bag, none of its topics can be read: {error}'
        ) from error
    index, first = Index(), 0
    torn = _torn_page(path)
    skipped = 0

    def raw(rows: list[_Row]) -> Iterator[Raw]:
        # SQLite fills a page that was cut off with zeros, and says nothing
        return (
            Raw(*row[1:]) for row in rows
            if not torn or not row[-1].rstrip(b'\0').endswith(torn)
        )

    while True:
        rows, first_missing, is_over = _rows(connection, first, _ROWS)
        if rows:
            skipped += len(rows) - index.add(_Place(rows[0][0], rows[-1][0]), raw(rows))
            first = rows[-1][0] + 1
        if is_over:
            break
        if first_missing is not None:
            following = _behind(connection, first)
            if following is None:
                tell(f'the rows of messages from number {first} on cannot be read; left out')
                break
            skipped += following - first
            first = following
    if skipped:
        tell(f'{skipped} rows of messages, or fewer, cannot be read; left out')

    def read(place: _Place) -> Iterator[Raw]:
        rows, _, _ = _rows(connection, place.first, place.last - place.first + 1)
        return raw([row for row in rows if row[0] <= place.last])

    return Salvaged(index, channels, read, connection.close, tell)


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
    return (1 << 16 if size == 1 else size), pages


def _size(path: Path) -> int:
    size, pages = _header(path)
    return size * pages


def _torn_page(path: Path) -> bytes:
    """Return what is left of the page in which a file was cut off, without zeros at its end."""
    page, pages = _header(path)
    size = path.stat().st_size
    if not page or size >= page * pages or size % page <= _OVERFLOW_HEAD:
        return b''
    with path.open('rb') as stream:
        stream.seek(size - size % page + _OVERFLOW_HEAD)
        return stream.read().rstrip(b'\0')


def _rows(
    connection: sqlite3.Connection, first: int, count: int
) -> tuple[list[_Row], int | None, bool]:
    """Return rows from a number on, the number where they cannot be read, and whether all end."""
    rows: list[_Row] = []
    seen = 0
    try:
        for row in connection.execute(
            'SELECT id, topic_id, timestamp, data FROM messages NOT INDEXED WHERE id >= ? '
            'ORDER BY id LIMIT ?', (first, count),
        ):
            seen += 1
            number, topic, time_ns, data = row
            if isinstance(data, bytes) and isinstance(time_ns, int) and isinstance(topic, int):
                rows.append((number, topic, time_ns, data))
    except (sqlite3.Error, OverflowError):
        return rows, first, False
    return rows, None, seen < count


def _behind(connection: sqlite3.Connection, first: int) -> int | None:
    """Return the number of the next row behind a damaged place, by ever longer steps."""
    step = 1
    while step < 1 << 40:
        rows, missing, is_over = _rows(connection, first + step, 1)
        if rows:
            return _nearest(connection, first + step // 2, rows[0][0])
        if missing is None and is_over:
            return None
        step *= 2
    return None


def _nearest(connection: sqlite3.Connection, low: int, high: int) -> int:
    """Return the first readable row between one that is not and one that is, by halving."""
    while high - low > 1:
        middle = (low + high) // 2
        rows, _, _ = _rows(connection, middle, 1)
        if rows:
            high = middle
        else:
            low = middle
    return high


def _channels(connection: sqlite3.Connection) -> dict[int, Channel]:
    columns = {row[1] for row in connection.execute('PRAGMA table_info(topics)')}
    if not columns:
        raise sqlite3.DatabaseError('there is no table of topics')
    definitions = {}
    try:
        for name, form, text in connection.execute(
            'SELECT topic_type, encoding, encoded_message_definition FROM message_definitions'
        ):
            definitions[name] = Definition(_FORMS.get(form, ''), text)
    except sqlite3.Error:
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
