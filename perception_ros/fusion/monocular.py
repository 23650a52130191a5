"""Where a thing is by its box in an image alone: on the ground, as high as such things are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from perception_ros.fusion.camera import CameraModel
from perception_ros.fusion.class_sizes import ClassSize
from perception_ros.fusion.shapes import Shape
from perception_ros.fusion.types import Matrix

_BORDER_PX = 2.0
"""A box that ends so near to the image's border may go on outside."""
_EDGE_PX = 2.5
"""How exactly a detector draws the edge of a box, px."""
_SLOPE = 0.012
"""How far a road bends from its plane, as a share of the distance."""
_HIGHEST_M = 1.0
"""The camera must be so far above the ground for its distance to say anything."""


class Guess(NamedTuple):
    """How far away what a box shows is, over the ground from the camera, and its deviation."""

    range_m: float
    deviation_m: float


@dataclass(frozen=True, slots=True)
class Outlook:
    """How one box looks from its camera, over a ground whose z points up.

    way: unit vector over the ground to the middle of its lower edge; rise_up, rise_down: how much
    higher the rays through the middles of its upper and its lower edge are a metre further;
    aside: its width as seen from a metre; is_cut: whether it ends at the image's border, above or
    below; stands: whether its lower edge is in the image. NaN where the lens shows nothing.
    """

    way: tuple[float, float]
    rise_up: float
    rise_down: float
    aside: float
    is_cut: bool
    stands: bool

    @property
    def is_known(self) -> bool:
        """Whether the lens shows all of it."""
        return math.isfinite(self.rise_up + self.rise_down + self.aside + sum(self.way))


@dataclass(frozen=True, slots=True, eq=False)
class Sight:
    """How a camera looks into a frame whose z points up.

    eye: float64 [3], where its rays begin there; ground: a, b, c of the plane z = a x + b y + c;
    outlooks: of the boxes that it found.
    """

    eye: NDArray[np.float64]
    ground: tuple[float, float, float]
    focal_px: float
    outlooks: tuple[Outlook, ...]

    @classmethod
    def of(
        cls, lens: CameraModel, frame_from_camera: Matrix, plane: NDArray[np.float64],
        boxes: NDArray[np.float32],
    ) -> Sight:
        """Return how a camera sees boxes [N, 4] px."""
        turn = frame_from_camera[:3, :3]
        eye = turn @ lens.origin + frame_from_camera[:3, 3]
        x1, y1, x2, y2 = boxes.astype(np.float64).T
        x, y = (x1 + x2) / 2, (y1 + y2) / 2
        places = np.stack([x, y1, x, y2, x1, y, x2, y], axis=1).reshape(-1, 2)
        with np.errstate(all='ignore'):
            rays = (lens.rays(places) @ turn.T).reshape(-1, 4, 3)
            rays /= np.hypot(rays[..., 0], rays[..., 1])[..., None]
            up, down, left, right = np.moveaxis(rays, 1, 0)
            aside = np.abs(left[:, 0] * right[:, 1] - left[:, 1] * right[:, 0])
        stands = y2 < lens.height - _BORDER_PX
        is_cut = (y1 <= _BORDER_PX) | ~stands
        outlooks = tuple(
            Outlook((way_x, way_y), *rest) for way_x, way_y, *rest in zip(
                down[:, 0].tolist(), down[:, 1].tolist(), up[:, 2].tolist(), down[:, 2].tolist(),
                aside.tolist(), is_cut.tolist(), stands.tolist(), strict=True,
            )
        )
        a, b, c = plane.tolist()
        return cls(eye, (a, b, c), float(lens.matrix[1, 1]), outlooks)

    def guess(self, usuals: Sequence[ClassSize | None]) -> tuple[Guess | None, ...]:
        """Return how far away each of its N boxes is, which show things of these sizes."""
        return tuple(
            self._mean(outlook, usual)
            for outlook, usual in zip(self.outlooks, usuals, strict=True)
        )

    def locate(self, outlook: Outlook, usual: ClassSize | None, guess: Guess) -> Shape:
        """Return where what a box shows is, if it is as far away as guessed."""
        near, doubt = guess
        if usual:
            length, width, height = usual[:3]
            depth = math.sqrt(length * width)
        else:
            height = near * max(outlook.rise_up - outlook.rise_down, 0.0)
            length = width = depth = near * outlook.aside
        way_x, way_y = outlook.way
        x, y = float(self.eye[0]) + near * way_x, float(self.eye[1]) + near * way_y
        z = self._ground_m(x, y) + height / 2
        along, across = doubt**2 + (0.3 * depth) ** 2, (near * _EDGE_PX / self.focal_px + 0.1) ** 2
        covariance = np.array([
            [along * way_x**2 + across * way_y**2, (along - across) * way_x * way_y, 0],
            [(along - across) * way_x * way_y, along * way_y**2 + across * way_x**2, 0],
            [0, 0, (0.2 + _SLOPE * near) ** 2],
        ])
        return Shape(
            np.array([x + way_x * depth / 2, y + way_y * depth / 2, z]),
            np.array([length, width, height]), math.nan, np.array([x, y, z]), covariance,
        )

    def _mean(self, outlook: Outlook, usual: ClassSize | None) -> Guess | None:
        """Return what the guesses say together."""
        guesses = self._guesses(outlook, usual) if outlook.is_known else []
        if not guesses:
            return None
        weights = [guess.deviation_m**-2 for guess in guesses]
        near_m = sum(w * guess.range_m for w, guess in zip(weights, guesses, strict=True))
        return Guess(near_m / sum(weights), sum(weights) ** -0.5)

    def _guesses(self, outlook: Outlook, usual: ClassSize | None) -> list[Guess]:
        """Return what its place on the ground suggests, and what its height does."""
        guesses = []
        above_m = float(self.eye[2]) - self._ground_m(float(self.eye[0]), float(self.eye[1]))
        a, b, _ = self.ground
        # how fast the ray through the lower edge and the ground come together
        fall = a * outlook.way[0] + b * outlook.way[1] - outlook.rise_down
        if outlook.stands and above_m >= _HIGHEST_M and fall > 1e-3:
            distance = above_m / fall
            per_slope = distance**2 / above_m
            doubt = per_slope * math.hypot(_EDGE_PX / self.focal_px, _SLOPE)
            guesses.append(Guess(distance, doubt + 0.2))
        span = outlook.rise_up - outlook.rise_down
        if usual and not outlook.is_cut and span > 1e-3:
            distance = usual.height / span
            guesses.append(Guess(distance, distance * math.hypot(usual.spread, 0.05)))
        return guesses

    def _ground_m(self, x: float, y: float) -> float:
        a, b, c = self.ground
        return a * x + b * y + c
