"""What is plainly wrong about a camera and a LiDAR, before any picture is looked at."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np

from perception_ros.core.poses import Matrix
from perception_ros.fusion.camera import CameraModel

_FOCAL_SHARE = 0.2, 8.0
"""Focal length over width: fields of view of 136 down to 7 degrees."""
_CENTRE_SHARE = 0.3
"""How near to a border the principal point may be."""
_LEAST_SEEN = 0.005
_FAR_M = 15.0
_SLOW_S, _APART_S = 0.06, 0.5


class Fault(NamedTuple):
    """Something to mend (error), or to look at (warning)."""

    level: Literal['error', 'warning']
    text: str


def lens_faults(info: Any, lens: CameraModel, *, is_rectified: bool) -> list[Fault]:
    """Return what is odd about a lens, and about the CameraInfo that it is of, if any."""
    found = []
    (fx, _, cx), (_, fy, cy), _ = lens.matrix.tolist()
    low, high = _FOCAL_SHARE
    if not low < fx / lens.width < high and lens.distortion != 'equidistant':
        found.append(Fault('error', (
            f'a focal length of {fx:.0f} px for an image {lens.width} px wide: expected '
            f'{low:g} to {high:g} times the width; is K in pixels of this image?'
        )))
    if not 0.8 < fx / fy < 1.25:
        found.append(Fault('error', (
            f'focal lengths of {fx:.0f} and {fy:.0f} px: pixels are square on nearly all cameras; '
            'calibrate anew, or see whether K is of another image format'
        )))
    for centre, side, name in ((cx, lens.width, 'wide'), (cy, lens.height, 'high')):
        if not _CENTRE_SHARE < centre / side < 1 - _CENTRE_SHARE:
            found.append(Fault('warning', (
                f'the principal point is at {centre:.0f} of an image {side} px {name}: expected '
                'it near the middle, unless the image is cut out of a larger one (roi)'
            )))
    if lens.lit_border < 1 and lens.distortion not in ('none', 'equidistant'):
        found.append(Fault('warning', (
            f'the distortion folds back inside the image: {1 - lens.lit_border:.0%} of the border '
            'cannot be shown; calibrate with more points near the corners'
        )))
    if info is not None and not is_rectified:
        found += _projection_faults(info)
    return found


def _projection_faults(info: Any) -> list[Fault]:
    matrix = np.asarray(info.k, np.float64).reshape(3, 3)
    projection = np.asarray(info.p, np.float64).reshape(3, 4)
    bent = np.asarray(info.d, np.float64).any()
    if not projection.any():
        return [Fault('warning', 'P of the CameraInfo is zeros: who rectifies has nothing to use')]
    off = abs(projection[0, 0] / matrix[0, 0] - 1)
    if off > (0.5 if bent else 0.02):
        return [Fault('error', (
            f'K says a focal length of {matrix[0, 0]:.0f} px and P of {projection[0, 0]:.0f} px'
            f'{"" if bent else ", without distortion between them"}: one of them is of another '
            'image size; let the driver publish both of one calibration'
        ))]
    return []


def place_faults(camera_from_lidar: Matrix, frame: str, lidar: str) -> list[Fault]:
    """Return what cannot be right about where a camera is."""
    up = camera_from_lidar[:3, 2]  # the LiDAR's z axis, seen by the camera
    far = float(np.linalg.norm(camera_from_lidar[:3, 3]))
    found = []
    if up[2] > 0.8:
        found.append(Fault('error', (
            f'{frame!r} looks straight up ({lidar!r} has z up): it seems to have x forward and z '
            'up, where images need an optical frame with z forward, x right, y down (REP-103); '
            "put the optical frame's name into the images' header"
        )))
    elif up[2] < -0.8:
        found.append(Fault('warning', f'{frame!r} looks straight down; is that so?'))
    elif up[1] > 0.7:
        found.append(Fault('warning', (
            f'{frame!r} is upside down against {lidar!r}: right if the camera hangs so and its '
            'images are not turned, otherwise turn its frame by 180 degrees about its z'
        )))
    elif up[1] > -0.7:
        found.append(Fault('warning', (
            f'{frame!r} lies on its side against {lidar!r}; is that so?'
        )))
    if far > _FAR_M:
        found.append(Fault('error', (
            f'{frame!r} is {far:.1f} m away from {lidar!r}: expected a vehicle; is the '
            'translation in metres?'
        )))
    return found


def time_faults(offset_s: float) -> list[Fault]:
    """Return what is wrong with the time from a sweep's stamp to its image's."""
    if abs(offset_s) > _APART_S:
        return [Fault('error', (
            f'the nearest image is {offset_s:+.3f} s from its sweep: the clocks of both differ, '
            'or one of them was not recorded; synchronise them (PTP)'
        ))]
    if abs(offset_s) > _SLOW_S:
        return [Fault('warning', (
            f'images are {offset_s:+.3f} s from their sweeps: what moves is seen elsewhere; check '
            'while the vehicle stands, and trigger the cameras by the LiDAR'
        ))]
    return []


def view_faults(seen: int, points: int) -> list[Fault]:
    """Return what is wrong with how many points of a sweep an image shows."""
    if points and seen < _LEAST_SEEN * points:
        return [Fault('error', (
            f'{seen} of {points} points are in the image: the camera looks where the LiDAR sees '
            "nothing, or its frame's axes are wrong (optical: z forward, x right, y down)"
        ))]
    return []
