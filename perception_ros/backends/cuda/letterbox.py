"""Letterbox on the GPU: the launch of `letterbox.cu` for one camera image."""

from __future__ import annotations

import ctypes
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from perception_ros.core.encodings import Bayer, Layout, Packed, Yuv420, Yuv422
from perception_ros.core.image import Image
from perception_ros.core.letterbox import Letterbox

SOURCE = Path(__file__).with_name('letterbox.cu')
KERNEL = 'letterbox'
BLOCK = (32, 8)
"""Threads of a block in x and y: a warp writes neighbours in a row."""

_PACKED, _BAYER, _YUV422, _YUV420 = range(4)
_INTS = (
    'source_width', 'source_height', 'layout', 'pixel_bytes', 'first', 'second', 'third',
    'input_width', 'input_height', 'x', 'y', 'width', 'height', 'pad_value',
)  # fmt: skip


class Job(ctypes.Structure):
    """The kernel's one argument: `Job` in letterbox.cu, field for field."""

    _fields_ = [
        ('source', ctypes.c_void_p),
        ('target', ctypes.c_void_p),
        ('step', ctypes.c_longlong),
        *((name, ctypes.c_int) for name in _INTS),
    ]


class CameraImage:
    """A camera image as the kernel reads it: its raw bytes and how the pixels lie in them.

    A file is decoded here, on the CPU.

    :raises ImageError: the image cannot be decoded.
    """

    def __init__(self, image: Image) -> None:
        image.validate()
        self._size = (image.width, image.height)
        self.data: NDArray[np.uint8]
        """All bytes that the kernel may read, uint8 [n]; lives as long as the image does."""
        if image.is_compressed:
            pixels, code = image.pixels()
            channels = 1 if pixels.ndim == 2 else pixels.shape[2]
            self._layout: Layout = Packed(channels, 1, code)
            self._step = image.width * channels
            self._upper_byte = 0
            self.data = np.ascontiguousarray(pixels).reshape(-1)
            return
        self._layout = image.layout
        self._step = image.step
        self._upper_byte = 0 if image.is_bigendian else 1
        rows = image.height
        if isinstance(self._layout, Yuv420):
            rows += image.height // 2
        self.data = np.frombuffer(memoryview(image.data), np.uint8, count=rows * image.step)

    def job(self, source: int, target: int, letterbox: Letterbox) -> Job:
        """Return the kernel's argument.

        :param source: address of a copy of `data` on the GPU.
        :param target: address of uint8 [H, W, 3] there.
        """
        pixel_bytes, samples = _samples(self._layout, self._upper_byte)
        return Job(
            source,
            target,
            self._step,
            *self._size,
            _kind(self._layout),
            pixel_bytes,
            *samples,
            *letterbox.input_size,
            *letterbox.offset,
            *letterbox.scaled_size,
            letterbox.pad_value,
        )


def grid(letterbox: Letterbox) -> tuple[int, int]:
    """Return the blocks of the launch in x and y."""
    (width, height), (across, down) = letterbox.input_size, BLOCK
    return -(-width // across), -(-height // down)


def _kind(layout: Layout) -> int:
    match layout:
        case Packed():
            return _PACKED
        case Bayer():
            return _BAYER
        case Yuv422():
            return _YUV422
        case Yuv420():
            return _YUV420


_ORDERS = {
    None: (0, 1, 2),
    cv2.COLOR_RGBA2RGB: (0, 1, 2),
    cv2.COLOR_BGR2RGB: (2, 1, 0),
    cv2.COLOR_BGRA2RGB: (2, 1, 0),
    cv2.COLOR_GRAY2RGB: (0, 0, 0),
}
"""Which samples of a pixel are red, green and blue."""

_RED_AT = {
    cv2.COLOR_BayerBG2RGB: (0, 0),
    cv2.COLOR_BayerGB2RGB: (1, 0),
    cv2.COLOR_BayerGR2RGB: (0, 1),
    cv2.COLOR_BayerRG2RGB: (1, 1),
}
"""Column and row of the red sample in a tile of 2 x 2."""

_YUV = {
    cv2.COLOR_YUV2RGB_UYVY: (1, 0, 2),
    cv2.COLOR_YUV2RGB_YUY2: (0, 1, 3),
    cv2.COLOR_YUV2RGB_NV12: (0, 0, 1),
    cv2.COLOR_YUV2RGB_NV21: (0, 1, 0),
}
"""Offsets of Y in a pixel, and of U and V in a pair of pixels."""


def _samples(layout: Layout, upper_byte: int) -> tuple[int, tuple[int, int, int]]:
    """Return the bytes from pixel to pixel, and the offsets that letterbox.cu describes."""
    match layout:
        case Packed(channels, sample_bytes, code):
            upper = upper_byte if sample_bytes == 2 else 0
            red, green, blue = (sample_bytes * n + upper for n in _ORDERS[code])
            return channels * sample_bytes, (red, green, blue)
        case Bayer(sample_bytes, code):
            return sample_bytes, (*_RED_AT[code], upper_byte if sample_bytes == 2 else 0)
        case Yuv422(code):
            return 2, _YUV[code]
        case Yuv420(code):
            return 1, _YUV[code]
