"""A camera's lens: points of space to pixels, with the distortion of real lenses.

Pixels are those of `core.types`: (0, 0) is the outer corner of the top-left one, so CameraInfo's
and OpenCV's coordinates are these minus 0.5.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

DistortionModel = Literal['none', 'plumb_bob', 'rational_polynomial', 'equidistant']


class Seen(NamedTuple):
    """The points that a camera sees, M of the N that were given.

    indices: intp [M] into what was given; pixels: float32 [M, 2]; depths_m: float32 [M], z.
    """

    indices: NDArray[np.intp]
    pixels: NDArray[np.float32]
    depths_m: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class CameraModel:
    """A lens as CameraInfo describes it, for one kind of its images.

    matrix: float64 [3, 3], K for raw images, P's left part for rectified ones, in CameraInfo's
    pixel coordinates; coefficients: float64 [D], of the distortion model.
    """

    width: int
    height: int
    matrix: NDArray[np.float64]
    distortion: DistortionModel = 'none'
    coefficients: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))

    def project(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return where points [N, 3] m of the optical frame are, float64 [N, 2] px.

        NaN for those that no ray through the lens reaches: behind it, not finite, or beyond the
        angle up to which its distortion is a function.
        """
        raise NotImplementedError

    def see(self, points: NDArray[np.float32], camera_from_points: NDArray[np.float64]) -> Seen:
        """Return which points [N, 3] of another frame lie within the image, and where. Fast."""
        raise NotImplementedError

    def rays(self, pixels: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the directions, float64 [N, 3] of length 1, from which pixels [N, 2] are lit.

        NaN for those that the lens cannot show.
        """
        raise NotImplementedError
