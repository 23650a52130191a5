"""What cameras of a measurement show: a few pictures of the right size."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from perception_ros.benchmarks.images import read_pictures
from perception_ros.benchmarks.live.settings import Stream

PICTURES = 3
"""Each camera shows so many: one alone would stay in the processor's cache."""


def pictures(stream: Stream) -> list[NDArray[np.uint8]]:
    """Return what a camera shows, uint8 [H, W, 3] BGR each.

    :raises ImageError: there is nothing to show, or it cannot be read.
    """
    size = (stream.width, stream.height)
    if not stream.images:
        return [_drawn(seed, size) for seed in range(PICTURES)]
    found = read_pictures(Path(stream.images), PICTURES)
    return [
        np.asarray(cv2.resize(bgr, size, interpolation=cv2.INTER_AREA), np.uint8) for bgr in found
    ]


def _drawn(seed: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Draw soft shades, boxes on them and a little noise."""
    random = np.random.default_rng(seed)
    width, height = size
    soft = random.integers(0, 255, (9, 16, 3), np.uint8)
    picture = np.asarray(cv2.resize(soft, size, interpolation=cv2.INTER_CUBIC), np.uint8)
    for _ in range(40):
        x, y = (int(random.integers(0, side)) for side in size)
        corner = (x + width // 12, y + height // 12)
        colour = tuple(int(part) for part in random.integers(0, 255, 3))
        cv2.rectangle(picture, (x, y), corner, colour, -1)
    noise = random.integers(0, 12, picture.shape, np.uint8)
    return np.asarray(cv2.add(picture, noise), np.uint8)
