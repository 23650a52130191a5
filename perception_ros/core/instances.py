"""Instance masks: from cells relative to a box to the pixels of an image."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from perception_ros.core.canvas import Canvas
from perception_ros.core.types import InstanceMasks

NO_INSTANCE = 0
"""Value of an instance image where there is none."""

MASK_THRESHOLD = 0.5
"""An instance's pixel counts from this probability on."""

Window = tuple[slice, slice]
"""Rows and columns of an image."""


def paste(
    masks: NDArray[np.generic], boxes: NDArray[np.float32], size: tuple[int, int]
) -> Iterator[tuple[Window, NDArray[np.bool_]]]:
    """Yield for each box the window of an image that it touches, and which of it the mask shows.

    :param masks: [N, h, w], 0..1 relative to the boxes.
    :param boxes: float32 [N, 4] in pixels of the image, which they may reach beyond.
    :param size: (width, height) of the image in pixels.
    :returns: windows, empty where the box lies outside, and bool of the window's size.
    """
    cells = np.asarray(masks, np.float32)
    corners, ends = boxes[:, :2].astype(float), boxes[:, 2:].astype(float)
    first = np.clip(np.floor(corners), 0, size).astype(int)
    last = np.clip(np.ceil(ends), first, size).astype(int)
    last = np.where(ends > corners, last, first)
    # Sample the mask at the centre of each pixel that the box touches.
    scale = cells.shape[:0:-1] / np.where(ends > corners, ends - corners, 1)
    to_cells = np.zeros((len(boxes), 2, 3))
    to_cells[:, (0, 1), (0, 1)] = scale
    to_cells[:, :, 2] = (first + 0.5 - corners) * scale - 0.5
    rows = zip(first.tolist(), last.tolist(), strict=True)
    for index, ((left, top), (right, bottom)) in enumerate(rows):
        shown = np.zeros((bottom - top, right - left), np.bool_)
        if shown.size:
            sampled = cv2.warpAffine(
                cells[index],
                to_cells[index],
                (right - left, bottom - top),
                flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                borderMode=cv2.BORDER_REPLICATE,
            )
            shown = np.asarray(sampled >= MASK_THRESHOLD)
        yield (slice(top, bottom), slice(left, right)), shown


def paint_instances(
    masks: NDArray[np.generic], boxes: NDArray[np.float32], size: tuple[int, int]
) -> InstanceMasks:
    """Paint masks [N, h, w] (0..1, relative to their boxes) into one image of `size`.

    :param boxes: float32 [N, 4] in pixels of the image, which they may reach beyond; best score
        first: where two instances overlap the better one is on top.
    :param size: (width, height) in pixels.
    """
    canvas = Canvas.empty(size, np.uint16)
    indices = canvas.pixels
    indices.fill(NO_INSTANCE)
    worst_first = paste(masks[::-1], boxes[::-1], size)
    for value, (window, shown) in zip(range(len(boxes), 0, -1), worst_first, strict=True):
        np.copyto(indices[window], value, where=shown)
    return InstanceMasks(indices, masks, boxes, canvas)


def whole_masks(
    masks: NDArray[np.generic], boxes: NDArray[np.float32], size: tuple[int, int]
) -> NDArray[np.bool_]:
    """Return each of masks [N, h, w] (0..1, relative to its box) over the image: bool [N, H, W].

    Unlike painted ones they may overlap: so they are measured.

    :param boxes: float32 [N, 4] in pixels of the image, which they may reach beyond.
    :param size: (width, height) in pixels.
    """
    whole = np.zeros((len(boxes), size[1], size[0]), np.bool_)
    for image, (window, shown) in zip(whole, paste(masks, boxes, size), strict=True):
        image[window] = shown
    return whole
