"""Damage to image messages. What is no image, or cannot be decoded, comes out as it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from hashlib import shake_128
from typing import Any

import cv2
import numpy as np

from perception_ros.bags import messages
from perception_ros.bags.bag import Message
from perception_ros.bags.messages import IMAGE
from perception_ros.bags.types import standard, Types
from perception_ros.core.compressed import size_at, sniff
from perception_ros.core.errors import BagError, ImageError
from perception_ros.core.image import Image, Pixels
from perception_ros.ros.cdr import read_compressed_image, read_image

JPEG_QUALITY = 95
"""Of images that are painted over: what is lost must be the fault's doing."""

_KEPT = {'rgb8': None, 'bgr8': cv2.COLOR_RGB2BGR, 'mono8': cv2.COLOR_RGB2GRAY}
"""Encodings that painted images keep, the others becoming rgb8 -> how pixels come into them."""

_TYPES = Types()
_COVER = 0.3
"""Brightness of what is close before a lens."""
_WRONG_SIZE = bytes.fromhex('ffdcffdc')
"""65500 x 65500 in a JPEG, the most that one can have."""


def truncate(message: Message, share: float) -> Message:
    """Take the last part of its data away."""
    def shorten(data: bytes) -> bytes:
        return data[: len(data) - _bytes(data, share)]

    return _with_data(message, shorten)


def overwrite(message: Message, share: float, where: float) -> Message:
    """Overwrite bytes in a row.

    :param where: 0..1, from the first to the last place that has room for them.
    """
    def damage(data: bytes) -> bytes:
        count = _bytes(data, share)
        start = round(where * (len(data) - count))
        noise = shake_128(f'{where}'.encode()).digest(count)
        return data[:start] + noise + data[start + count :]

    return _with_data(message, damage)


def missize(message: Message) -> Message:
    """Let its description say another size than its data have."""
    def enlarge(data: bytes) -> bytes:
        if (at := size_at(data, sniff(data))) is None:
            return data
        return data[:at] + _WRONG_SIZE + data[at + 4 :]

    if message.type != IMAGE:
        return _with_data(message, enlarge)
    return _changed(message, lambda found: {'height': 2 * int(found.height) + 2})


def darken(message: Message, brightness: float) -> Message:
    """Multiply its pixels, which lose no colour."""
    return _painted(message, lambda rgb: np.asarray(
        cv2.convertScaleAbs(rgb, alpha=brightness), np.uint8
    ))


def blind(message: Message, how: str, share: float) -> Message:
    """Paint over a share of its width, from the left: black, white or covered."""
    def cover(rgb: Pixels) -> Pixels:
        colour = {'black': 0, 'white': 255}.get(how)
        painted = rgb.copy()
        painted[:, : max(round(share * rgb.shape[1]), 1)] = (
            rgb.mean((0, 1)) * _COVER if colour is None else colour
        )
        return painted

    return _painted(message, cover)


def _with_data(message: Message, change: Callable[[bytes], bytes]) -> Message:
    return _changed(message, lambda found: {
        'data': np.frombuffer(change(bytes(memoryview(found.data))), np.uint8)
    })


def _changed(message: Message, change: Callable[[Any], dict[str, Any]]) -> Message:
    """Return a message with other fields."""
    try:
        found = _TYPES.decode(message.type, message.data)
    except BagError:
        return message
    return _serialised(message, replace(found, **change(found)))


def _painted(message: Message, paint: Callable[[Pixels], Pixels]) -> Message:
    """Return a message with other pixels, in the same encoding or kind of file where it can be."""
    read = read_image if message.type == IMAGE else read_compressed_image
    try:
        stamp_ns, frame_id, image = read(message.data)
        pixels = paint(image.rgb())
        head = messages.header(stamp_ns, frame_id)
        if not image.is_compressed:
            return _serialised(message, messages.raw_image(head, _raw(pixels, image.encoding)))
        bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
        quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if image.encoding == 'jpeg' else []
        _, file = cv2.imencode(f'.{image.encoding}', bgr, quality)
        made = messages.image_file(head, file.tobytes(), image.encoding)
        return _serialised(message, made)
    except (ImageError, cv2.error):
        return message


def _raw(rgb: Pixels, encoding: str) -> Image:
    code = _KEPT.get(encoding)
    pixels = rgb if code is None else np.asarray(cv2.cvtColor(rgb, code), np.uint8)
    height, width = pixels.shape[:2]
    kept = encoding if encoding in _KEPT else 'rgb8'
    data = np.ascontiguousarray(pixels).reshape(-1).data
    return Image(data, kept, width, height, pixels.nbytes // height)


def _serialised(message: Message, made: Any) -> Message:
    return message._replace(data=standard().serialize_cdr(made, message.type))


def _bytes(data: bytes, share: float) -> int:
    """Return how many bytes a share of the data is, at least one where there are some."""
    return min(max(round(share * len(data)), 1), len(data))
