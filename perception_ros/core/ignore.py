"""What a camera sees of the vehicle itself: nothing found there is published."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from perception_ros.core.errors import ConfigError

COVERED = 0.5
"""A box of which more than this share is ignored is not published."""


class IgnoreMask:
    """Pixels of one camera to ignore, scaled to whatever size its images have.

    :raises ConfigError: the file cannot be read as an image.
    """

    def __init__(self, path: str | Path) -> None:
        mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        if mask is None:
            raise ConfigError(
                f'ignore_mask {str(path)!r}: expected an image file (PNG, say) that is non-zero '
                'where the camera sees the vehicle; it is missing or no image'
            )
        self._mask = (mask > 0).astype(np.uint8)
        self._scaled = lru_cache(maxsize=4)(self._scale)

    def covers(self, boxes: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.bool_]:
        """Say for boxes [N, 4] in an image of `size` (width, height) which lie mostly here."""
        _, area = self._scaled(size)
        x1, y1 = np.floor(boxes[:, :2]).astype(int).T
        x2, y2 = np.ceil(boxes[:, 2:]).astype(int).T
        inside = area[y2, x2] - area[y1, x2] - area[y2, x1] + area[y1, x1]
        return np.asarray(inside > COVERED * np.maximum((x2 - x1) * (y2 - y1), 1))

    def blank(self, values: NDArray[np.uint8] | NDArray[np.uint16], nothing: int) -> None:
        """Set the pixels of an image of ids [H, W] that are ignored to `nothing`, in place."""
        mask, _ = self._scaled((values.shape[1], values.shape[0]))
        values[mask] = nothing

    def _scale(self, size: tuple[int, int]) -> tuple[NDArray[np.bool_], NDArray[np.int32]]:
        """Return the mask at `size`, and its integral image [H + 1, W + 1]."""
        mask = cv2.resize(self._mask, size, interpolation=cv2.INTER_NEAREST)
        return mask.astype(bool), np.asarray(cv2.integral(mask), np.int32)
