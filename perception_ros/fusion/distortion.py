"""What real lenses do to straight lines, and how far out they do it one to one.

Everything here is in normalised coordinates: x / z and y / z of the optical frame before the lens,
and what the camera matrix takes after it. Arrays are float64 [N].

A polynomial fits where it was calibrated. Farther out it may turn round, and a point that is far
outside the picture would come back into it. `limit` is the distance from the axis, the tangent of
an angle, up to which no two points meet; it is computed once. Beyond it nothing is seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np

from perception_ros.core.errors import CalibrationError
from perception_ros.fusion.brown import Brown
from perception_ros.fusion.folds import Array, smallest_root, WIDEST

DistortionModel = Literal['none', 'plumb_bob', 'rational_polynomial', 'equidistant']

COUNTS: dict[str, tuple[int, ...]] = {
    'none': (0,),
    'plumb_bob': (4, 5),
    'rational_polynomial': (8, 12, 14),
    'equidistant': (4,),
}
"""How many coefficients a model may have."""

_STEPS = 512
_CLOSE = 1e-10
_MOST = 1e9
"""Of a coefficient: no lens has it, and the powers of it are still numbers."""


class Distortion(Protocol):
    """A lens's map from straight rays to bent ones."""

    limit: float
    """Distance from the axis up to which the map is one to one; infinite for a pinhole."""

    def distort(self, x: Array, y: Array) -> tuple[Array, Array]:
        """Bend rays. What it makes of those beyond `limit` has no meaning."""

    def undistort(self, x: Array, y: Array) -> tuple[Array, Array]:
        """Straighten rays again, to 1e-10; NaN for those that no ray within `limit` leads to."""


def distortion(model: str, coefficients: Sequence[float] | Array) -> Distortion:
    """Return the map of a distortion model.

    :param coefficients: in the order of CameraInfo's D and of OpenCV.
    :raises CalibrationError: no such model, or not coefficients of it.
    """
    values = np.asarray(coefficients, np.float64)
    if model not in COUNTS:
        raise CalibrationError(
            f'expected a distortion model of {", ".join(COUNTS)}, got {model!r}; calibrate the '
            'camera with one of them, or rectify its images'
        )
    if values.ndim != 1 or len(values) not in COUNTS[model]:
        raise CalibrationError(
            f'expected {" or ".join(map(str, COUNTS[model]))} coefficients of {model}, got '
            f'{values.size}; check D and distortion_model against each other'
        )
    if not (np.abs(values) < _MOST).all():
        raise CalibrationError(
            f'expected coefficients of {model} below {_MOST:g}, got {values.tolist()}; calibrate '
            'again'
        )
    if model == 'none':
        return _Pinhole()
    if model == 'equidistant':
        return _Equidistant(values)
    with np.errstate(all='ignore'):  # it looks for poles
        return Brown(values)


class _Pinhole:
    limit = np.inf

    def distort(self, x: Array, y: Array) -> tuple[Array, Array]:
        return x, y

    def undistort(self, x: Array, y: Array) -> tuple[Array, Array]:
        return x, y


class _Equidistant:
    """The fisheye of OpenCV: the angle to the axis becomes a distance, times a polynomial.

    Source: Kannala and Brandt, "A generic camera model and calibration method for conventional,
    wide-angle, and fish-eye lenses", 2006, with four coefficients.
    """

    def __init__(self, coefficients: Array) -> None:
        self._k = tuple(coefficients.tolist())
        k1, k2, k3, k4 = self._k
        fold = smallest_root([1, 3 * k1, 5 * k2, 7 * k3, 9 * k4])
        self._widest = min(float(np.sqrt(fold)), WIDEST)
        self.limit = float(np.tan(self._widest))

    def distort(self, x: Array, y: Array) -> tuple[Array, Array]:
        radius = np.hypot(x, y)
        scale = self._radius(np.arctan(radius)) / np.where(radius > 0, radius, 1)
        scale[radius == 0] = 1
        return x * scale, y * scale

    def undistort(self, x: Array, y: Array) -> tuple[Array, Array]:
        radius = np.hypot(x, y)
        angles = np.linspace(0, self._widest, _STEPS)
        angle = np.interp(radius, self._radius(angles), angles)
        for _ in range(8):
            angle -= (self._radius(angle) - radius) / self._slope(angle)
            angle = np.clip(angle, 0, self._widest)
        angle[~(np.abs(self._radius(angle) - radius) < _CLOSE)] = np.nan
        scale = np.tan(angle) / np.where(radius > 0, radius, 1)
        scale[radius == 0] = 1
        return x * scale, y * scale

    def _radius(self, angle: Array) -> Array:
        k1, k2, k3, k4 = self._k
        s: Array = angle * angle
        radius: Array = angle * (1 + s * (k1 + s * (k2 + s * (k3 + s * k4))))
        return radius

    def _slope(self, angle: Array) -> Array:
        k1, k2, k3, k4 = self._k
        s: Array = angle * angle
        slope: Array = 1 + s * (3 * k1 + s * (5 * k2 + s * (7 * k3 + s * 9 * k4)))
        return slope
