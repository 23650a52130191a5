"""A street around a vehicle: what its LiDAR meets, and what its cameras find there."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
import math

import numpy as np
from numpy.typing import NDArray

from perception_ros.core.poses import inverse, pose
from perception_ros.fusion.camera import CameraModel

NAMES = ('road', 'car')
ROAD, CAR, NOTHING = 0, 1, 255
LIDAR_M, CAMERA_M = 1.8, 1.5
"""Heights above the ground."""
_BEAMS = 32
_UP, _DOWN = math.radians(10), math.radians(-30)
_FARTHEST_M = 100.0
_CAR_M = np.array([4.4, 1.8, 1.6])
_FIELD_OF_VIEW = math.radians(70)
_LEAST_PX = 12
_SEED = 7

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Street:
    """Cars on flat ground, and sensors that look at them from above its origin.

    :param cameras: they look in evenly spread directions, the first one ahead.
    :param size: width and height of the images, px.
    :param points: of a turn of the LiDAR, as near as its beams allow.
    """

    cameras: int
    size: tuple[int, int]
    points: int
    cars: int = 18

    @cached_property
    def places(self) -> Array:
        """Middles of the cars on the ground, [N, 2] m, none near another."""
        chance = np.random.default_rng(_SEED)
        found: list[Array] = []
        while len(found) < self.cars:
            place = chance.uniform(-40, 40, 2)
            if np.hypot(*place) > 7 and all(np.hypot(*(place - other)) > 7 for other in found):
                found.append(place)
        return np.array(found).reshape(-1, 2)

    @cached_property
    def lens(self) -> CameraModel:
        """All cameras have the same one."""
        width, height = self.size
        focal_px = width / 2 / math.tan(_FIELD_OF_VIEW / 2)
        matrix = np.array([
            [focal_px, 0, width / 2 - 0.5], [0, focal_px, height / 2 - 0.5], [0, 0, 1]
        ])
        return CameraModel(width, height, matrix)

    def base_from_camera(self, index: int) -> Array:
        """Return where an optical frame is in the vehicle's."""
        half = math.pi * index / self.cameras
        heading = pose((0, 0, CAMERA_M), (0, 0, math.sin(half), math.cos(half)))
        return np.asarray(heading @ pose((0, 0, 0), (-0.5, 0.5, -0.5, 0.5)))

    def sweep(self) -> NDArray[np.float32]:
        """Return what the LiDAR meets, float32 [N, 3] in its frame; NaN where nothing."""
        around = np.linspace(0, 2 * math.pi, self.points // _BEAMS, endpoint=False)
        up, turn = np.meshgrid(np.linspace(_DOWN, _UP, _BEAMS), around)
        rays = np.stack(
            [np.cos(up) * np.cos(turn), np.cos(up) * np.sin(turn), np.sin(up)], axis=-1
        ).reshape(-1, 3)
        with np.errstate(divide='ignore', invalid='ignore'):
            ranges = np.where(rays[:, 2] < 0, -LIDAR_M / rays[:, 2], np.inf)
            for x, y in self.places:
                middle = np.array([x, y, _CAR_M[2] / 2 - LIDAR_M])
                sides = (middle + np.multiply.outer([-0.5, 0.5], _CAR_M))[:, None] / rays
                enters, leaves = sides.min(axis=0).max(axis=1), sides.max(axis=0).min(axis=1)
                ranges = np.where((enters > 0) & (enters < leaves), np.minimum(ranges, enters),
                                  ranges)
        ranges[ranges > _FARTHEST_M] = np.nan
        return (rays * ranges[:, None]).astype(np.float32)

    def boxes(self, index: int) -> NDArray[np.float32]:
        """Return the boxes of the cars that a camera sees, float32 [M, 4] px."""
        corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (0, 2)])
        off = corners * _CAR_M / 2
        camera_from_base = inverse(self.base_from_camera(index))
        found = []
        for place in self.places:
            points = off + np.array([*place, 0])
            seen = self.lens.project(points @ camera_from_base[:3, :3].T + camera_from_base[:3, 3])
            if np.isnan(seen).any():
                continue
            box = np.clip(np.concatenate([seen.min(axis=0), seen.max(axis=0)]), 0, self.size * 2)
            if (box[2:] - box[:2]).min() >= _LEAST_PX:
                found.append(box)
        return np.array(found, np.float32).reshape(-1, 4)

    def mask(self, index: int) -> NDArray[np.uint8]:
        """Return the classes of a camera's pixels: road below the horizon, and cars on it."""
        width, height = self.size
        mask = np.full((height, width), NOTHING, np.uint8)
        mask[height // 2 :] = ROAD
        for x1, y1, x2, y2 in np.rint(self.boxes(index)).astype(int):
            mask[y1:y2, x1:x2] = CAR
        return mask
