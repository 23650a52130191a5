"""Brown's lens, with all that OpenCV has added to it."""

from __future__ import annotations

import numpy as np
from numpy.polynomial.polynomial import polyadd, polyder, polymul, polysub
from numpy.typing import NDArray

from perception_ros.fusion.folds import Array, first_bad, smallest_root, WIDEST

_STEPS = 512
_DIRECTIONS = 48
_CLOSE = 1e-10
_MOST_STEPS = 50


class Brown:
    """Brown's model as OpenCV writes it: radial, tangential, thin prism, and a tilted sensor.

    Source: OpenCV's reference of calib3d, "Detailed Description"; `plumb_bob` is the part with
    k1, k2, p1, p2, k3.
    """

    def __init__(self, coefficients: Array) -> None:
        every = np.zeros(14)
        every[:len(coefficients)] = coefficients
        k1, k2, p1, p2, k3, k4, k5, k6, *prism = every[:12].tolist()
        self._above, self._below = (k1, k2, k3), (k4, k5, k6)
        self._tangential, self._prism = (p1, p2), tuple(prism)
        self._tilt = _tilt(*every[12:]) if every[12:].any() else None
        self._skewed = any((p1, p2, *prism))
        widest = min(float(np.arctan(np.sqrt(self._radial_fold()))), WIDEST)
        if self._skewed or self._tilt is not None:
            widest = first_bad(self._folds, widest)
        self.limit = float(np.tan(widest))
        """As `Distortion` has it."""

    def distort(self, x: Array, y: Array) -> tuple[Array, Array]:
        """Bend rays; `Distortion` says how."""
        x, y = self._bend(x, y)
        return (x, y) if self._tilt is None else _through(self._tilt, x, y)

    def undistort(self, x: Array, y: Array) -> tuple[Array, Array]:
        """Straighten rays again; `Distortion` says how."""
        if self._tilt is not None:
            x, y = _through(np.asarray(np.linalg.inv(self._tilt)), x, y)
        radius = np.hypot(x, y)
        radii = np.tan(np.linspace(0, np.arctan(self.limit), _STEPS))
        start = np.interp(radius, radii * self._radial(radii**2)[0], radii)
        start /= np.where(radius > 0, radius, 1)
        return self._solved(np.stack([x, y]), np.stack([x, y]) * start)

    def _solved(self, bent: Array, at: Array) -> tuple[Array, Array]:
        """Return what is bent to `bent` [2, N], by Newton's method from `at` [2, N]; or NaN.

        Near the fold a whole step may lead away: one that does is taken back and halved.
        """
        close = _CLOSE * np.maximum(np.hypot(*bent), 1)
        off = np.stack(self._bend(*at)) - bent
        part = np.ones(len(close))
        for _ in range(_MOST_STEPS):
            if not (np.hypot(*off) > close).any():
                break
            xx, xy, yx, yy = self._jacobian(*at)
            step = np.stack([yy * off[0] - xy * off[1], xx * off[1] - yx * off[0]])
            there = at - step * part / (xx * yy - xy * yx)
            there *= np.minimum(self.limit / np.hypot(*there), 1)  # back into the lens
            left = np.stack(self._bend(*there)) - bent
            better = np.hypot(*left) < np.hypot(*off)
            at, off = np.where(better, there, at), np.where(better, left, off)
            part = np.where(better, np.minimum(2 * part, 1), part / 2)
        x, y = np.where(np.hypot(*off) <= close, at, np.nan)
        return x, y

    def _bend(self, x: Array, y: Array) -> tuple[Array, Array]:
        square = x * x + y * y
        radial = self._factor(square)
        if not self._skewed:
            return x * radial, y * radial
        (p1, p2), (s1, s2, s3, s4) = self._tangential, self._prism
        cross = 2 * x * y
        bent_x = x * radial + p1 * cross + p2 * (square + 2 * x * x)
        bent_y = y * radial + p2 * cross + p1 * (square + 2 * y * y)
        if any(self._prism):
            bent_x += square * (s1 + square * s2)
            bent_y += square * (s3 + square * s4)
        return bent_x, bent_y

    def _factor(self, square: Array) -> Array:
        above = _cubic(self._above, square)
        return above / _cubic(self._below, square) if any(self._below) else above

    def _radial(self, square: Array) -> tuple[Array, Array]:
        """Return the radial factor and its derivative by the square of the radius."""
        above, below = _cubic(self._above, square), _cubic(self._below, square)
        change = _slope(self._above, square) * below - above * _slope(self._below, square)
        return above / below, change / (below * below)

    def _jacobian(self, x: Array, y: Array) -> tuple[Array, Array, Array, Array]:
        """Return how the bent x and y change with x and y: dx/dx, dx/dy, dy/dx, dy/dy."""
        square = x * x + y * y
        radial, change = self._radial(square)
        (p1, p2), (s1, s2, s3, s4) = self._tangential, self._prism
        both = 2 * x * y * change + 2 * p1 * x + 2 * p2 * y
        prism_x = 2 * s1 + 4 * s2 * square
        prism_y = 2 * s3 + 4 * s4 * square
        return (
            radial + 2 * x * x * change + 2 * p1 * y + 6 * p2 * x + prism_x * x,
            both + prism_x * y,
            both + prism_y * x,
            radial + 2 * y * y * change + 6 * p1 * y + 2 * p2 * x + prism_y * y,
        )

    def _radial_fold(self) -> float:
        """Return the square of the radius at which r * factor turns round, or has its pole."""
        above, below = [1, *self._above], [1, *self._below]
        change = polysub(polymul(polyder(above), below), polymul(above, polyder(below)))
        slope = polyadd(polymul(above, below), polymul([0, 2], change))
        return min(smallest_root(slope), smallest_root(below))

    def _folds(self, angle: Array) -> NDArray[np.bool_]:
        """Return at which angles to the axis the map has turned over in some direction."""
        around = np.linspace(0, 2 * np.pi, _DIRECTIONS, endpoint=False)
        radius = np.tan(angle)[:, None]
        x, y = radius * np.cos(around), radius * np.sin(around)
        xx, xy, yx, yy = self._jacobian(x, y)
        turned = ~(xx * yy - xy * yx > 0)
        if self._tilt is not None:
            turned |= np.isnan(self.distort(x, y)[0])
        return np.asarray(turned.any(axis=1))


def _cubic(factors: tuple[float, float, float], s: Array) -> Array:
    one, two, three = factors
    return 1 + s * (one + s * (two + s * three))


def _slope(factors: tuple[float, float, float], s: Array) -> Array:
    one, two, three = factors
    return one + s * (2 * two + s * 3 * three)


def _tilt(about_x: float, about_y: float) -> Array:
    """Return what a sensor that is tilted by two angles sees of one that is not, [3, 3]."""
    (sin_x, cos_x), (sin_y, cos_y) = (
        (np.sin(angle), np.cos(angle)) for angle in (about_x, about_y)
    )
    turn = np.array([
        [cos_y, sin_y * sin_x, -sin_y * cos_x],
        [0, cos_x, sin_x],
        [sin_y, -cos_y * sin_x, cos_y * cos_x],
    ])
    onto = np.array([
        [turn[2, 2], 0, -turn[0, 2]],
        [0, turn[2, 2], -turn[1, 2]],
        [0, 0, 1],
    ])
    return np.asarray(onto @ turn)


def _through(plane: Array, x: Array, y: Array) -> tuple[Array, Array]:
    """Return where a plane-to-plane projection [3, 3] puts points; NaN behind it."""
    far = plane[2, 0] * x + plane[2, 1] * y + plane[2, 2]
    far = np.where(far > 0, far, np.nan)
    return (
        (plane[0, 0] * x + plane[0, 1] * y + plane[0, 2]) / far,
        (plane[1, 0] * x + plane[1, 1] * y + plane[1, 2]) / far,
    )
