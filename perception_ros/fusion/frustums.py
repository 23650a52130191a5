"""Which points of a sweep belong to each box of an image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perception_ros.core.types import InstanceMasks
from perception_ros.fusion.camera import Seen

CENTRE_SPREAD = 0.5
"""Of the weight of a point over a box's half width: what is meant lies in its middle."""
GAP_M, GAP_PER_M = 0.4, 0.02
"""Points that are further apart in range belong to different things; beams spread with it."""
NEARNESS = 1.0
"""Of two things in a box of equal size in the image, the one half as far away counts twice."""


@dataclass(frozen=True, slots=True, eq=False)
class Frustums:
    """For each of N boxes the points of the thing that it shows.

    points: intp [M], indices into the sweep, box after box; begins: intp [N + 1], where those of
    each begin.
    """

    points: NDArray[np.intp]
    begins: NDArray[np.intp]

    def of(self, box: int) -> NDArray[np.intp]:
        """Return the indices of the points of a box."""
        return self.points[self.begins[box] : self.begins[box + 1]]


def fill(
    boxes: NDArray[np.float32],
    seen: Seen,
    ranges_m: NDArray[np.float32],
    usable: NDArray[np.bool_],
    masks: InstanceMasks | None = None,
) -> Frustums:
    """Find the points of each box [N, 4] px of one image.

    Each point goes to the box in whose middle it lies most; there the points are put in order of
    range, and parted where there is a gap. A LiDAR's beams are as close to one another wherever
    they end, so the part that fills most of the box's middle is the thing; a wall behind it, or a
    pole before it, fills less.

    :param ranges_m: float32 [M], of each point of the sweep.
    :param usable: bool [M], whether a point may belong to a thing; the ground's do not.
    :param masks: what each pixel shows, if that is known.
    """
    kept = np.flatnonzero(usable[seen.indices])
    pixels = seen.pixels[kept]
    if masks is None:
        place, owners, weights = _by_boxes(boxes, pixels)
    else:
        place, owners, weights = _by_masks(len(boxes), pixels, masks)
    indices = seen.indices[kept[place]]
    return _nearest_whole(len(boxes), indices, owners, weights, ranges_m[indices])


def _by_boxes(
    boxes: NDArray[np.float32], pixels: NDArray[np.float32]
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """Return which pixels lie in a box, in which, and how much they count."""
    middles, halves = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    halves = np.maximum(halves, 0.5)
    near = np.full(len(pixels), np.inf, np.float32)
    owners = np.full(len(pixels), -1, np.intp)
    # In order of x the points beside a box are never looked at.
    order = np.argsort(pixels[:, 0])
    sorted_pixels = pixels[order]
    begins = np.searchsorted(sorted_pixels[:, 0], middles[:, 0] - halves[:, 0], 'right').tolist()
    ends = np.searchsorted(sorted_pixels[:, 0], middles[:, 0] + halves[:, 0], 'left').tolist()
    for box, (begin, end) in enumerate(zip(begins, ends, strict=True)):
        off = (sorted_pixels[begin:end] - middles[box]) / halves[box]
        squared = off[:, 0] ** 2 + off[:, 1] ** 2
        squared[np.abs(off[:, 1]) >= 1] = np.inf
        better = np.flatnonzero(squared < near[begin:end])
        near[begin + better], owners[begin + better] = squared[better], box
    near[order], owners[order] = near.copy(), owners.copy()
    place = np.flatnonzero(owners >= 0)
    return place, owners[place], np.exp(-near[place] / (2 * CENTRE_SPREAD**2))


def _by_masks(
    count: int, pixels: NDArray[np.float32], masks: InstanceMasks
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """As `_by_boxes`, where each pixel says whose it is."""
    columns, rows = pixels.astype(np.intp).T
    owners = masks.indices[rows, columns].astype(np.intp) - 1
    place = np.flatnonzero((owners >= 0) & (owners < count))
    return place, owners[place], np.ones(len(place), np.float32)


def _nearest_whole(
    count: int,
    indices: NDArray[np.intp],
    owners: NDArray[np.intp],
    weights: NDArray[np.float32],
    ranges_m: NDArray[np.float32],
) -> Frustums:
    """Part the points of each box by gaps in their range, and keep the part that counts most."""
    order = np.lexsort((ranges_m, owners))
    indices, owners = indices[order], owners[order]
    weights, ranges_m = weights[order], ranges_m[order]
    if not len(order):
        return Frustums(indices, np.zeros(count + 1, np.intp))
    gaps = np.diff(ranges_m) > GAP_M + GAP_PER_M * ranges_m[:-1]
    begins = np.flatnonzero(np.concatenate([[True], gaps | (np.diff(owners) > 0)]))
    ends = np.append(begins[1:], len(order))
    merits = np.add.reduceat(weights, begins) / np.maximum(ranges_m[begins], 1) ** NEARNESS
    best = np.lexsort((-merits, owners[begins]))
    _, first = np.unique(owners[begins][best], return_index=True)
    chosen = best[first]  # one part for each box that has any, in the order of the boxes
    lengths = ends[chosen] - begins[chosen]
    points = np.concatenate([
        indices[begin : begin + length]
        for begin, length in zip(begins[chosen], lengths, strict=True)
    ])
    counts = np.zeros(count, np.intp)
    counts[owners[begins[chosen]]] = lengths
    return Frustums(points, np.concatenate([[0], np.cumsum(counts)]))
