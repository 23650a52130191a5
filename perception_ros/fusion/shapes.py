"""From the points that are seen of a thing to the box around all of it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from perception_ros.fusion.class_sizes import ClassSize

NEAR_SHARE = 0.1
"""Of a thing's points, by range, that may be nearer than its surface: dust, spray, a mirror."""
_POINT_NOISE_M = 0.1
"""Of a LiDAR's range and of a calibration, together."""
_LEAST_FOR_YAW = 8
"""Fewer points make a direction of whatever noise they have."""
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


def surface_of(points: NDArray[np.floating], eye: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the nearest visible place of a thing, float64 [3].

    It is as far away, over the ground, as its near points are, and lies in the direction of the
    middle of all of them.

    :param points: [N, 3], of the thing; eye: [3], where the LiDAR is; both in one frame, z up.
    """
    off = points - eye
    ranges = np.hypot(off[:, 0], off[:, 1])
    near = np.percentile(ranges, 100 * NEAR_SHARE)
    middle = off.mean(axis=0)
    middle[:2] *= near / np.hypot(*middle[:2])
    return np.asarray(eye + middle)


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
    yaw, known = _direction(flat, usual)
    way = flat.mean(axis=0) - eye[:2]
    axis = yaw if known else np.arctan2(way[1], way[0])  # else it stands in the line of sight
    along = np.array([[np.cos(axis), np.sin(axis)], [-np.sin(axis), np.cos(axis)]])
    on_axes, eye_on_axes = flat @ along.T, along @ eye[:2]
    low, high = np.percentile(on_axes, [2, 98], axis=0)
    seen = high - low
    size = np.maximum(seen, usual.size[:2]) if usual else np.maximum(seen, 0.3)
    middle = (low + high) / 2
    hidden = size - seen
    # On which side of it the eye is; beside neither, what is hidden may be on both.
    side = np.sign(middle - eye_on_axes) * ((eye_on_axes < low) | (eye_on_axes > high))
    centre = middle + side * hidden / 2
    spread = np.array([usual.spread, usual.spread]) * size if usual else hidden / 2
    deviations = np.hypot(
        _POINT_NOISE_M / np.sqrt(len(points)) + 0.05, np.where(hidden > 0.05, spread / 2, 0)
    )
    covariance = np.zeros((3, 3))
    covariance[:2, :2] = along.T @ np.diag(deviations**2) @ along
    covariance[2, 2] = (0.1 + 0.05 * height_m) ** 2
    return Shape(
        np.append(along.T @ centre, ground_m + height_m / 2), np.append(size, height_m),
        yaw if known else np.nan, surface_of(points, eye), covariance,
    )


def _direction(flat: NDArray[np.float64], usual: ClassSize | None) -> tuple[float, bool]:
    """Return where a thing faces, or the opposite, in radians, and whether that can be told."""
    if usual is None or not usual.is_oblong or len(flat) < _LEAST_FOR_YAW:
        return 0.0, False
    _, (first, second), degrees = cv2.minAreaRect(flat.astype(np.float32))
    angle = np.radians(degrees)
    longer, shorter = max(first, second), min(first, second)
    if second > first:
        angle += np.pi / 2
    if longer < _FACE_SHARE * usual.width:
        return 0.0, False
    # What is no longer than the thing is wide, and thin, is its front or its back.
    if longer < 1.3 * usual.width and shorter < 0.5 * longer:
        angle += np.pi / 2
    return float((angle + np.pi / 2) % np.pi - np.pi / 2), True

