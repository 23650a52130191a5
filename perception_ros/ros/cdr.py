"""Read images and point clouds in place from a serialised message.

A subscription with `raw=True` gets the bytes as they came over the wire. rclpy's own conversion
copies the pixels into a Python array first, which for a camera costs more than all else that its
callback does; here the image is a view of those bytes.

The format is plain CDR of XTypes 1 ("XCDR1"), which every RMW uses for ROS messages: four bytes of
encapsulation, then the fields in order, each number aligned to its own size as counted from the
end of the encapsulation. Source: OMG DDSI-RTPS 2.3 section 10, CORBA 3.3 part 2 section 9.3.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np
from typing_extensions import Buffer

from perception_ros.core.cloud import Cloud, PointField
from perception_ros.core.errors import ImageError
from perception_ros.core.image import Image

_ENCAPSULATION = 4
_MOST_FIELDS = 256
_BYTE_ORDERS = {b'\x00\x00': '>', b'\x00\x01': '<'}
_STAMP = {order: struct.Struct(f'{order}iI') for order in '<>'}
_UINT32 = {order: struct.Struct(f'{order}I') for order in '<>'}


class StampedImage(NamedTuple):
    """An image and its header; `stamp_ns` is the header's stamp in nanoseconds."""

    stamp_ns: int
    frame_id: str
    image: Image


class Stamp(NamedTuple):
    """What a std_msgs/Header says; `stamp_ns` in nanoseconds."""

    stamp_ns: int
    frame_id: str


def read_header(serialised: Buffer, type_name: str) -> Stamp:
    """Read the std_msgs/Header that a message of this type starts with, and no more of it.

    :raises ImageError: the bytes are no such message, or were cut off.
    """
    return Stamp(*_Reader(serialised, type_name).header())


def write_stamp(serialised: Buffer, type_name: str, stamp_ns: int) -> bytes:
    """Return a message that starts with a std_msgs/Header with another stamp, all else as it is.

    :raises ImageError: the bytes are no such message, or the stamp does not fit into one.
    """
    read_header(serialised, type_name)
    message = bytearray(memoryview(serialised).cast('B'))
    _write_stamp(message, 0, stamp_ns)
    return bytes(message)


def shift_transforms(serialised: Buffer, by_ns: int) -> bytes:
    """Return a tf2_msgs/TFMessage whose stamps are later by so much; those of 0 stay.

    :raises ImageError: the bytes are no such message, or a stamp does not fit into one.
    """
    reader = _Reader(serialised, 'tf2_msgs/TFMessage')
    message = bytearray(memoryview(serialised).cast('B'))
    for _ in range(reader.uint32('transforms')):
        at, stamp_ns, _ = reader.place_of_header()
        reader.string('child_frame_id')
        reader.doubles(7, 'transform')
        if stamp_ns:
            _write_stamp(message, at, stamp_ns + by_ns)
    return bytes(message)


def _write_stamp(message: bytearray, at: int, stamp_ns: int) -> None:
    """Write a stamp that begins so many bytes behind the encapsulation."""
    order = _BYTE_ORDERS[bytes(message[:2])]
    try:
        _STAMP[order].pack_into(message, _ENCAPSULATION + at, *divmod(stamp_ns, 1_000_000_000))
    except struct.error as error:
        raise ImageError(
            f'a stamp of {stamp_ns / 1e9:g} s: expected seconds that fit into 32 bits'
        ) from error


def read_image(serialised: Buffer) -> StampedImage:
    """Read a sensor_msgs/Image. Its pixels are a view of `serialised`, which must not change.

    The description is taken as it is: `Image.validate` compares it with the data.

    :raises ImageError: the bytes are no such message, or were cut off.
    """
    reader = _Reader(serialised, 'sensor_msgs/Image')
    stamp_ns, frame_id = reader.header()
    height = reader.uint32('height')
    width = reader.uint32('width')
    encoding = reader.string('encoding')
    is_bigendian = bool(reader.octet('is_bigendian'))
    step = reader.uint32('step')
    data = reader.octets('data')
    return StampedImage(
        stamp_ns, frame_id, Image(data, encoding, width, height, step, is_bigendian)
    )


def read_compressed_image(serialised: Buffer) -> StampedImage:
    """Read a sensor_msgs/CompressedImage; as `read_image`.

    :raises ImageError: the bytes are no such message, or were cut off.
    """
    reader = _Reader(serialised, 'sensor_msgs/CompressedImage')
    stamp_ns, frame_id = reader.header()
    image_format = reader.string('format')
    return StampedImage(stamp_ns, frame_id, Image.compressed(reader.octets('data'), image_format))


def read_point_cloud(serialised: Buffer) -> tuple[Stamp, Cloud]:
    """Read a sensor_msgs/PointCloud2. Its data is a view of `serialised`, which must not change.

    The description is taken as it is: `Cloud.check` compares it with the data.

    :raises ImageError: the bytes are no such message, or were cut off.
    """
    reader = _Reader(serialised, 'sensor_msgs/PointCloud2')
    stamp = Stamp(*reader.header())
    height, width = reader.uint32('height'), reader.uint32('width')
    fields = tuple(
        PointField(
            reader.string('fields.name'), reader.uint32('fields.offset'),
            reader.octet('fields.datatype'), reader.uint32('fields.count'),
        )
        for _ in range(min(reader.uint32('fields'), _MOST_FIELDS))
    )
    is_bigendian = bool(reader.octet('is_bigendian'))
    point_step, row_step = reader.uint32('point_step'), reader.uint32('row_step')
    data = np.frombuffer(reader.octets('data'), np.uint8)
    is_dense = bool(reader.octet('is_dense'))
    return stamp, Cloud(
        fields, height, width, point_step, row_step, data, is_bigendian, is_dense
    )


class _Reader:
    """Walks over the fields of one message; every step is checked against the buffer's end."""

    def __init__(self, serialised: Buffer, type_name: str) -> None:
        view = memoryview(serialised).cast('B')
        order = _BYTE_ORDERS.get(bytes(view[:2]))
        if len(view) < _ENCAPSULATION or order is None:
            raise ImageError(
                f'a serialised {type_name} starts with 00 00 or 00 01 (plain CDR) and two more '
                f'bytes; got {bytes(view[:4]).hex(" ") or "nothing"}. The publisher or its RMW '
                'uses another encoding: subscribe without raw'
            )
        self._content = view[_ENCAPSULATION:]
        self._at = 0
        self._type_name = type_name
        self._uint32 = _UINT32[order]
        self._stamp = _STAMP[order]

    def header(self) -> tuple[int, str]:
        """Read a std_msgs/Header: stamp in nanoseconds and frame_id."""
        return self.place_of_header()[1:]

    def place_of_header(self) -> tuple[int, int, str]:
        """Read a std_msgs/Header: where it begins, stamp in nanoseconds and frame_id."""
        self._at = self._at + 3 & ~3
        at = self._take(8, 'header.stamp')
        seconds, nanoseconds = self._stamp.unpack_from(self._content, at)
        if nanoseconds >= 1_000_000_000:
            raise ImageError(
                f'header.stamp.nanosec is {nanoseconds}; expected less than 1000000000. The '
                'driver fills it in wrongly, or the message is of another type'
            )
        return at, seconds * 1_000_000_000 + nanoseconds, self.string('header.frame_id')

    def octet(self, field: str) -> int:
        return self._content[self._take(1, field)]

    def uint32(self, field: str) -> int:
        self._at = self._at + 3 & ~3
        value: int = self._uint32.unpack_from(self._content, self._take(4, field))[0]
        return value

    def doubles(self, count: int, field: str) -> None:
        """Step over numbers of eight bytes."""
        self._at = self._at + 7 & ~7
        self._take(8 * count, field)

    def octets(self, field: str) -> memoryview:
        """Read a sequence of bytes as a view."""
        length = self.uint32(field)
        start = self._take(length, field)
        return self._content[start : start + length]

    def string(self, field: str) -> str:
        """Read a string, whose length counts the final NUL; a damaged one is no reason to stop."""
        return bytes(self.octets(field)).rstrip(b'\0').decode('utf-8', 'replace')

    def _take(self, length: int, field: str) -> int:
        """Step over `length` bytes and return where they start."""
        start = self._at
        self._at = start + length
        if self._at > len(self._content):
            raise ImageError(
                f'the serialised {self._type_name} ends within {field}: expected at least '
                f'{self._at + _ENCAPSULATION} bytes, got {len(self._content) + _ENCAPSULATION}. '
                'It was cut off on its way, or is of another message type'
            )
        return start
