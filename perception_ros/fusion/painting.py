"""Which points of a sweep are what: classes of the cameras' masks and boxes, point by point.

A point gets the class of the object that it belongs to, where there is one; otherwise that of the
semantic masks. Of several cameras that see a point the one counts in whose image it lies furthest
from the border: there lenses are sharpest and nothing is cut.

The LiDAR sits elsewhere than the camera, so it sees past the edges of what stands before a camera:
such a point lies on a pixel that shows something else. A grid of the least depths of what stands
on the ground tells these: what is further away than that is hidden, and is not painted.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from perception_ros.core.types import SemanticMask, UNLABELLED
from perception_ros.fusion.camera import CameraModel, Seen
from perception_ros.fusion.ground import Terrain
from perception_ros.fusion.types import FusionSet, Objects, Paint, View

_CELL_PX = 8, 16
"""Width and height of a cell of the depth grid; a LiDAR's beams are closer side by side."""
_BEHIND_M, _BEHIND_SHARE = 1.0, 0.08
"""A point is hidden if it is further behind its neighbourhood than so much, and a share more."""
_STANDS_M = 0.4
"""What is this high above the ground hides what is behind it."""
_NOWHERE_M = 1e6
_AROUND_PX = 3
"""How far from a point it is asked whether its neighbours show the same."""
_MARGIN_M = 0.2
"""Around the box of an object: its points may stand out so far, a mirror or a wheel."""
_NO_CLASS, _NO_CAMERA = 255, 255


def paint(
    fusion_set: FusionSet, seen: Sequence[Seen], objects: Objects, terrain: Terrain
) -> Paint:
    """Say what each point of a sweep shows.

    :param seen: which points each view sees, from `see_all`.
    :param objects: of the sweep, in the frame of the terrain.
    """
    count = len(fusion_set.sweep.points)
    names = _names(fusion_set.views, objects)
    classes = np.full(count, _NO_CLASS, np.uint8)
    scores = np.zeros(count, np.float32)
    cameras = np.full(count, _NO_CAMERA, np.uint8)
    merits = np.zeros(count, np.float32)
    for number, (view, points) in enumerate(zip(fusion_set.views, seen, strict=True)):
        if not view.semantic or not len(points.indices):
            continue
        plain = ~_hidden(points, view.lens, terrain.heights[points.indices] > _STANDS_M)
        indices, pixels = points.indices[plain], points.pixels[plain]
        merit = _from_border(pixels, view.lens)
        for mask in view.semantic.values():
            found, purity = _look_up(mask, pixels, view.lens)
            better = (found != UNLABELLED) & (merit > merits[indices])
            chosen = indices[better]
            numbers = np.array([names.index(name) for name in mask.class_names], np.uint8)
            classes[chosen] = numbers[found[better]]
            scores[chosen], cameras[chosen] = purity[better], number
            merits[chosen] = merit[better]
    owners = _members(fusion_set, seen, objects, terrain)
    mine = np.flatnonzero(owners)
    of = owners[mine].astype(np.intp) - 1
    numbers = np.array([names.index(name) for name in objects.class_names], np.uint8)
    order = {view.camera: number for number, view in enumerate(fusion_set.views)}
    first = np.array([order[sources[0][0]] for sources in objects.sources], np.uint8)
    if len(mine):
        classes[mine] = numbers[objects.labels[of]]
        scores[mine], cameras[mine] = objects.scores[of], first[of]
    return Paint(classes, scores, cameras, owners, names)


def _names(views: Sequence[View], objects: Objects) -> tuple[str, ...]:
    """Return the classes that may be painted: those of masks in their order, then of boxes."""
    masks = [mask for view in views for mask in view.semantic.values()]
    of_masks = [name for mask in masks for name in mask.class_names]
    of_boxes = [
        name for view in views if view.detections for name in view.detections.class_names
    ]
    return tuple(dict.fromkeys([*of_masks, *of_boxes, *objects.class_names]))


def _look_up(
    mask: SemanticMask, pixels: NDArray[np.float32], lens: CameraModel
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return the class at each pixel, and how much of its neighbourhood shows the same."""
    height, width = mask.class_ids.shape
    scale = np.array([width / lens.width, height / lens.height], np.float32)
    columns, rows = (pixels * scale).astype(np.int32).T
    flat = mask.class_ids.ravel()
    found = flat[rows * width + columns]
    same = np.ones(len(found), np.float32)
    for right, down in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
        column = np.clip(columns + right * _AROUND_PX, 0, width - 1)
        row = np.clip(rows + down * _AROUND_PX, 0, height - 1)
        same += flat[row * width + column] == found
    return found, same / np.float32(5)


def _from_border(pixels: NDArray[np.float32], lens: CameraModel) -> NDArray[np.float32]:
    """Return how far pixels are from the border, as a share of the half image, above 0."""
    half = np.array([lens.width / 2, lens.height / 2], np.float32)
    return np.asarray(1.001 - np.abs(pixels / half - 1).max(axis=1), np.float32)


def _hidden(seen: Seen, lens: CameraModel, stands: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Say which points are behind one that stands, nearer to the camera, beside them."""
    wide, high = _CELL_PX
    columns = (seen.pixels[:, 0] / wide).astype(np.int32)
    rows = (seen.pixels[:, 1] / high).astype(np.int32)
    grid = np.full((lens.height // high + 1, lens.width // wide + 1), _NOWHERE_M, np.float32)
    standing = np.flatnonzero(stands)
    order = standing[np.argsort(-seen.depths_m[standing])]  # the nearest is written last
    grid[rows[order], columns[order]] = seen.depths_m[order]
    around = cv2.erode(grid, np.ones((3, 3), np.uint8), borderValue=_NOWHERE_M)
    nearest = around[rows, columns]
    return np.asarray(seen.depths_m > nearest * (1 + _BEHIND_SHARE) + _BEHIND_M)


def _members(
    fusion_set: FusionSet, seen: Sequence[Seen], objects: Objects, terrain: Terrain
) -> NDArray[np.uint16]:
    """Return for each point the object that it belongs to, + 1; 0: none.

    Where it is known how an object lies, what else of its frustum is in its box is its too: the
    wheels near the ground, the seat behind the window.
    """
    owners = np.zeros(len(terrain.points), np.uint16)
    by_camera = dict(zip((view.camera for view in fusion_set.views), seen, strict=True))
    boxes = {view.camera: view.detections for view in fusion_set.views}
    for index in reversed(range(len(objects))):  # the best score is written last
        if objects.by_camera[index] or np.isnan(objects.yaws[index]):
            continue
        for camera, source in objects.sources[index]:
            points, detections = by_camera[camera], boxes[camera]
            assert detections is not None, 'it is the source'
            near = points.indices[_within(points.pixels, detections.boxes[source])]
            inside = _in_box(terrain, near, objects, index)
            owners[near[inside]] = index + 1
    for index in reversed(range(len(objects))):
        owners[objects.members[index]] = index + 1
    return owners


def _within(pixels: NDArray[np.float32], box: NDArray[np.float32]) -> NDArray[np.intp]:
    x, y = pixels[:, 0], pixels[:, 1]
    return np.flatnonzero((x > box[0]) & (x < box[2]) & (y > box[1]) & (y < box[3]))


def _in_box(
    terrain: Terrain, indices: NDArray[np.intp], objects: Objects, index: int
) -> NDArray[np.bool_]:
    """Say which of some points are in the box of an object, and not on the ground."""
    off = terrain.points[indices] - objects.centres[index].astype(np.float32)
    cos, sin = np.cos(objects.yaws[index]), np.sin(objects.yaws[index])
    half = objects.sizes[index] / 2 + _MARGIN_M
    along, across = off[:, 0] * cos + off[:, 1] * sin, off[:, 1] * cos - off[:, 0] * sin
    inside = (np.abs(along) < half[0]) & (np.abs(across) < half[1]) & (np.abs(off[:, 2]) < half[2])
    return np.asarray(inside & (terrain.heights[indices] > _MARGIN_M / 2))
