"""Which points of a sweep belong to each box of an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

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
NEAR_M = 1.0
"""How far the nearest point of a thing may be from where its box stands on the ground."""
MOST_OFF = 3.0
"""Deviations from the expected range beyond which a point is no less likely."""
NO_WORD = 1.0
"""Square of the deviation of any range from that of a box of which the image says none."""
SIDE_SHARE = 0.8
"""Of a thing's depth: what lies no further behind its nearest point is of it, gap or not."""
SLACK_M = 0.2
"""How much nearer or further than the rest a point may be that lies more in another box."""


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


class Expected(NamedTuple):
    """How far away N boxes are by the image alone, float64 [N] each, m; NaN: it does not say.

    ranges: of the nearest place of what they show, from the camera over the ground; deviations:
    of these; depths: how much further back it goes on.
    """

    ranges: NDArray[np.float64]
    deviations: NDArray[np.float64]
    depths: NDArray[np.float64]

    def doubts(self, boxes: NDArray[np.intp], ranges_m: NDArray[np.float32]) -> NDArray[Any]:
        """Return how little points [K] of boxes [K] fit: squares of deviations, up to a most."""
        near = self.ranges[boxes]
        short = near - ranges_m
        off = np.maximum(short, -short - self.depths[boxes]) / (self.deviations[boxes] + NEAR_M)
        return np.asarray(np.nan_to_num(np.clip(off, 0, MOST_OFF) ** 2, nan=NO_WORD))


def fill(
    boxes: NDArray[np.float32],
    seen: Seen,
    ranges_m: NDArray[np.float32],
    usable: NDArray[np.bool_],
    expected: Expected,
    masks: InstanceMasks | None = None,
) -> Frustums:
    """Find the points of each box [N, 4] px of one image.

    A point that several boxes hold is of the one in whose middle it lies and whose size and place
    in the image fit the point's range. The points of a box are put in order of range, and parted
    where there is a gap. A LiDAR's beams are as close to one another wherever they end, so the
    part that fills most of the box's middle is the thing; a wall behind it, or a pole before it,
    fills less, and is not where the image has it.

    :param ranges_m: float32 [M], of each point of the sweep, over the ground.
    :param usable: bool [M], whether a point may belong to a thing; the ground's do not.
    :param masks: what each pixel shows, if that is known.
    """
    kept = np.flatnonzero(usable[seen.indices])
    pixels = seen.pixels[kept]
    pairs = _by_masks(len(boxes), pixels, masks) if masks else _by_boxes(boxes, pixels)
    pairs = pairs._replace(points=seen.indices[kept[pairs.points]])
    far_m = ranges_m[pairs.points]
    pairs = pairs._replace(off=pairs.off + expected.doubts(pairs.boxes, far_m))
    low_m, high_m = _likely_parts(_owned(pairs, len(ranges_m)), ranges_m, expected)
    near = (far_m > low_m[pairs.boxes] - SLACK_M) & (far_m < high_m[pairs.boxes] + SLACK_M)
    return _parted(len(boxes), pairs.at(np.flatnonzero(near)))


class _Pairs(NamedTuple):
    """A point in a box, K times: which, in which, how little it fits, how much it counts."""

    points: NDArray[np.intp]
    boxes: NDArray[np.intp]
    off: NDArray[np.floating[Any]]
    weights: NDArray[np.float32]

    def at(self, places: NDArray[np.intp]) -> _Pairs:
        """Return some of them."""
        return _Pairs(
            self.points[places], self.boxes[places], self.off[places], self.weights[places]
        )


def _by_boxes(boxes: NDArray[np.float32], pixels: NDArray[np.float32]) -> _Pairs:
    """Return which pixels lie in which boxes."""
    middles, halves = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    halves = np.maximum(halves, 0.5)
    # In order of x the points beside a box are never looked at.
    order = np.argsort(pixels[:, 0])
    in_order = pixels[order]
    begins = np.searchsorted(in_order[:, 0], middles[:, 0] - halves[:, 0], 'right')
    ends = np.searchsorted(in_order[:, 0], middles[:, 0] + halves[:, 0], 'left')
    counts = np.maximum(ends - begins, 0)
    owners = np.repeat(np.arange(len(boxes)), counts)
    place = np.arange(len(owners)) + np.repeat(begins - np.cumsum(counts) + counts, counts)
    off = (in_order[place] - middles[owners]) / halves[owners]
    inside = np.flatnonzero(np.abs(off[:, 1]) < 1)
    squared = (off[inside] ** 2).sum(axis=1)
    weights = np.exp(-squared / (2 * CENTRE_SPREAD**2))
    return _Pairs(order[place[inside]], owners[inside], squared, weights)


def _by_masks(count: int, pixels: NDArray[np.float32], masks: InstanceMasks) -> _Pairs:
    """As `_by_boxes`, where each pixel says whose it is."""
    columns, rows = pixels.astype(np.intp).T
    owners = masks.indices[rows, columns].astype(np.intp) - 1
    place = np.flatnonzero((owners >= 0) & (owners < count))
    ones = np.ones(len(place), np.float32)
    return _Pairs(place, owners[place], ones, ones)


def _owned(pairs: _Pairs, count: int) -> _Pairs:
    """Return those of which no other box holds the same point, of `count`, that fits it better."""
    least = np.full(count, np.inf)
    np.minimum.at(least, pairs.points, pairs.off)
    return pairs.at(np.flatnonzero(pairs.off <= least[pairs.points]))


def _likely_parts(
    pairs: _Pairs, ranges_m: NDArray[np.float32], expected: Expected
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return where the part of each box begins and ends that counts most, m; inf: it has none."""
    low_m, high_m = (np.full(len(expected.ranges), end, np.float32) for end in (np.inf, -np.inf))
    order = np.lexsort((ranges_m[pairs.points], pairs.boxes))
    if not len(order):
        return low_m, high_m
    pairs = pairs.at(order)
    far_m = ranges_m[pairs.points]
    gaps = np.diff(far_m) > GAP_M + GAP_PER_M * far_m[:-1]
    begins = np.flatnonzero(np.concatenate([[True], gaps | (np.diff(pairs.boxes) > 0)]))
    ends = np.append(begins[1:], len(order))
    owners, near_m = pairs.boxes[begins], far_m[begins]
    merits = np.add.reduceat(pairs.weights, begins) / np.maximum(near_m, 1) ** NEARNESS
    merits = merits * np.exp(-expected.doubts(owners, near_m) / 2)
    order = np.argsort(merits)
    best = order[np.argsort(owners[order], kind='stable')]
    # The last that is written to a box has the most merit.
    # A side that is seen at a small angle has gaps: beams meet it metres apart.
    deep_m = near_m[best] + SIDE_SHARE * expected.depths[owners[best]]
    low_m[owners[best]] = near_m[best]
    high_m[owners[best]] = np.fmax(far_m[ends[best] - 1], deep_m)
    return low_m, high_m


def _parted(count: int, pairs: _Pairs) -> Frustums:
    """Give each point to the one box, of those which want it, that it fits best."""
    order = np.lexsort((pairs.off, pairs.points))
    is_first = np.diff(pairs.points[order], prepend=-1) > 0
    kept = np.sort(order[is_first])
    counts = np.bincount(pairs.boxes[kept], minlength=count)
    return Frustums(pairs.points[kept], np.concatenate([[0], np.cumsum(counts)]))
