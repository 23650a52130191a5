"""From the points that are seen of a thing to the box around all of it."""

from __future__ import annotations

from dataclasses import dataclass
import math

import numpy as np
from numpy.typing import NDArray

from perception_ros.fusion.class_sizes import ClassSize

NEAR_SHARE = 0.1
"""Of a thing's points, by range, that may be nearer than its surface: dust, spray, a mirror."""
_STRAY_SHARE = 0.02
"""Of its points that may stand out on each side of its box."""
_NOISE_M = 0.15
"""Of one of a LiDAR's points, of which many are better."""
_ALIGNED_M = 0.15
"""Of what no number of points makes better: calibration, motion during the sweep, open edges."""
_LEAST_FOR_YAW = 8
"""Fewer points make a direction of whatever noise they have."""
_MOST_FOR_YAW = 100
"""More make it no better."""
_EDGE_M = 0.1
"""Points so close to an edge are on it."""
_FACE_SHARE = 0.5
"""Of its usual width that must be seen of a thing before its direction is believed."""


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """A box in a frame whose z points up. float64, metres and radians; see `types.Objects`."""

    centre: NDArray[np.float64]
    size: NDArray[np.float64]
    yaw: float
    surface: NDArray[np.float64]
    covariance: NDArray[np.float64]


def near_range(ranges_m: NDArray[np.floating]) -> float:
    """Return how far away the surface of a thing is, by the ranges [N] of its points."""
    rank = int(NEAR_SHARE * (len(ranges_m) - 1))
    return float(np.partition(ranges_m, rank)[rank])


def surface_of(points: NDArray[np.floating], eye: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the nearest visible place of a thing, float64 [3].

    It is as far away, over the ground, as its near points are, and lies in the direction of the
    middle of all of them.

    :param points: [N, 3], of the thing; eye: [3], where the LiDAR is; both in one frame, z up.
    """
    off = points - eye
    middle = off.mean(axis=0)
    middle[:2] *= near_range(np.hypot(off[:, 0], off[:, 1])) / np.hypot(middle[0], middle[1])
    return np.asarray(eye + middle, np.float64)


def shape_of(
    points: NDArray[np.float64],
    eye: NDArray[np.float64],
    ground_m: float,
    height_m: float,
    usual: ClassSize | None,
) -> Shape:
    """Return the box around a thing of which points [N, 3] are seen.

    Its length and width are what is seen of them, or what is usual where less is seen; then the
    box goes on behind what is seen, away from the eye.

    :param ground_m: z of the ground under it; height_m: how high it is above that.
    """
    flat = points[:, :2]
    surface = surface_of(points, eye)
    yaw = _direction(flat, usual)
    # One of which nobody knows how it lies stands in the line of sight.
    axis = math.atan2(surface[1] - eye[1], surface[0] - eye[0]) if yaw is None else yaw
    cos, sin = math.cos(axis), math.sin(axis)
    turn = np.array([[cos, sin], [-sin, cos]])
    on_axes = np.sort(flat @ turn.T, axis=0)
    stray = int(_STRAY_SHARE * (len(flat) - 1))
    eye_x, eye_y = float(eye[0]), float(eye[1])
    noise = math.hypot(_NOISE_M / math.sqrt(len(flat)), _ALIGNED_M)
    # As long as it may be wide, and the other way round, if nobody knows how it lies.
    turned = abs(usual.length - usual.width) / 4 if usual and yaw is None else 0.0
    middles, sizes, deviations = [], [], []
    for low, high, here, full in zip(
        on_axes[stray].tolist(), on_axes[-1 - stray].tolist(),
        (cos * eye_x + sin * eye_y, cos * eye_y - sin * eye_x),
        usual[:2] if usual else (0.3, 0.3), strict=True,
    ):
        size = max(high - low, full)
        hidden = size - (high - low)
        # What is hidden is on the far side; on both, if the eye looks along this side.
        side = 1 if here < low else -1 if here > high else 0
        middles.append((low + high) / 2 + side * hidden / 2)
        sizes.append(size)
        # Even of a side that is as long as usual nobody knows whether it goes on.
        spread = size * (usual.spread if usual else 0.3) / (2 if hidden > 0.05 else 4)
        deviations.append(math.hypot(noise, spread, turned))
    x, y = middles
    along, across = deviations[0] ** 2, deviations[1] ** 2
    covariance = np.array([
        [along * cos**2 + across * sin**2, (along - across) * cos * sin, 0],
        [(along - across) * cos * sin, along * sin**2 + across * cos**2, 0],
        [0, 0, (0.1 + 0.05 * height_m) ** 2],
    ])
    centre = np.array([cos * x - sin * y, sin * x + cos * y, ground_m + height_m / 2])
    size_m = np.array([*sizes, height_m])
    return Shape(centre, size_m, math.nan if yaw is None else yaw, surface, covariance)


def _direction(flat: NDArray[np.float64], usual: ClassSize | None) -> float | None:
    """Return where a thing faces, or the opposite, in radians; None: that cannot be told."""
    if usual is None or not usual.is_oblong or len(flat) < _LEAST_FOR_YAW:
        return None
    angle, first, second = _corner(flat[:: len(flat) // _MOST_FOR_YAW + 1])
    longer, shorter = max(first, second), min(first, second)
    if second > first:
        angle += math.pi / 2
    if longer < _FACE_SHARE * usual.width:
        return None
    # What is no longer than the thing is wide, and thin, is its front or its back.
    if longer < 1.3 * usual.width and shorter < 0.5 * longer:
        angle += math.pi / 2
    return (angle + math.pi / 2) % math.pi - math.pi / 2


def _corner(flat: NDArray[np.float64]) -> tuple[float, float, float]:
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
