"""Where a thing is by its box in an image alone: on the ground, as high as such things are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from perception_ros.fusion.camera import CameraModel
from perception_ros.fusion.shapes import Shapes, spread_along
from perception_ros.fusion.types import Matrix

Array = NDArray[np.float64]

_BORDER_PX = 2.0
"""A box that ends so near to the image's border may go on outside."""
_EDGE_PX = 2.5
"""How exactly a detector draws the edge of a box, px."""
_SLOPE = 0.012
"""How far a road bends from its plane, as a share of the distance."""
_HIGHEST_M = 1.0
"""The camera must be so far above the ground for its distance to say anything."""
_LEAST_RISE = 1e-3
"""Rays that come together more slowly meet nowhere that can be told."""


class Guess(NamedTuple):
    """How far away what N boxes show is, float64 [N] each, m; NaN: nothing says it.

    ranges: over the ground from the camera; deviations: of these.
    """

    ranges: Array
    deviations: Array


@dataclass(frozen=True, slots=True, eq=False)
class Sight:
    """How cameras see N boxes, in a frame whose z points up.

    eyes: float64 [N, 3], where their cameras' rays begin; focal_px: float64 [N]. float64 [N], NaN
    where the lens shows nothing: ways [N, 2], unit vectors over the ground to the middles of their
    lower edges; rises_up, rises_down: how much higher the rays through the middles of their upper
    and their lower edges are a metre further; widths: as seen from a metre. bool [N]: is_cut,
    whether they end at the image's border, above or below; stands, whether their lower edges are
    in the image.
    """

    eyes: Array
    focal_px: Array
    ways: Array
    rises_up: Array
    rises_down: Array
    widths: Array
    is_cut: NDArray[np.bool_]
    stands: NDArray[np.bool_]

    @classmethod
    def of(
        cls, lens: CameraModel, frame_from_camera: Matrix, boxes: NDArray[np.float32]
    ) -> Sight:
        """Return how a camera sees boxes [N, 4] px."""
        turn = frame_from_camera[:3, :3]
        eye = turn @ lens.origin + frame_from_camera[:3, 3]
        x1, y1, x2, y2 = boxes.astype(np.float64).T
        x, y = (x1 + x2) / 2, (y1 + y2) / 2
        places = np.concatenate([[x, y1], [x, y2], [x1, y], [x2, y]], axis=1).T
        with np.errstate(all='ignore'):
            rays = lens.rays(places) @ turn.T
            rays /= np.hypot(rays[:, 0], rays[:, 1])[:, None]
            up, down, left, right = rays.reshape(4, -1, 3)
            widths = np.abs(left[:, 0] * right[:, 1] - left[:, 1] * right[:, 0])
        stands = y2 < lens.height - _BORDER_PX
        return cls(
            np.tile(eye, (len(boxes), 1)), np.full(len(boxes), lens.matrix[1, 1]), down[:, :2],
            up[:, 2], down[:, 2], widths, (y1 <= _BORDER_PX) | ~stands, stands,
        )

    @classmethod
    def joined(cls, sights: Sequence[Sight]) -> Sight:
        """Return those of several cameras, in their order."""
        return cls(*(
            np.concatenate([getattr(item, field.name) for item in sights])
            for field in fields(cls)
        ))

    @property
    def rises(self) -> Array:
        """How high the boxes are as seen from a metre, float64 [N]."""
        return np.asarray(self.rises_up - self.rises_down)

    def guess(self, usual: Array, ground: Array) -> Guess:
        """Return how far away the boxes are, which show things of sizes [N, 4], a `ClassSize`.

        The ground under them says it and their height, each as much as it can.

        :param ground: float64 [3], a, b, c of the plane z = a x + b y + c; NaN: nobody sees it.
        """
        above_m = self.eyes[:, 2] - _ground_m(self.eyes[:, :2], ground)
        with np.errstate(all='ignore'):
            # how fast the ray through the lower edge and the ground come together
            fall = self.ways @ ground[:2] - self.rises_down
            falls = self.stands & (fall > _LEAST_RISE) & (above_m >= _HIGHEST_M)
            down_m = np.where(falls, above_m / fall, np.nan)
            doubt = np.hypot(_EDGE_PX / self.focal_px, _SLOPE)
            by_ground = down_m, down_m**2 / above_m * doubt + 0.2
            rises = np.where(self.is_cut | (self.rises <= _LEAST_RISE), np.nan, self.rises)
            high_m = usual[:, 2] / rises
            by_height = high_m, high_m * np.hypot(usual[:, 3], 0.05)
            ranges, deviations = np.stack([by_ground, by_height], axis=1)
            weights = np.where(np.isfinite(ranges), deviations**-2.0, 0)
            weight = weights.sum(axis=0)
            near_m = (np.nan_to_num(ranges) * weights).sum(axis=0) / weight
            near_m[~np.isfinite(self.rises + self.widths)] = np.nan
            return Guess(near_m, weight**-0.5)

    def locate(self, guess: Guess, usual: Array, ground: Array) -> Shapes:
        """Return where what the boxes show is, if it is as far away as guessed.

        Nobody knows how it lies: its length is laid along the line of sight.
        """
        near_m, doubt_m = guess
        is_known = np.isfinite(usual[:, 0])
        wide_m = near_m * self.widths
        size = np.where(
            is_known[:, None], usual[:, :3],
            np.stack([wide_m, wide_m, near_m * np.maximum(self.rises, 0)], axis=1),
        )
        flat = self.eyes[:, :2] + near_m[:, None] * self.ways
        z = _ground_m(flat, ground) + size[:, 2] / 2
        along = np.hypot(doubt_m, 0.3 * np.sqrt(size[:, 0] * size[:, 1]))
        across = near_m * _EDGE_PX / self.focal_px + 0.1
        return Shapes(
            np.column_stack([flat + self.ways * size[:, :1] / 2, z]), size,
            np.arctan2(self.ways[:, 1], self.ways[:, 0]), np.zeros(len(size), np.bool_),
            np.column_stack([flat, z]),
            spread_along(self.ways, along, across, 0.2 + _SLOPE * near_m),
        )


def _ground_m(flat: Array, ground: Array) -> Array:
    """Return z of the ground at places [N, 2]."""
    return np.asarray(flat @ ground[:2] + ground[2])
