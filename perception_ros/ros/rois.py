"""Autoware's ROIs as serialised messages, written by NumPy into an example that rclpy has made.

A box is a DetectedObjectWithFeature of 800 bytes, of which 25 are ours. As objects of rclpy
twenty of them hold Python's lock for a millisecond. All rows of a message are alike, so where our
numbers lie in them is found once for each name of a frame, and only they are written.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.serialization import serialize_message
from std_msgs.msg import Header

from perception_ros.core.autoware import label_numbers
from perception_ros.core.types import Detections

_FIELDS = {
    'existence': np.float32, 'label': np.uint8, 'probability': np.float32,
    'x': np.uint32, 'y': np.uint32, 'height': np.uint32, 'width': np.uint32,
}
"""Of a row, in the order in which they lie; a flag of one byte follows and ends it."""
_VALUES = {
    np.uint8: (0x7B, 0x2D), np.uint32: (0x7B7B7B7B, 0x2D2D2D2D), np.float32: (1.2345678, 8.7654321)
}
"""By these and by 0 a field is known: between fields there are gaps, in which anything may be."""
_STAMP_AT = 4
_STAMP = struct.Struct('=iI')
_LEAST_CAPACITY = 32


def serialise_rois(
    stamp_ns: int,
    frame_id: str,
    found: Detections,
    size: tuple[int, int],
    labels: Iterable[str] = (),
) -> memoryview:
    """Return a DetectedObjectsWithFeature: boxes in whole pixels, within the image.

    :param size: (width, height) of the image.
    :param labels: as for `core.autoware.read_labels`.
    """
    x, y, width, height = whole_pixels(found.boxes, size).T
    numbers = label_numbers(found.class_names, labels)[found.labels]
    columns = (found.scores, numbers, found.scores, x, y, height, width)
    count = len(found)
    capacity = max(_LEAST_CAPACITY, 1 << count.bit_length())
    return _example(frame_id, capacity).write(stamp_ns, count, columns)


def whole_pixels(boxes: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.int64]:
    """Return boxes [N, 4] in whole pixels of an image: x, y, width, height, int64 [N, 4]."""
    edges = np.clip(np.rint(boxes), 0, [*size, *size])
    x1, y1, x2, y2 = edges.astype(np.int64).T
    return np.column_stack([x1, y1, x2 - x1, y2 - y1])


@lru_cache(maxsize=64)
def _example(frame_id: str, capacity: int) -> _Example:
    return _Example(frame_id, capacity)


class _Example:
    """A message of many empty rows, and where the fields of each lie, in bytes."""

    def __init__(self, frame_id: str, capacity: int) -> None:
        self._bytes = _serialised(frame_id, capacity)
        self._at = {field: self._find(frame_id, capacity, field) for field in _FIELDS}
        self._count_at = int(self._at['existence'][0, 0]) - 4

    def _find(self, frame_id: str, capacity: int, field: str) -> NDArray[np.intp]:
        """Return where the bytes of a field lie, intp [capacity, its size]."""
        kind, is_there = _FIELDS[field], self._bytes == 0
        for value in _VALUES[kind]:
            octets = np.resize(np.array([value], kind).view(np.uint8), len(self._bytes) + 4)
            message = _serialised(frame_id, capacity, field, value)
            # each number lies at a multiple of its own size, and 4 bytes of a kind are before it
            is_there &= message == octets[: len(message)]
        return np.flatnonzero(is_there).reshape(capacity, -1)

    def write(
        self, stamp_ns: int, count: int, columns: Iterable[NDArray[np.generic]]
    ) -> memoryview:
        """Return the message of so many rows, with these columns for `_FIELDS`."""
        last = self._at['width'][count - 1, -1] + 1 if count else self._count_at + 3
        length = int(last) + 1
        out = self._bytes[:length].copy()
        _STAMP.pack_into(out.data, _STAMP_AT, *divmod(stamp_ns, 10**9))
        out[self._count_at : self._count_at + 4].view(np.uint32)[0] = count
        for (field, kind), column in zip(_FIELDS.items(), columns, strict=True):
            raw = np.ascontiguousarray(column, kind).view(np.uint8)
            out[self._at[field][:count]] = raw.reshape(count, np.dtype(kind).itemsize)
        return out.data


def _serialised(
    frame_id: str, count: int, field: str = '', value: float = 0
) -> NDArray[np.uint8]:
    """Return an example whose rows have a value in this field and zeros in all others."""
    from tier4_perception_msgs.msg import DetectedObjectsWithFeature

    message = DetectedObjectsWithFeature(header=Header(frame_id=frame_id))
    message.feature_objects = [_row(field, value) for _ in range(count)]
    return np.frombuffer(bytearray(serialize_message(message)), np.uint8)


def _row(field: str, of_field: float) -> Any:
    from autoware_perception_msgs.msg import ObjectClassification
    from tier4_perception_msgs.msg import DetectedObjectWithFeature

    value: dict[str, Any] = {name: of_field if name == field else 0 for name in _FIELDS}
    item = DetectedObjectWithFeature()
    item.object.existence_probability = float(value['existence'])
    item.object.classification = [
        ObjectClassification(label=value['label'], probability=float(value['probability']))
    ]
    roi = item.feature.roi
    roi.x_offset, roi.y_offset = value['x'], value['y']
    roi.width, roi.height = value['width'], value['height']
    return item
