"""Which points of a sweep belong to each box of an image."""

from __future__ import annotations

from collections.abc import Sequence
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
TWIN_SHARE = 0.8
"""Of a box that shows a part of a thing, what the box of all of it holds at least."""
HALF_SHARE, LESS_SURE = 0.75, 0.75
"""How large the box of a part is at most, and how high its score, of those of all of it."""
SLACK_M = 0.2
"""How much nearer or further than the rest a point may be that lies more in another box."""


@dataclass(frozen=True, slots=True, eq=False)
class Frustums:
    """For each of N boxes the points of the thing that it shows, the nearest first.

    points: intp [M], indices into the sweep, box after box; counts: intp [N].
    """

    points: NDArray[np.intp]
    counts: NDArray[np.intp]

    @property
    def begins(self) -> NDArray[np.intp]:
        """Where the points of each box begin, intp [N]."""
        return np.asarray(np.cumsum(self.counts) - self.counts)

    def each(self) -> list[NDArray[np.intp]]:
        """Return the points of each box."""
        return np.split(self.points, np.cumsum(self.counts)[:-1]) if len(self.counts) else []

    def where(self, wanted: NDArray[np.bool_]) -> Frustums:
        """Return those of some boxes, which `wanted` [N] tells."""
        return Frustums(self.points[np.repeat(wanted, self.counts)], self.counts[wanted])

    def without(self, points: NDArray[np.bool_]) -> Frustums:
        """Return them without some of their points [M]."""
        boxes = np.repeat(np.arange(len(self.counts)), self.counts)[~points]
        return Frustums(self.points[~points], np.bincount(boxes, minlength=len(self.counts)))


class Expected(NamedTuple):
    """How far away N boxes are by the image alone, float64 [N] each, m; NaN: it does not say.

    ranges: of the nearest place of what they show, from the LiDAR over the ground; deviations:
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


class BoxesSeen(NamedTuple):
    """The boxes of one image, float32 [N, 4] px, which points it sees, and its masks, if any.

    labels: [N], of their classes; scores: float32 [N]; size: width and height of the image, px,
    which the masks may have in fewer pixels.
    """

    boxes: NDArray[np.float32]
    labels: NDArray[np.integer[Any]]
    scores: NDArray[np.float32]
    seen: Seen
    masks: InstanceMasks | None
    size: tuple[int, int]


def fill(
    views: Sequence[BoxesSeen],
    ranges_m: NDArray[np.float32],
    usable: NDArray[np.bool_],
    expected: Expected,
) -> tuple[Frustums, NDArray[np.intp]]:
    """Find the points of each box, N of them, view after view, and the box that stands for it.

    A point that several boxes of an image hold is of the one in whose middle it lies and whose
    size and place in the image fit the point's range. The points of a box are put in order of
    range, and parted where there is a gap. A LiDAR's beams are as close to one another wherever
    they end, so the part that fills most of the box's middle is the thing; a wall behind it, or a
    pole before it, fills less, and is not where the image has it.

    A detector may find a thing twice, all of it and, less sure, a half. Of two boxes of a class,
    of which one holds most of the other and as near a thing, the larger has the points of both
    and stands for both, intp [N]; any other stands for itself.

    :param ranges_m: float32 [M], of each point of the sweep, over the ground.
    :param usable: bool [M], whether a point may belong to a thing; the ground's do not.
    """
    count = sum(len(view.boxes) for view in views)
    if not count:
        none = np.zeros(0, np.intp)
        return Frustums(none, none), none
    pairs = _joined([_pairs(view, usable) for view in views], [len(v.boxes) for v in views])
    far_m = ranges_m[pairs.points]
    pairs = pairs._replace(off=pairs.off + expected.doubts(pairs.boxes, far_m))
    low_m, high_m = _likely_parts(_owned(pairs, len(views), len(usable)), ranges_m, expected)
    near = (far_m > low_m[pairs.boxes] - SLACK_M) & (far_m < high_m[pairs.boxes] + SLACK_M)
    leaders = _leaders(views, low_m, high_m)
    pairs = _parted(pairs._replace(boxes=leaders[pairs.boxes]).at(np.flatnonzero(near)))
    order = np.lexsort((ranges_m[pairs.points], pairs.boxes))
    return Frustums(pairs.points[order], np.bincount(pairs.boxes, minlength=count)), leaders


def _leaders(
    views: Sequence[BoxesSeen], low_m: NDArray[np.float32], high_m: NDArray[np.float32]
) -> NDArray[np.intp]:
    """Return which box stands for each: the largest of those that show the same thing."""
    found, before = [], 0
    for view in views:
        boxes, mine = view.boxes, slice(before, before + len(view.boxes))
        low = np.maximum(boxes[:, None, :2], boxes[:, :2])
        high = np.minimum(boxes[:, None, 2:], boxes[:, 2:])
        shared = np.clip(high - low, 0, None).prod(axis=2)
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
        # Boxes of one size are of two things side by side: a detector leaves no others.
        is_part = (shared >= TWIN_SHARE * areas[:, None]) & (areas[:, None] < HALF_SHARE * areas)
        is_part &= view.labels[:, None] == view.labels
        is_part &= view.scores[:, None] < LESS_SURE * view.scores
        near_m = low_m[mine, None]
        is_part &= (near_m > low_m[mine] - SLACK_M) & (near_m < high_m[mine] + SLACK_M)
        whole = np.where(is_part, areas, -1).argmax(axis=1)
        found.append(before + np.where(is_part.any(axis=1), whole, np.arange(len(boxes))))
        before += len(boxes)
    leaders = np.concatenate(found)
    while (leaders[leaders] != leaders).any():  # a part of a part; a leader is always larger
        leaders = leaders[leaders]
    return leaders


class _Pairs(NamedTuple):
    """A point in a box of a view, K times.

    off: how little it fits; weights: how much it counts.
    """

    points: NDArray[np.intp]
    views: NDArray[np.intp]
    boxes: NDArray[np.intp]
    off: NDArray[np.floating[Any]]
    weights: NDArray[np.float32]

    def at(self, places: NDArray[np.intp]) -> _Pairs:
        """Return some of them."""
        return _Pairs(
            self.points[places], self.views[places], self.boxes[places], self.off[places],
            self.weights[places],
        )


def _joined(pairs: Sequence[_Pairs], boxes: Sequence[int]) -> _Pairs:
    """Return the pairs of all views, which have so many boxes each."""
    views = np.repeat(np.arange(len(pairs)), [len(item.points) for item in pairs])
    before = np.array([sum(boxes[:view]) for view in range(len(boxes))], np.intp)
    return _Pairs(
        np.concatenate([item.points for item in pairs]), views,
        np.concatenate([item.boxes for item in pairs]) + before[views],
        np.concatenate([item.off for item in pairs]),
        np.concatenate([item.weights for item in pairs]),
    )


def _pairs(view: BoxesSeen, usable: NDArray[np.bool_]) -> _Pairs:
    """Return which usable points lie in which boxes of a view."""
    kept = view.seen.indices[usable[view.seen.indices]]
    pixels = view.seen.pixels[usable[view.seen.indices]]
    pairs = (
        _by_masks(len(view.boxes), pixels, view.masks, view.size) if view.masks
        else _by_boxes(view.boxes, pixels)
    )
    return pairs._replace(points=kept[pairs.points])


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
    places = order[place[inside]]
    return _Pairs(places, np.zeros_like(places), owners[inside], squared, weights)


def _by_masks(
    count: int, pixels: NDArray[np.float32], masks: InstanceMasks, size: tuple[int, int]
) -> _Pairs:
    """As `_by_boxes`, where each pixel says whose it is."""
    height, width = masks.indices.shape
    scaled = pixels * np.array([width / size[0], height / size[1]], np.float32)
    columns, rows = np.minimum(scaled.astype(np.intp), [width - 1, height - 1]).T  # if rounded up
    owners = masks.indices[rows, columns].astype(np.intp) - 1
    place = np.flatnonzero((owners >= 0) & (owners < count))
    ones = np.ones(len(place), np.float32)
    return _Pairs(place, np.zeros_like(place), owners[place], ones, ones)


def _owned(pairs: _Pairs, views: int, points: int) -> _Pairs:
    """Return those of which no other box of the view holds the same point that fits it better."""
    least = np.full((views, points), np.inf)
    np.minimum.at(least, (pairs.views, pairs.points), pairs.off)
    return pairs.at(np.flatnonzero(pairs.off <= least[pairs.views, pairs.points]))


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


def _parted(pairs: _Pairs) -> _Pairs:
    """Give each point to the one box of a view, of those which want it, that it fits best."""
    order = np.lexsort((pairs.off, pairs.points, pairs.views))
    pairs = pairs.at(order)
    is_first = (np.diff(pairs.points, prepend=-1) != 0) | (np.diff(pairs.views, prepend=-1) != 0)
    return pairs.at(np.flatnonzero(is_first))
