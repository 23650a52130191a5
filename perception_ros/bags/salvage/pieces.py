"""Compressed data, as far as they can be decompressed."""

from __future__ import annotations

import bz2
from collections.abc import Callable, Iterator
import sys
from typing import Any, BinaryIO

from lz4.frame import LZ4FrameDecompressor

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

from perception_ros.bags.salvage.file import File

_PIECE = 1 << 16
_DECOMPRESSORS: dict[str, Callable[[], Any]] = {
    'zstd': zstd.ZstdDecompressor, 'lz4': LZ4FrameDecompressor, 'bz2': bz2.BZ2Decompressor,
}
COMPRESSIONS = ('', 'none', *_DECOMPRESSORS)
ZSTD_MAGIC = b'\x28\xb5\x2f\xfd'
"""No CDR starts so."""


def decompressed(data: memoryview, compression: str, most: int) -> tuple[bytes | memoryview, str]:
    """Return what comes out before the first damage, and what that is ('' for none).

    :param compression: one of `COMPRESSIONS`.
    :param most: bytes; no more come out, whatever a damaged file makes of itself.
    """
    if compression not in _DECOMPRESSORS:
        return data[:most], '' if len(data) >= most else 'it was cut off'
    pieces, size, problem = [], 0, 'it was cut off'
    decompressor = _DECOMPRESSORS[compression]()
    try:
        for piece in _pieces(data):
            pieces.append(decompressor.decompress(piece, most - size))
            size += len(pieces[-1])
            if decompressor.eof or size >= most:
                problem = ''
                break
    except Exception as error:  # each library has its own, and some raise bare RuntimeErrors
        problem = str(error)
    return b''.join(pieces), problem


def decompress_file(source: File, target: BinaryIO) -> str:
    """Decompress a whole file of zstd, as far as it goes, and return what ended it early, or ''.

    :raises OSError: there is no room.
    """
    decompressor = zstd.ZstdDecompressor()
    for at in range(0, len(source), _PIECE):
        piece: bytes | memoryview = source[at : at + _PIECE]
        while len(piece):
            if decompressor.eof:  # writers may start a new frame at any time
                decompressor = zstd.ZstdDecompressor()
            try:
                target.write(decompressor.decompress(piece))
            except zstd.ZstdError as error:
                return str(error)
            piece = decompressor.unused_data if decompressor.eof else b''
    return '' if decompressor.eof else 'it was cut off'


def unpack_message(data: bytes | memoryview) -> bytes | memoryview:
    """Return a message that was compressed by itself, as rosbag2's mode `message` does.

    :raises ValueError: it cannot be decompressed.
    """
    if bytes(data[:4]) != ZSTD_MAGIC:
        return data
    try:
        unpacked: bytes = zstd.decompress(data)
    except zstd.ZstdError as error:
        raise ValueError(f'cannot be decompressed: {error}') from error
    return unpacked


def _pieces(data: memoryview) -> Iterator[memoryview]:
    return (data[at : at + _PIECE] for at in range(0, len(data), _PIECE))
