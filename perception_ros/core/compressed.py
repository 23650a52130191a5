"""What the bytes of a JPEG or PNG file say of themselves, read without decoding a pixel.

OpenCV decodes a file that was cut off without a word and leaves the rest grey, and so it does from
a marker on that has no place among the pixels. On a camera topic that is a frame in which objects
vanish, so both are looked for here.

Sources: ITU-T T.81 annex B (JPEG markers), PNG specification section 5 (chunks).
"""

from __future__ import annotations

from collections.abc import Iterator
import re
import struct
from typing import NamedTuple
import zlib

import numpy as np
from typing_extensions import Buffer

from perception_ros.core.errors import ImageError

_JPEG_MAGIC = b'\xff\xd8\xff'
_PNG_MAGIC = b'\x89PNG\r\n\x1a\n'
_END_OF_IMAGE = re.compile(b'\xff\xd9')
_START_OF_SCAN = 0xDA
_IN_SCAN = np.isin(np.arange(256), (0x00, *range(0xD0, 0xD8), 0xFF))
"""What may follow an FF within a scan: stuffing, a restart, padding."""
_AFTER_SCAN = frozenset((0xC4, 0xD9, 0xDA, 0xDB, 0xDC, 0xDD, *range(0xE0, 0xF0), 0xFE))
"""Markers that may end a scan: of tables, of the next scan, of comments, and of the end."""
# C4, C8 and CC in this range define tables and are no frame headers
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


class Header(NamedTuple):
    """Size in pixels, 0 where it cannot be read."""

    width: int
    height: int


def sniff(data: Buffer) -> str:
    """Return 'jpeg' or 'png' by the first bytes, '' for anything else."""
    start = bytes(memoryview(data)[:8])
    if start.startswith(_JPEG_MAGIC):
        return 'jpeg'
    return 'png' if start == _PNG_MAGIC else ''


def read_header(data: Buffer, kind: str) -> Header:
    """Return the size that a file of this kind states; never raises."""
    if (at := size_at(data, kind)) is None:
        return Header(0, 0)
    if kind == 'png':
        return Header(*struct.unpack_from('>II', data, at))
    height, width = struct.unpack_from('>HH', data, at)
    return Header(width, height)


def size_at(data: Buffer, kind: str) -> int | None:
    """Return where a file of this kind states its size; None: nowhere."""
    view = memoryview(data).cast('B')
    if kind == 'png' and len(view) >= 24 and bytes(view[12:16]) == b'IHDR':
        return 16
    if kind == 'jpeg':
        for marker, start, end in _segments(view):
            if marker in _START_OF_FRAME and end - start >= 6 and end <= len(view):
                return start + 1
    return None


def check_complete(data: Buffer, kind: str) -> None:
    """Raise ImageError for a file that ends early, is damaged where that shows, or is CMYK."""
    view = memoryview(data).cast('B')
    if kind == 'jpeg':
        _check_jpeg(view)
    else:
        _check_png(view)


def _segments(view: memoryview) -> Iterator[tuple[int, int, int]]:
    """Yield (marker, start, end) of each JPEG segment's content up to the first scan."""
    at = 2
    while at + 4 <= len(view):
        if view[at] != 0xFF:
            return
        marker = view[at + 1]
        if marker == 0xFF:  # markers may be padded with FF
            at += 1
            continue
        (length,) = struct.unpack_from('>H', view, at + 2)
        if length < 2:
            return
        yield marker, at + 4, at + 2 + length
        if marker == _START_OF_SCAN:
            return
        at += 2 + length


def _check_jpeg(view: memoryview) -> None:
    scan_start = None
    for marker, start, end in _segments(view):
        if marker in _START_OF_FRAME and start + 6 <= len(view) and view[start + 5] == 4:
            raise ImageError(
                'the JPEG holds four colours (CMYK); expected grey or YCbCr. Let its writer '
                'convert it to RGB'
            )
        if marker == _START_OF_SCAN:
            scan_start = end
    # FF D9 cannot occur inside a scan, but a thumbnail before it may end with one; after it a
    # writer may pad
    if scan_start is None or not (
        (len(view) >= scan_start + 2 and bytes(view[-2:]) == b'\xff\xd9')
        or _END_OF_IMAGE.search(view, scan_start)
    ):
        raise ImageError(
            f'the JPEG of {len(view)} bytes has no end-of-image marker; expected a whole file. '
            "It was cut off on its way: check the driver's buffer size and the transport's limits"
        )
    scan = np.frombuffer(view, np.uint8)[scan_start:]
    marks = np.flatnonzero(scan[:-1] == 0xFF)
    ends = marks[~_IN_SCAN[scan[marks + 1]]]
    if len(ends) and (marker := int(scan[ends[0] + 1])) not in _AFTER_SCAN:
        raise ImageError(
            f'the JPEG of {len(view)} bytes has a marker FF {marker:02X} among its pixels, at '
            f'byte {scan_start + ends[0]}; expected none of that kind. It was damaged on its way'
        )


def _check_png(view: memoryview) -> None:
    at = len(_PNG_MAGIC)
    while at + 12 <= len(view):
        (length,) = struct.unpack_from('>I', view, at)
        end = at + 12 + length
        if end > len(view):
            break
        (checksum,) = struct.unpack_from('>I', view, end - 4)
        if zlib.crc32(view[at + 4 : end - 4]) != checksum:
            raise ImageError(
                f'the PNG of {len(view)} bytes has a wrong checksum in the chunk at byte {at}; '
                'expected an unharmed file. It was damaged on its way'
            )
        if bytes(view[at + 4 : at + 8]) == b'IEND':
            return
        at = end
    raise ImageError(
        f'the PNG of {len(view)} bytes has no end chunk; expected a whole file. It was cut off on '
        "its way: check the driver's buffer size and the transport's limits"
    )
