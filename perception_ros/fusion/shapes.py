"""From the points that are seen of a thing to the box around all of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

NEAR_SHARE = 0.1
"""Of a thing's points, by range, that may be nearer than its surface: dust, spray, a mirror."""
_NO_WHERE_M = 1e-3
"""Nearer to the LiDAR's axis than this the line of sight has no direction."""
_STRAY_SHARE = 0.02
"""Of its points that may stand out on each side of its box."""
_NOISE_M = 0.15
"""Of one of a LiDAR's points, of which many are better."""
_ALIGNED_M = 0.15
"""Of what no number of points makes better: calibration, motion during the sweep, open edges."""
_LEAST_SIZE_M = 0.3
"""Of a thing of no known size, whose far side nobody sees."""
_OBLONG = 1.4
"""So much longer than wide is a thing of which the length tells where it faces."""
_LEAST_FOR_YAW = 8
"""Fewer points make a direction of whatever noise they have."""
_MOST_FOR_YAW = 100
"""More make it no better."""
_EDGE_M = 0.1
"""Points so close to an edge are on it."""
_FACE_SHARE = 0.5
"""Of its usual width that must be seen of a thing before its direction is believed."""


@dataclass(frozen=True, slots=True, eq=False)
class Shapes:
    """N boxes in a frame whose z points up. float64, metres and radians; see `types.Objects`."""

    centres: Array
    sizes: Array
    yaws: Array
    oriented: NDArray[np.bool_]
    surfaces: Array
    covariances: Array

    @classmethod
    def empty(cls) -> Shapes:
        """Return none."""
        return cls(
            np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0), np.zeros(0, np.bool_),
            np.zeros((0, 3)), np.zeros((0, 3, 3)),
        )

    @classmethod
    def joined(cls, shapes: Sequence[Shapes]) -> Shapes:
        """Return all of several, in their order."""
        return cls(*(
            np.concatenate([getattr(item, field.name) for item in shapes])
            for field in fields(cls)
        ))

    def at(self, places: NDArray[np.intp]) -> Shapes:
        """Return some of them."""
        return Shapes(*(getattr(self, field.name)[places] for field in fields(self)))


def surface_of(points: NDArray[np.floating], eye: Array) -> Array:
    """Return the nearest visible place of a thing, float64 [3].

    It is as far away, over the ground, as its near points are, and lies in the direction of the
    middle of all of them.

    :param points: [N, 3], of the thing; eye: [3], where the LiDAR is; both in one frame, z up.
    """
    off = points - eye
    ranges_m = np.sort(np.hypot(off[:, 0], off[:, 1]))
    middle = off.mean(axis=0)
    middle[:2] *= ranges_m[near_rank(len(off))] / np.hypot(middle[0], middle[1])
    return np.asarray(eye + middle, np.float64)


def near_rank(counts: Any) -> Any:
    """Return which of a thing's points, of so many in order of range, is at its surface."""
    return np.asarray(NEAR_SHARE * (counts - 1)).astype(np.intp)


def shapes_of(
    points: Array, counts: NDArray[np.intp], ground_m: Array, heights_m: Array, usual: Array
) -> Shapes:
    """Return the boxes around N things of which points are seen.

    Lengths and widths are what is seen of them, or what is usual where less is seen; then the
    box goes on behind what is seen, away from the LiDAR, which is the frame's origin.

    :param points: float64 [K, 3], thing after thing, the nearest first; counts: intp [N], above 0.
    :param ground_m: float64 [N], z of the ground under them.
    :param heights_m: float64 [N], how high they are above that.
    :param usual: float64 [N, 4], a `ClassSize` each; NaN: not known.
    """
    if not len(counts):
        return Shapes.empty()
    begins = np.cumsum(counts) - counts
    near = points[begins + near_rank(counts)]
    middles = np.add.reduceat(points, begins) / counts[:, None]
    middles[:, :2] *= (
        np.hypot(near[:, 0], near[:, 1])
        / np.maximum(np.hypot(middles[:, 0], middles[:, 1]), _NO_WHERE_M)
    )[:, None]
    yaws = _yaws(points[:, :2], counts, usual)
    oriented = np.isfinite(yaws)
    # One of which nobody knows how it lies stands in the line of sight.
    yaws = np.where(oriented, yaws, np.arctan2(middles[:, 1], middles[:, 0]))
    ways = np.stack([np.cos(yaws), np.sin(yaws)], axis=1)
    noise = np.hypot(_NOISE_M / np.sqrt(counts), _ALIGNED_M)
    # As long as it may be wide, and the other way round, if nobody knows how it lies.
    turned = np.where(oriented, 0, np.nan_to_num(np.abs(usual[:, 0] - usual[:, 1])) / 3)
    centres, sizes, deviations = [], [], []
    for axis, full in ((ways, usual[:, 0]), (_left_of(ways), usual[:, 1])):
        middle, size, hidden = _extent(points[:, :2], counts, axis, full)
        # Even of a side that is as long as usual nobody knows whether it goes on.
        spread = size * np.where(np.isnan(full), 0.3, usual[:, 3]) / np.where(hidden > 0.05, 2, 4)
        centres.append(axis * middle[:, None])
        sizes.append(size)
        deviations.append(np.sqrt(noise**2 + spread**2 + turned**2))
    return Shapes(
        np.column_stack([centres[0] + centres[1], ground_m + heights_m / 2]),
        np.stack([*sizes, heights_m], axis=1), yaws, oriented, middles,
        spread_along(ways, deviations[0], deviations[1], 0.1 + 0.05 * heights_m),
    )


def spread_along(ways: Array, along: Array, across: Array, upright: Array) -> Array:
    """Return covariances [N, 3, 3] of deviations [N] along unit vectors [N, 2] and across."""
    cos, sin = ways.T
    along, across = along**2, across**2
    found = np.zeros((len(ways), 3, 3))
    found[:, 0, 0] = along * cos**2 + across * sin**2
    found[:, 1, 1] = along * sin**2 + across * cos**2
    found[:, 0, 1] = found[:, 1, 0] = (along - across) * cos * sin
    found[:, 2, 2] = upright**2
    return found


def _extent(
    flat: Array, counts: NDArray[np.intp], axis: Array, full: Array
) -> tuple[Array, Array, Array]:
    """Return where things are on an axis [N, 2] each: middle, size, how much of it is hidden.

    :param flat: float64 [K, 2], their points, from the LiDAR; full: usual sizes [N], NaN: none.
    """
    owners = np.repeat(np.arange(len(counts)), counts)
    places = (flat * axis[owners]).sum(axis=1)
    places = places[np.lexsort((places, owners))]
    ends = np.cumsum(counts)
    stray = (_STRAY_SHARE * (counts - 1)).astype(np.intp)
    low, high = places[ends - counts + stray], places[ends - 1 - stray]
    size = np.maximum(high - low, np.where(np.isnan(full), _LEAST_SIZE_M, full))
    hidden = size - (high - low)
    # What is hidden is on the far side; on both, if the LiDAR looks along this side.
    side = np.where(low > 0, 1, np.where(high < 0, -1, 0))
    return (low + high + side * hidden) / 2, size, hidden


def _left_of(ways: Array) -> Array:
    return np.stack([-ways[:, 1], ways[:, 0]], axis=1)


def _yaws(flat: Array, counts: NDArray[np.intp], usual: Array) -> Array:
    """Return where things face, or the opposite, in radians; NaN: that cannot be told.

    :param flat: float64 [K, 2], their points.
    """
    yaws = np.full(len(counts), np.nan)
    is_oblong = usual[:, 0] > _OBLONG * usual[:, 1]
    begins = np.cumsum(counts) - counts
    for thing in np.flatnonzero(is_oblong & (counts >= _LEAST_FOR_YAW)).tolist():
        step = int(counts[thing]) // _MOST_FOR_YAW + 1
        own = flat[begins[thing] : begins[thing] + counts[thing] : step]
        yaws[thing] = _yaw(own, float(usual[thing, 1]))
    return yaws


def _yaw(flat: Array, usual_width: float) -> float:
    angle, first, second = _corner(flat)
    longer, shorter = max(first, second), min(first, second)
    if second > first:
        angle += math.pi / 2
    if longer < _FACE_SHARE * usual_width:
        return math.nan
    # What is no longer than the thing is wide, and thin, is its front or its back.
    if longer < 1.3 * usual_width and shorter < 0.5 * longer:
        angle += math.pi / 2
    return (angle + math.pi / 2) % math.pi - math.pi / 2


def _corner(flat: Array) -> tuple[float, float, float]:
    """Fit two edges at a right angle to points [N, 2]: where one lies, its length, the other's.

    The rectangle around the points is turned until most lie close to one of its edges: what is
    seen of a thing is one side, or two that meet. Source: Zhang, Xu, Dong, Dolan, Efficient
    L-shape fitting for vehicle detection using laser scanners (2017), their closeness criterion.
    """
    on_axes = np.stack([flat @ _ALONG.T, flat @ _ACROSS.T])
    low, high = on_axes.min(axis=1), on_axes.max(axis=1)
    from_edges = np.minimum(on_axes - low[:, None], high[:, None] - on_axes).min(axis=0)
    best = int((1 / np.maximum(from_edges, _EDGE_M)).sum(axis=0).argmax())
    first, second = (high - low)[:, best].tolist()
    return best * math.pi / 2 / len(_ALONG), first, second


_ANGLES = np.arange(0, np.pi / 2, np.radians(3))
_ALONG = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)
_ACROSS = np.stack([-np.sin(_ANGLES), np.cos(_ANGLES)], axis=1)
