"""Results as serialised messages, put together by NumPy from pieces that are made once.

As objects of rclpy a hundred boxes take milliseconds to build and to serialise, and a mask is
copied three times. Here the pieces of a message are laid side by side, and only what changes is
written over them: stamps, scores, boxes. A mask has its message's header written in front of it.

Pixel coordinates are those of the core: (0, 0) is the outer corner of the source image's top-left
pixel, so a box over a whole 640x480 image has its centre at (320, 240) and the size 640 x 480.
OpenCV and CameraInfo put (0, 0) into the middle of that pixel: their values are these minus 0.5.

The format is that of `ros/cdr.py`, in the machine's own byte order. A number is aligned to its
own size, so a piece depends on where it begins. A Detection2D begins at a multiple of four bytes,
and ends with an empty text behind numbers of eight: all but the first begin at one of eight.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache
import struct
import sys

import numpy as np
from numpy.typing import NDArray
from rclpy.serialization import serialize_message
from std_msgs.msg import Header
from vision_msgs.msg import Detection2D, Detection2DArray, ObjectHypothesisWithPose

from perception_ros.core.canvas import Canvas
from perception_ros.core.errors import PerceptionError
from perception_ros.core.types import Detections, InstanceMasks, SemanticMask

_NS_PER_S = 1_000_000_000
_BIG_ENDIAN = sys.byteorder == 'big'
ENCAPSULATION = bytes([0, not _BIG_ENDIAN, 0, 0])
_WORD = 4
_STAMP = struct.Struct('=iI')
_UINT32 = struct.Struct('=I')
_UINT32_MAX = 0xFFFFFFFF
_STAMP_AT = 2
"""In words, behind the encapsulation and the word in front of it."""

# Those of the example are told apart by their bytes, which no name in UTF-8 holds.
_EXAMPLE_VALUES = [float.fromhex(f'0x1.{i}ffffffffffffp+999') for i in range(5)]


def serialise_detections(stamp_ns: int, frame_id: str, detections: Detections) -> memoryview:
    """Return a Detection2DArray in the source's pixels; `class_id` is the name of the class.

    :param detections: ids that are not empty are all of one length, a multiple of eight.
    :raises PerceptionError: the installed vision_msgs is laid out as no known one is.
    """
    id_length = max(map(len, detections.ids), default=0)
    return _pieces(frame_id, detections.class_names, id_length).join(stamp_ns, detections)


def serialise_semantic(stamp_ns: int, frame_id: str, mask: SemanticMask) -> memoryview:
    """Return an Image: class ids as mono8 of the source's size; 255 = unlabelled.

    It is a view of the mask's canvas, which holds one message at a time.
    """
    return _serialise_image(stamp_ns, frame_id, 'mono8', mask.class_ids, mask.canvas)


def serialise_instances(stamp_ns: int, frame_id: str, masks: InstanceMasks) -> memoryview:
    """Return an Image: mono16, index in the detections of the same stamp + 1; 0 = none.

    It is a view of the masks' canvas, which holds one message at a time.
    """
    return _serialise_image(stamp_ns, frame_id, 'mono16', masks.indices, masks.canvas)


def _serialise_image(
    stamp_ns: int,
    frame_id: str,
    encoding: str,
    pixels: NDArray[np.uint8] | NDArray[np.uint16],
    canvas: Canvas[np.uint8] | Canvas[np.uint16] | None,
) -> memoryview:
    height, width = pixels.shape
    head = b''.join((
        ENCAPSULATION,
        serialised_header(stamp_ns, frame_id),
        _UINT32.pack(height),
        _UINT32.pack(width),
        padded(string(encoding) + bytes([_BIG_ENDIAN])),
        _UINT32.pack(width * pixels.itemsize),
        _UINT32.pack(pixels.nbytes),
    ))
    return canvas.behind(head) if canvas else memoryview(head + pixels.tobytes())


class _Pieces:
    """The pieces of Detection2DArrays with one name of a frame, in words of four bytes.

    Of N classes, piece i is class i as the first detection of a message, N + i as a later one;
    2 N further on are those that have an id, which is of `id_length` bytes.
    """

    def __init__(self, frame_id: str, class_names: tuple[str, ...], id_length: int) -> None:
        # One word more in front of the encapsulation, for numbers of eight bytes to be aligned.
        head = b''.join((
            bytes(_WORD),
            ENCAPSULATION,
            bytes(_STAMP.size),
            padded(string(frame_id)),
            bytes(_UINT32.size),
        ))
        pieces = [
            _beginning(begin, frame_id, name) + tail
            for tail in (_tail().words, *([_tail().with_id(id_length)] if id_length else []))
            for begin in (len(head), 0)
            for name in class_names
        ]
        self._classes = len(class_names)
        self._id_length = id_length
        self._head = np.frombuffer(head, np.uint32)
        self._words = np.frombuffer(b''.join(pieces), np.uint32)
        self._lengths = np.array([len(piece) // _WORD for piece in pieces], np.intp)
        self._begins = np.cumsum(self._lengths) - self._lengths

    def join(self, stamp_ns: int, detections: Detections) -> memoryview:
        """Return the message of these detections."""
        count, head = len(detections), len(self._head)
        rows = detections.labels + self._classes
        rows[:1] -= self._classes
        named = np.array([bool(text) for text in detections.ids] or [False] * count, np.bool_)
        rows += 2 * self._classes * named
        lengths = self._lengths[rows]
        ends = head + np.cumsum(lengths)
        begins = ends - lengths
        total = int(ends[-1]) if count else head
        words = np.empty(total + total % 2, np.uint32)
        words[:head] = self._head
        words[head - 1] = count
        source = np.arange(head, total) + np.repeat(self._begins[rows] - begins, lengths)
        self._words.take(source, out=words[head:total], mode='clip')  # 'raise' would buffer
        stamps_at = np.append(_STAMP_AT, begins)
        seconds, nanoseconds = divmod(stamp_ns, _NS_PER_S)
        words[stamps_at] = seconds & _UINT32_MAX
        words[stamps_at + 1] = nanoseconds
        doubles = words.view(np.float64)
        ids_begin = ends - named * (self._id_length // _WORD)
        doubles[ids_begin[:, None] // 2 - _tail().values_from_end] = _values(detections)
        if named.any():
            ids = np.frombuffer(''.join(detections.ids).encode(), np.uint32)
            at = ids_begin[named, None] - 1 + np.arange(self._id_length // _WORD)
            words[at] = ids.reshape(at.shape)
        return words.data.cast('B')[_WORD : total * _WORD - (_tail().surplus if count else 0)]


@lru_cache(maxsize=64)
def _pieces(frame_id: str, class_names: tuple[str, ...], id_length: int) -> _Pieces:
    return _Pieces(frame_id, class_names, id_length)


def _values(detections: Detections) -> NDArray[np.float64]:
    """Return score, centre and size, [N, 5]."""
    boxes = detections.boxes.astype(np.float64)
    first, last = boxes[:, :2], boxes[:, 2:]
    return np.column_stack([detections.scores, (first + last) / 2, last - first])


def _beginning(begin: int, frame_id: str, name: str) -> bytes:
    """Return a Detection2D from its header to its class, up to a multiple of eight bytes."""
    text = padded(string(frame_id)) + _UINT32.pack(1) + padded(string(name))
    return bytes(_STAMP.size) + text + bytes(-(begin + len(text)) % 8)


@dataclass(frozen=True)
class _Tail:
    """A Detection2D from its score on, as rclpy makes it.

    words: its bytes, and `surplus` more up to a multiple of eight.
    values_from_end: where score, centre and size are, in numbers of eight bytes.
    """

    words: bytes
    surplus: int
    values_from_end: NDArray[np.intp]

    def with_id(self, length: int) -> bytes:
        """Return the same for a detection whose id is of so many bytes, a multiple of eight."""
        return self.words[: -2 * _WORD] + _UINT32.pack(length + 1) + bytes(length + _WORD)


@cache
def _tail() -> _Tail:
    """Let rclpy serialise an example, so that what is not ours to fill is as it has it."""
    frame_id, name = 'map', 'example'  # neither leaves a gap, in which anything may be
    header = Header(frame_id=frame_id)
    hypothesis = ObjectHypothesisWithPose()
    hypothesis.hypothesis.class_id = name
    detection = Detection2D(header=header, results=[hypothesis])
    centre, box = detection.bbox.center.position, detection.bbox
    hypothesis.hypothesis.score, centre.x, centre.y, box.size_x, box.size_y = _EXAMPLE_VALUES
    one, two = (
        bytes(serialize_message(Detection2DArray(header=header, detections=[detection] * count)))
        for count in (1, 2)
    )
    second = two[len(one) + -len(one) % _WORD :]
    beginning = _beginning(0, frame_id, name)
    tail = second[len(beginning) :]
    surplus = -len(tail) % _WORD
    if not second.startswith(beginning) or (len(tail) + surplus) % 8:
        raise PerceptionError(
            'vision_msgs/Detection2D: expected a header, then the guesses, and an id at the end, '
            'as vision_msgs 4 has them; the installed one differs. Install the vision_msgs of '
            'Humble or of a newer distribution'
        )
    words = tail + bytes(surplus)
    values = [struct.pack('=d', value) for value in _EXAMPLE_VALUES]
    from_end = [(len(words) - words.index(value)) // 8 for value in values]
    return _Tail(words, surplus, np.array(from_end, np.intp))


def serialised_header(stamp_ns: int, frame_id: str) -> bytes:
    """Return a std_msgs/Header at a multiple of four bytes, up to the next one."""
    return _STAMP.pack(*divmod(stamp_ns, _NS_PER_S)) + padded(string(frame_id))


def string(text: str) -> bytes:
    """Return a text, whose length counts the final NUL."""
    encoded = text.encode()
    return _UINT32.pack(len(encoded) + 1) + encoded + b'\0'


def padded(data: bytes) -> bytes:
    """Return bytes up to the next multiple of four."""
    return data + bytes(-len(data) % _WORD)
