"""Which points of a painted sweep stand in the way: what a costmap marks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from perception_ros.fusion.types import Paint

ROAD_USERS = (
    'car', 'van', 'truck', 'bus', 'trailer', 'motorcycle', 'motorbike', 'motorcyclist', 'bicycle',
    'cyclist', 'rider', 'person', 'pedestrian', 'animal', 'dog',
)
SURFACES = ('road', 'drivable', 'lane', 'pavement', 'sidewalk', 'terrain', 'grass', 'parking')
"""What can be driven or walked on."""


def obstacle_mask(
    paint: Paint,
    is_ground: NDArray[np.bool_],
    road_users: tuple[str, ...] = ROAD_USERS,
    surfaces: tuple[str, ...] = SURFACES,
) -> NDArray[np.bool_]:
    """Return which points are of an obstacle, bool [N].

    A point that shows a road user is, even low above the ground. Any other is unless geometry
    calls it ground or an image calls it a surface: what no camera knows stays in the way.

    :param is_ground: bool [N], what geometry alone says.
    """
    shows_user = _shows(paint, road_users)
    shows_surface = _shows(paint, surfaces)
    return shows_user | ~(is_ground | shows_surface)


def _shows(paint: Paint, names: tuple[str, ...]) -> NDArray[np.bool_]:
    """Return which points are painted as one of these classes."""
    table = np.zeros(256, np.bool_)  # 255, no class, stays false
    table[: len(paint.class_names)] = [name.lower() in names for name in paint.class_names]
    return np.asarray(table[paint.classes])
