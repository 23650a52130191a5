"""Instance masks: from cells relative to a box to the pixels of an image."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from perception_ros.core.types import InstanceMasks

NO_INSTANCE = 0
"""Value of an instance image where there is none."""

MASK_THRESHOLD = 0.5
"""An instance's pixel counts from this probability on."""

Window = tuple[slice, slice]
"""Rows and columns of an image."""


def paste(
    mask: NDArray[np.generic], box: NDArray[np.float32], size: tuple[int, int]
) -> tuple[Window, NDArray[np.bool_]]:
    """Return the window of an image that a box touches, and which of its pixels the mask shows.

    :param mask: [h, w], 0..1 relative to the box.
    :param box: float32 [4] in pixels of the image, which it may reach beyond.
    :param size: (width, height) of the image in pixels.
    :returns: the window, empty where the box lies outside, and bool of the window's size.
    """
    x1, y1, x2, y2 = box
    left, top = max(int(np.floor(x1)), 0), max(int(np.floor(y1)), 0)
    right, bottom = min(int(np.ceil(x2)), size[0]), min(int(np.ceil(y2)), size[1])
    if right <= left or bottom <= top:
        return (slice(0), slice(0)), np.zeros((0, 0), np.bool_)
    cells = np.asarray(mask, np.float32)
    height, width = cells.shape
    # Sample the mask at the centre of each pixel that the box touches.
    columns = ((np.arange(left, right) + 0.5 - x1) / (x2 - x1) * width - 0.5).astype(np.float32)
    rows = ((np.arange(top, bottom) + 0.5 - y1) / (y2 - y1) * height - 0.5).astype(np.float32)
    map_x, map_y = np.meshgrid(columns, rows)
    sampled = cv2.remap(cells, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return (slice(top, bottom), slice(left, right)), np.asarray(sampled >= MASK_THRESHOLD)


def paint_instances(
    masks: NDArray[np.generic], boxes: NDArray[np.float32], size: tuple[int, int]
) -> InstanceMasks:
    """Paint masks [N, h, w] (0..1, relative to their boxes) into one image of `size`.

    :param boxes: float32 [N, 4] in pixels of the image, which they may reach beyond; best score
        first: where two instances overlap the better one is on top.
    :param size: (width, height) in pixels.
    """
    indices = np.zeros((size[1], size[0]), np.uint16)
    for index in reversed(range(len(boxes))):
        window, shown = paste(masks[index], boxes[index], size)
        indices[window][shown] = index + 1
    return InstanceMasks(indices, masks, boxes)


def whole_masks(
    masks: NDArray[np.generic], boxes: NDArray[np.float32], size: tuple[int, int]
) -> NDArray[np.bool_]:
    """Return each of masks [N, h, w] (0..1, relative to its box) over the image: bool [N, H, W].

    Unlike painted ones they may overlap: so they are measured.

    :param boxes: float32 [N, 4] in pixels of the image, which they may reach beyond.
    :param size: (width, height) in pixels.
    """
    whole = np.zeros((len(boxes), size[1], size[0]), np.bool_)
    for image, mask, box in zip(whole, masks, boxes, strict=True):
        window, shown = paste(mask, box, size)
        image[window] = shown
    return whole
