"""A camera's lens: points of space to pixels, with the distortion of real lenses.

Pixels are those of `core.types`: (0, 0) is the outer corner of the top-left one, so CameraInfo's
and OpenCV's coordinates are these minus 0.5.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from perception_ros.core.errors import CalibrationError
from perception_ros.fusion.distortion import Distortion, distortion, DistortionModel
from perception_ros.fusion.folds import Array

_BORDER = 64
"""Points on each side of the image at which its field of view is measured."""


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
    pixel coordinates; coefficients: float64 [D], of the distortion model, in CameraInfo's order;
    lens_from_camera: float64 [4, 4], what turns the camera's optical frame into the one in which
    the matrix holds: R and P's baseline for rectified images, nothing for raw ones. Depths are z
    in that frame.

    :raises CalibrationError: these describe no lens.
    """

    width: int
    height: int
    matrix: NDArray[np.float64]
    distortion: DistortionModel = 'none'
    coefficients: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    lens_from_camera: NDArray[np.float64] = field(default_factory=lambda: np.eye(4))
    _bending: Distortion = field(init=False, repr=False)
    _planes: NDArray[np.float64] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise CalibrationError(
                f'expected the size of an image, got {self.width}x{self.height}; let the driver '
                'fill width and height of CameraInfo'
            )
        _check_matrix(np.asarray(self.matrix))
        bending = distortion(self.distortion, self.coefficients)
        object.__setattr__(self, '_bending', bending)
        with np.errstate(all='ignore'):
            object.__setattr__(self, '_planes', self._frustum())

    @property
    def origin(self) -> NDArray[np.float64]:
        """Where the rays start, float64 [3] m of the optical frame."""
        turn, shift = self.lens_from_camera[:3, :3], self.lens_from_camera[:3, 3]
        return np.asarray(-turn.T @ shift)

    @property
    def widest_angle(self) -> float:
        """How far off its axis the lens can show anything, in radians, whatever the image's size.

        Beyond it the distortion folds back, and nothing is seen.
        """
        return float(np.arctan(self._bending.limit))

    @property
    def lit_border(self) -> float:
        """What share of the image's border the lens can show, 0..1.

        The corners of a fisheye may be dark. Of other lenses a polynomial folds within the image
        where this is below 1: it was fitted to too few points near the border.
        """
        with np.errstate(all='ignore'):
            return float(1 - np.isnan(self._border()[0]).mean())

    def project(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return where points [N, 3] m of the optical frame are, float64 [N, 2] px.

        They may be outside the image. NaN for those that no ray through the lens reaches: behind
        it, not finite, or beyond the angle up to which its distortion is a function.
        """
        with np.errstate(all='ignore'):
            u, v, shown = self._shown(*_moved(points, self.lens_from_camera))
        pixels = np.stack([u, v], axis=1)
        pixels[~(shown & np.isfinite(u) & np.isfinite(v))] = np.nan
        return pixels

    def see(self, points: NDArray[np.float32], camera_from_points: NDArray[np.float64]) -> Seen:
        """Return which points [N, 3] of another frame lie within the image, and where. Fast.

        It is `project` and the image's bounds, of the few points that lie in the lens's field.
        """
        lens_from_points = self.lens_from_camera @ camera_from_points
        with np.errstate(all='ignore'):
            near = self._candidates(points, lens_from_points)
            x, y, z = _moved(points.take(near, axis=0), lens_from_points)
            u, v, shown = self._shown(x, y, z)
            # Rounded first: who takes them as indices must find no pixel at the very width.
            columns, rows = u.astype(np.float32), v.astype(np.float32)
        shown &= (columns >= 0) & (columns < self.width) & (rows >= 0) & (rows < self.height)
        pixels = np.stack([columns[shown], rows[shown]], axis=1)
        return Seen(near[shown], pixels, z[shown].astype(np.float32))

    def rays(self, pixels: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the directions, float64 [N, 3] of length 1, from which pixels [N, 2] are lit.

        They are those of the optical frame, and start at `origin`. NaN for those that the lens
        cannot show.
        """
        with np.errstate(all='ignore'):
            x, y = self._straight(np.asarray(pixels, np.float64))
            found = np.stack([x, y, np.ones_like(x)], axis=1)
            found /= np.linalg.norm(found, axis=1, keepdims=True)
        return np.asarray(found @ self.lens_from_camera[:3, :3])  # the rotation's way back

    def for_image(self, width: int, height: int) -> CameraModel:
        """Return the lens for the same view in another size.

        :raises CalibrationError: it cannot be the same view: the sides do not scale alike.
        """
        if (width, height) == (self.width, self.height):
            return self
        low = max((width - 1) / self.width, (height - 1) / self.height)
        high = min((width + 1) / self.width, (height + 1) / self.height)
        if width < 1 or height < 1 or low >= high:  # no common scale, even if sides were rounded
            raise CalibrationError(
                f'expected an image of {self.width}x{self.height} as CameraInfo says, or one '
                f'that is scaled evenly, got {width}x{height}; let the driver publish the '
                'CameraInfo of these images, or say in its roi what was cut out'
            )
        return replace(
            self, width=width, height=height,
            matrix=scaled(self.matrix, width / self.width, height / self.height),
        )

    def _shown(self, x: Array, y: Array, z: Array) -> tuple[Array, Array, NDArray[np.bool_]]:
        """Return the pixels u and v of points in the lens's frame, and which a ray reaches."""
        x, y = x / z, y / z
        shown = (z > 0) & (x * x + y * y <= self._bending.limit**2)
        x, y = self._bending.distort(x, y)
        (fx, skew, cx), (_, fy, cy), _ = self.matrix.tolist()
        u = fx * x + (skew * y + (cx + 0.5) if skew else cx + 0.5)
        return u, fy * y + (cy + 0.5), shown

    def _straight(self, pixels: Array) -> tuple[Array, Array]:
        """Return x / z and y / z of what lights pixels; NaN where nothing can."""
        (fx, skew, cx), (_, fy, cy), _ = self.matrix.tolist()
        y = (pixels[:, 1] - 0.5 - cy) / fy
        return self._bending.undistort((pixels[:, 0] - 0.5 - cx - skew * y) / fx, y)

    def _border(self) -> Array:
        """Return x / z and y / z [2, N] of what lights the image's border; NaN where dark."""
        along = np.linspace(0, 1, _BORDER)
        low, high = np.zeros(_BORDER), np.ones(_BORDER)
        border = np.concatenate([
            np.stack(side, axis=1)
            for side in ((along, low), (along, high), (low, along), (high, along))
        ])
        return np.stack(self._straight(border * (self.width, self.height)))

    def _frustum(self) -> Array:
        """Return four planes [4, 3] through the lens; all that is seen is on their positive side.

        They stand around what lights the image's border or, where that is nothing, around all
        that the lens can show.
        """
        edges, limit = self._border(), self._bending.limit
        if np.isnan(edges).any():
            edges = np.concatenate([edges, [[-limit, limit]] * 2], axis=1)
        (left, top), (right, bottom) = np.nanmin(edges, axis=1), np.nanmax(edges, axis=1)
        # The border bends between the points at which it was looked at.
        wider, higher = 0.02 * (right - left), 0.02 * (bottom - top)
        planes = np.array([
            [1, 0, wider - left], [-1, 0, right + wider],
            [0, 1, higher - top], [0, -1, bottom + higher],
        ])
        return np.asarray(planes / np.linalg.norm(planes, axis=1, keepdims=True))

    def _candidates(
        self, points: NDArray[np.float32], lens_from_points: Array
    ) -> NDArray[np.intp]:
        """Return which points may be seen: all that are, and few that are not."""
        planes = self._planes @ lens_from_points[:3]
        # float32 errs by less than this for points within a kilometre.
        slack = 1e-3 + 1e-6 * float(np.abs(lens_from_points[:3, 3]).max())
        inside = planes[:, :3].astype(np.float32) @ points.T
        beyond = (-planes[:, 3:] - slack).astype(np.float32)
        return np.flatnonzero((inside > beyond).all(axis=0))


def scaled(matrix: Array, by_x: float, by_y: float) -> Array:
    """Return a camera matrix [3, 3] for an image whose sides are these times as long.

    Source: the outer corner stays where it is, so the middle of the first pixel moves.
    """
    corner = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    return np.asarray(np.linalg.inv(corner) @ np.diag([by_x, by_y, 1]) @ corner @ matrix)


def _moved(points: NDArray[np.floating], matrix: Array) -> tuple[Array, Array, Array]:
    x, y, z = matrix[:3, :3] @ np.asarray(points, np.float64).T + matrix[:3, 3:]
    return x, y, z


def _check_matrix(matrix: Array) -> None:
    if matrix.shape != (3, 3) or not np.isfinite(matrix).all():
        problem = 'got what is no finite 3x3 matrix'
    elif not matrix.any():
        problem = 'got zeros: the camera is not calibrated'
    elif matrix[0, 0] <= 0 or matrix[1, 1] <= 0:
        problem = f'got focal lengths of {matrix[0, 0]:g} and {matrix[1, 1]:g}'
    elif matrix[1, 0] or list(matrix[2]) != [0, 0, 1]:
        problem = f'got {matrix.tolist()}'
    else:
        return
    raise CalibrationError(
        f'expected a camera matrix [fx 0 cx; 0 fy cy; 0 0 1], {problem}; calibrate the camera, or '
        'give its lens in a calibration file'
    )
