"""Where a thing is by its box in an image alone: on the ground, as high as such things are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perception_ros.fusion.camera import CameraModel
from perception_ros.fusion.class_sizes import ClassSize
from perception_ros.fusion.shapes import Shape
from perception_ros.fusion.types import Matrix, View

_BORDER_PX = 2.0
"""A box that ends so near to the image's border may go on outside."""
_EDGE_PX = 2.5
"""How exactly a detector draws the edge of a box, px."""
_SLOPE = 0.012
"""How far a road bends from its plane, as a share of the distance."""
_HIGHEST_M = 1.0
"""The camera must be so far above the ground for its distance to say anything."""


@dataclass(frozen=True, slots=True, eq=False)
class Sight:
    """How a camera looks into the frame of the output, whose z points up.

    lens: its own; eye: float64 [3], where its rays begin in the frame of the output; plane:
    float64 [3], the ground z = a x + b y + c.
    """

    lens: CameraModel
    output_from_camera: Matrix
    eye: NDArray[np.float64]
    plane: NDArray[np.float64]

    @classmethod
    def of(cls, view: View, output_from_lidar: Matrix, plane: NDArray[np.float64]) -> Sight:
        """Return how a view looks at a sweep."""
        output_from_camera = output_from_lidar @ np.linalg.inv(view.camera_from_lidar)
        eye = output_from_camera[:3, :3] @ view.lens.origin + output_from_camera[:3, 3]
        return cls(view.lens, output_from_camera, eye, plane)

    def height_m(self, box: NDArray[np.float64], points: NDArray[np.float64]) -> float | None:
        """Return how high what a box [4] px shows is, as far away as the points [N, 3] are.

        None: the box ends at the border of the image, so nobody sees how high it is.
        """
        if self._is_cut(box):
            return None
        up, down = self._rays(_ends(box))
        distance = np.median(np.hypot(*(points - self.eye)[:, :2].T))
        height = float(distance * (_rise(up) - _rise(down)))
        return height if np.isfinite(height) else None

    def width_m(self, box: NDArray[np.float64], points: NDArray[np.float64]) -> float:
        """Return how wide a box [4] px is, as far away as the points [N, 3] are."""
        y = (box[1] + box[3]) / 2
        left, right = self._rays(np.array([[box[0], y], [box[2], y]]))
        distance = float(np.median(np.hypot(*(points - self.eye)[:, :2].T)))
        width = distance * _sine(left[:2], right[:2])
        return width if np.isfinite(width) else distance

    def locate(self, box: NDArray[np.float64], usual: ClassSize | None) -> Shape | None:
        """Return where what a box [4] px shows is; None: the box does not say."""
        up, down, side = self._rays(np.concatenate([_ends(box), _side(box)]))
        if not np.isfinite([up, down, side]).all():
            return None
        guesses = []  # (range over the ground, its deviation), m
        focal_px = float(self.lens.matrix[1, 1])
        if box[3] < self.lens.height - _BORDER_PX:
            guesses += self._by_ground(down, focal_px)
        if usual is not None and not self._is_cut(box):
            guesses += self._by_height(up, down, usual)
        if not guesses:
            return None
        ranges, deviations = np.array(guesses).T
        weights = deviations**-2
        near = float((ranges * weights).sum() / weights.sum())
        doubt = float(weights.sum() ** -0.5)
        way = down[:2] / np.hypot(*down[:2])
        surface = np.append(self.eye[:2] + near * way, 0)
        ground_m = float(self.plane @ [surface[0], surface[1], 1])
        height = usual.height if usual else float(near * (_rise(up) - _rise(down)))
        width = usual.width if usual else 2 * near * _sine(side[:2], down[:2])
        depth = width if usual is None else np.sqrt(usual.length * usual.width)
        surface[2] = ground_m + height / 2
        centre = surface + np.append(way * depth / 2, 0)
        along = np.array([[way[0], way[1]], [-way[1], way[0]]])
        covariance = np.zeros((3, 3))
        aside = near * _EDGE_PX / focal_px + 0.1
        spread = np.diag([doubt**2 + (0.3 * depth) ** 2, aside**2])
        covariance[:2, :2] = along.T @ spread @ along
        covariance[2, 2] = (0.2 + _SLOPE * near) ** 2
        size = np.array([depth, width, height]) if usual is None else usual.size
        return Shape(centre, size, np.nan, surface, covariance)

    def _by_ground(
        self, down: NDArray[np.float64], focal_px: float
    ) -> list[tuple[float, float]]:
        """Return how far away the ground is that a ray meets."""
        above = float(self.eye[2] - self.plane @ [self.eye[0], self.eye[1], 1])
        fall = float(self.plane[:2] @ down[:2] - down[2])  # how fast ray and ground come together
        if above < _HIGHEST_M or fall <= 1e-3:
            return []
        distance = float(above / fall * np.hypot(*down[:2]))
        deviation = distance**2 / above * np.hypot(_EDGE_PX / focal_px, _SLOPE) + 0.2
        return [(distance, float(deviation))]

    @staticmethod
    def _by_height(
        up: NDArray[np.float64], down: NDArray[np.float64], usual: ClassSize
    ) -> list[tuple[float, float]]:
        """Return how far away something of its usual height fills the box."""
        span = _rise(up) - _rise(down)
        if span <= 1e-3:
            return []
        distance = usual.height / span
        return [(distance, float(distance * np.hypot(usual.spread, 0.05)))]

    def _is_cut(self, box: NDArray[np.float64]) -> bool:
        return bool(box[1] <= _BORDER_PX or box[3] >= self.lens.height - _BORDER_PX)

    def _rays(self, pixels: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return directions, float64 [N, 3], in the frame of the output."""
        return np.asarray(self.lens.rays(pixels) @ self.output_from_camera[:3, :3].T)


def _rise(ray: NDArray[np.float64]) -> float:
    """Return how much higher a ray is a metre further over the ground."""
    return float(ray[2] / max(np.hypot(ray[0], ray[1]), 1e-3))


def _sine(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Return the sine of the angle between two directions [2], without its sign."""
    across = one[0] * other[1] - one[1] * other[0]
    return float(abs(across) / np.hypot(*one) / np.hypot(*other))


def _ends(box: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the middle of its upper and of its lower edge."""
    x = (box[0] + box[2]) / 2
    return np.array([[x, box[1]], [x, box[3]]])


def _side(box: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([[box[2], box[3]]])
