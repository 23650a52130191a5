"""Letterbox geometry, both ways: the one place that knows it.

An image is scaled to fit the network's input, keeping its shape, and the rest is padded.
Continuous pixel coordinates ((0, 0) = outer corner of the first pixel) then map by

    input = source * scale + offset

with the scale that the *rounded* size really has, so that restored boxes carry no rounding error.
Where a recipe rounds down (YOLOX does), it also trains and restores with the nominal ratio: then
the scale is that, and answers agree with the recipe's.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
import threading
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

MAX_SCRATCHES = 32
"""Sizes of images that a thread keeps memory for between the resize and the conversion."""


class _Scratches(threading.local):
    def __init__(self) -> None:
        self.kept: dict[tuple[int, ...], NDArray[np.uint8]] = {}


_scratches = _Scratches()


@dataclass(frozen=True, slots=True)
class LetterboxPolicy:
    """How a model wants its images fitted; part of the bundle."""

    anchor: Literal['center', 'top_left'] = 'center'
    pad_value: int = 114
    upscale: bool = True
    rounding: Literal['nearest', 'down'] = 'nearest'


@dataclass(frozen=True, slots=True)
class Letterbox:
    """The mapping between a source image and a network input, all sizes in pixels."""

    source_size: tuple[int, int]
    input_size: tuple[int, int]
    scaled_size: tuple[int, int]
    offset: tuple[int, int]
    scale: tuple[float, float]
    """Input pixels per source pixel, in x and y; where rounding is 'nearest' they differ by it."""
    pad_value: int

    @staticmethod
    def fit(
        source_size: tuple[int, int],
        input_size: tuple[int, int],
        policy: LetterboxPolicy = LetterboxPolicy(),
    ) -> Letterbox:
        """Return the letterbox for a source of (width, height) and an input of (width, height).

        :raises ValueError: a size is not positive.
        """
        if min(*source_size, *input_size) <= 0:
            raise ValueError(f'sizes must be positive; got {source_size} and {input_size}')
        return _fit(source_size, input_size, policy)

    def write(self, pixels: NDArray[np.uint8], to_rgb: int | None, out: NDArray[np.uint8]) -> None:
        """Write an image, letterboxed and as RGB, into `out`, uint8 [H, W, 3] of the input size.

        :param pixels: uint8 [h, w, C] or [h, w], as `Image.pixels` gives them.
        :param to_rgb: OpenCV's code for the conversion to RGB that is still to be done, or None.
        """
        (x, y), size = self.offset, self.scaled_size
        width, height = size
        window = out[y : y + height, x : x + width]
        if to_rgb is None:
            if pixels.shape[1::-1] == size:
                np.copyto(window, pixels)
            else:
                cv2.resize(pixels, size, dst=window, interpolation=cv2.INTER_LINEAR)
        else:
            if pixels.shape[1::-1] != size:  # first: fewer pixels to convert
                small = _scratch((height, width, *pixels.shape[2:]))
                cv2.resize(pixels, size, dst=small, interpolation=cv2.INTER_LINEAR)
                pixels = small
            cv2.cvtColor(pixels, to_rgb, dst=window)
        out[:y] = self.pad_value
        out[y + height :] = self.pad_value
        out[y : y + height, :x] = self.pad_value
        out[y : y + height, x + width :] = self.pad_value

    def boxes_to_source(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map boxes [N, 4] (x1, y1, x2, y2) from input to source pixels.

        They may reach beyond the image, as the network said; `clip` cuts them to it.
        """
        scale = np.asarray(self.scale * 2, np.float32)
        offset = np.asarray(self.offset * 2, np.float32)
        return np.asarray((boxes - offset) / scale, np.float32)

    def clip(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Cut boxes [N, 4] in source pixels to the source image."""
        limit = np.asarray(self.source_size * 2, np.float32)
        return np.asarray(np.clip(boxes, 0, limit), np.float32)

    def boxes_to_input(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map boxes [N, 4] (x1, y1, x2, y2) from source to input pixels."""
        scale = np.asarray(self.scale * 2, np.float32)
        offset = np.asarray(self.offset * 2, np.float32)
        return (boxes * scale + offset).astype(np.float32, copy=False)

    def mask_to_source(
        self, mask: NDArray[np.uint8], out: NDArray[np.uint8] | None = None
    ) -> NDArray[np.uint8]:
        """Map class ids [h, w] over the whole input to [height, width] of the source.

        `mask` may be coarser than the input (a head with a stride); each source pixel takes the
        class of the cell that its centre falls into.

        :param out: where to write them, uint8 [height, width]; by default a new array.
        """
        rows, columns = _mask_lookup(self, mask.shape[1], mask.shape[0])
        seen = np.asarray(cv2.transpose(mask[rows[0] : rows[-1] + 1]), np.uint8)
        # Whole rows are gathered, both times: a transposition costs less than gathering bytes.
        wide = np.asarray(cv2.transpose(seen.take(columns, axis=0)), np.uint8)
        return wide.take(rows - rows[0], axis=0, out=out, mode='clip')  # 'raise' would buffer


def _scratch(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return memory of this thread alone, uint8, which its next call of this shape gets too."""
    kept = _scratches.kept
    array = kept.get(shape)
    if array is None:
        if len(kept) >= MAX_SCRATCHES:  # of cameras whose sizes keep changing
            kept.clear()
        array = kept[shape] = np.empty(shape, np.uint8)
    return array


@lru_cache(maxsize=256)
def _fit(
    source_size: tuple[int, int], input_size: tuple[int, int], policy: LetterboxPolicy
) -> Letterbox:
    ratio = min(input_size[0] / source_size[0], input_size[1] / source_size[1])
    if not policy.upscale:
        ratio = min(ratio, 1.0)
    scaled = [side * ratio for side in source_size]
    # 'down' cuts off what floating point gives, even 415.99999: so does the recipe it is for.
    rounded = [int(s + (0.5 if policy.rounding == 'nearest' else 0.0)) for s in scaled]
    width, height = (
        min(max(side, 1), limit) for side, limit in zip(rounded, input_size, strict=True)
    )
    offset = (0, 0)
    if policy.anchor == 'center':
        offset = ((input_size[0] - width) // 2, (input_size[1] - height) // 2)
    scale = (width / source_size[0], height / source_size[1])
    if policy.rounding == 'down':  # models of that recipe are trained with boxes * ratio
        scale = (ratio, ratio)
    return Letterbox(source_size, input_size, (width, height), offset, scale, policy.pad_value)


@lru_cache(maxsize=64)
def _mask_lookup(
    letterbox: Letterbox, mask_width: int, mask_height: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the mask row of each source row and the mask column of each source column."""

    def lookup(axis: int, cells: int) -> NDArray[np.intp]:
        centres = np.arange(letterbox.source_size[axis]) + 0.5
        in_input = centres * letterbox.scale[axis] + letterbox.offset[axis]
        cell = np.floor(in_input * (cells / letterbox.input_size[axis])).astype(np.intp)
        return np.asarray(np.clip(cell, 0, cells - 1), np.intp)

    return lookup(1, mask_height), lookup(0, mask_width)
