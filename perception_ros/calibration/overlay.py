"""Points of a sweep drawn into the image, coloured by how far away they are."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from perception_ros.core.poses import Matrix
from perception_ros.fusion.camera import CameraModel

Pixels = NDArray[np.uint8]

_NEAR_M, _FAR_M = 3.0, 60.0
_MANY = 6000
"""Points that would hide the image if they were drawn large."""
_DIM = 0.75
"""Of the image, so that the points stand out."""


def draw_points(
    rgb: Pixels, lens: CameraModel, points: NDArray[np.float32], camera_from_lidar: Matrix,
    width_px: int,
) -> Pixels:
    """Return an image, uint8 [H, W, 3] RGB, of this width with the points [N, 3] over it.

    Colours go from red, 3 m, to blue, 60 m and more, evenly in the logarithm. Far points are
    drawn first, so that what is nearer lies over them.
    """
    seen = lens.see(points, camera_from_lidar)
    by = width_px / rgb.shape[1]
    height_px = round(rgb.shape[0] * by)
    shown = cv2.resize(rgb, (width_px, height_px), interpolation=cv2.INTER_AREA)
    shown = cv2.convertScaleAbs(shown, alpha=_DIM)
    share = np.log(np.clip(seen.depths_m, _NEAR_M, _FAR_M) / _NEAR_M) / np.log(_FAR_M / _NEAR_M)
    levels = np.round(255 * (1 - share)).astype(np.uint8)
    colours = cv2.applyColorMap(levels.reshape(-1, 1), cv2.COLORMAP_TURBO).reshape(-1, 3)
    places = np.round(seen.pixels * (width_px / lens.width, height_px / lens.height)).astype(int)
    radius = 1 if len(places) > _MANY else 2
    for index in np.argsort(-seen.depths_m):
        blue, green, red = colours[index].tolist()
        cv2.circle(shown, tuple(places[index].tolist()), radius, (red, green, blue), -1,
                   lineType=cv2.LINE_AA)
    return np.asarray(shown, np.uint8)
