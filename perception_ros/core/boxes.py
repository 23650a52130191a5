"""Boxes of two answers to one image: how much they overlap, and which belong together."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.floating[Any]]
"""[N, 4], (x1, y1, x2, y2) in pixels."""


def overlaps(left: Boxes, right: Boxes) -> NDArray[np.float64]:
    """Return the intersection over union of each pair, float64 [len(left), len(right)]."""
    low = np.maximum(left[:, None, :2], right[None, :, :2])
    high = np.minimum(left[:, None, 2:], right[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0.0, None), axis=2)
    areas_l, areas_r = (np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (left, right))
    union = areas_l[:, None] + areas_r[None, :] - shared
    return np.asarray(shared / np.maximum(union, 1e-9), np.float64)


def match(shares: NDArray[np.float64], least: float) -> list[tuple[int, int]]:
    """Return pairs of (row, column), best overlaps first; each has one partner at most.

    :param shares: as `overlaps` gives them; less than zero: never a pair.
    :param least: a pair overlaps at least so much; above 0.
    """
    pairs = []
    free = shares.copy()
    while free.size and free.max() >= least:
        row, column = (int(place) for place in np.unravel_index(free.argmax(), free.shape))
        free[row, :] = free[:, column] = -1.0
        pairs.append((row, column))
    return pairs
