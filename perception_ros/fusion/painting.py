"""Which points of a sweep are what: classes of the cameras' masks and boxes, point by point.

A point gets the class of the object that it belongs to, where there is one; otherwise that of the
semantic masks. Of several cameras that see a point the one counts in whose image it lies furthest
from the border: there lenses are sharpest and nothing is cut.

The LiDAR sits elsewhere than the camera, so it sees past the edges of what stands before a camera:
such a point lies on a pixel that shows something else, and is not painted. It is told by what
stands nearer to the camera beside it *and shows the same*: where the point's own pixel shows
something else than its nearer neighbours do, the camera looks past them as well.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from perception_ros.core.errors import FusionError
from perception_ros.core.types import SemanticMask
from perception_ros.fusion.camera import CameraModel, Seen
from perception_ros.fusion.ground import Terrain
from perception_ros.fusion.types import FusionSet, Objects, Paint, View

_CELL_RAD = 0.006, 0.018
"""Width and height of a cell of the depth grid; a LiDAR's beams are closer side by side."""
_BEHIND_M, _BEHIND_SHARE = 0.5, 0.05
"""A point is hidden if it is further behind its neighbourhood than so much, and a share more."""
_STANDS_M = 0.25
"""What is higher above the ground may hide something; the ground never hides what is on it."""
_AROUND_PX = 3
"""How far from a point it is asked whether its neighbours show the same."""
_MARGIN_M = 0.2
"""Around the box of an object: its points may stand out so far, a mirror or a wheel."""
_NO_CLASS, _NO_CAMERA = 255, 255


def paint(
    fusion_set: FusionSet,
    seen: Sequence[Seen],
    objects: Objects,
    terrain: Terrain,
    known: Sequence[str] = (),
) -> Paint:
    """Say what each point of a sweep shows.

    :param seen: which points each view sees, from `see_all`.
    :param objects: of the sweep, in the frame of the output.
    :param known: class names of an earlier sweep, whose numbers stay what they are.
    :raises FusionError: there are more classes than a byte can tell apart.
    """
    views, count = fusion_set.views, len(fusion_set.sweep.points)
    names = _names(views, objects, known)
    made = Paint(
        np.full(count, _NO_CLASS, np.uint8), np.zeros(count, np.float32),
        np.full(count, _NO_CAMERA, np.uint8), np.zeros(count, np.uint16), names,
    )
    merits = np.zeros(count, np.float32)
    stands = terrain.heights > _STANDS_M  # not a number: no
    for number, (view, points) in enumerate(zip(views, seen, strict=True)):
        for mask in view.semantic.values() if len(points.indices) else ():
            _paint_semantic(made, merits, number, mask, points, view.lens, stands)
    _paint_objects(made, fusion_set, seen, objects, terrain)
    return made


def _names(views: Sequence[View], objects: Objects, known: Sequence[str]) -> tuple[str, ...]:
    """Return the classes that may be painted: known ones, then those of masks, then of boxes."""
    masks = [mask for view in views for mask in view.semantic.values()]
    of_masks = [name for mask in masks for name in mask.class_names]
    of_boxes = [
        name
        for view in views if view.detections is not None
        for name in view.detections.class_names
    ]
    names = tuple(dict.fromkeys([*known, *of_masks, *of_boxes, *objects.class_names]))
    if len(names) > _NO_CLASS:
        raise FusionError(
            f'the masks and boxes of all cameras have {len(names)} classes: expected up to '
            f'{_NO_CLASS}, as many as a byte can tell apart; fuse the results of fewer models'
        )
    return names


def _paint_semantic(
    made: Paint,
    merits: NDArray[np.float32],
    camera: int,
    mask: SemanticMask,
    points: Seen,
    lens: CameraModel,
    stands: NDArray[np.bool_],
) -> None:
    """Paint what one mask shows, where no other view has more merit.

    :param merits: float32 [N], of what is painted already; 0 where nothing is.
    """
    found, purity = _look_up(mask, points.pixels, lens)
    # Unlabelled, and ids that nobody has named, show nothing.
    numbers = np.full(256, _NO_CLASS, np.uint8)
    named = mask.class_names[:_NO_CLASS]
    numbers[: len(named)] = [made.class_names.index(name) for name in named]
    classes = numbers.take(found)
    merit = _from_border(points.pixels, lens)
    better = (classes != _NO_CLASS) & (merit > merits.take(points.indices))
    better &= ~_hidden(points, lens, classes, stands)
    chosen = points.indices[better]
    made.classes[chosen], made.scores[chosen] = classes[better], purity[better]
    made.cameras[chosen], merits[chosen] = camera, merit[better]


def _look_up(
    mask: SemanticMask, pixels: NDArray[np.float32], lens: CameraModel
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return the class at each pixel, and how much of its neighbourhood shows the same."""
    height, width = mask.class_ids.shape
    columns = (pixels[:, 0] * np.float32(width / lens.width)).astype(np.int32)
    rows = (pixels[:, 1] * np.float32(height / lens.height)).astype(np.int32)
    flat = np.ascontiguousarray(mask.class_ids).reshape(-1)
    found = flat.take(rows * width + columns, mode='clip')  # what was rounded up
    # At the border the neighbours are those of the nearest point that has all of them.
    around = min(_AROUND_PX, (width - 1) // 2, (height - 1) // 2)
    np.clip(columns, around, width - 1 - around, out=columns)
    np.clip(rows, around, height - 1 - around, out=rows)
    middles = rows * width + columns
    same = np.ones(len(found), np.uint8)
    for right, down in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
        same += flat.take(middles + (down * width + right) * around) == found
    return found, same * np.float32(1 / 5)


def _from_border(pixels: NDArray[np.float32], lens: CameraModel) -> NDArray[np.float32]:
    """Return how far pixels are from the border, as a share of the half image, above 0."""
    aside = np.abs(pixels[:, 0] * np.float32(2 / lens.width) - 1)
    np.maximum(aside, np.abs(pixels[:, 1] * np.float32(2 / lens.height) - 1), out=aside)
    return np.asarray(np.float32(1.001) - aside)


def _hidden(
    seen: Seen, lens: CameraModel, classes: NDArray[np.uint8], stands: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Say which points are behind what is nearer to the camera beside them and shows the same.

    :param classes: uint8 [M], what the pixel of each shows; stands: bool [N], whether a point of
        the sweep is above the ground.
    """
    wide, high = (np.array(_CELL_RAD) * lens.matrix.diagonal()[:2]).astype(np.float32)
    columns = (seen.pixels[:, 0] / wide).astype(np.int32)
    rows = (seen.pixels[:, 1] / high).astype(np.int32)
    kinds = np.flatnonzero(np.bincount(classes, minlength=256))
    layers = np.zeros(256, np.int32)
    layers[kinds] = np.arange(len(kinds))
    # One layer of the grid for each class, with an empty row below it.
    high_cells, wide_cells = int(lens.height / high) + 2, int(lens.width / wide) + 1
    cells = (layers.take(classes) * high_cells + rows) * wide_cells + columns
    grid = np.full((len(kinds) * high_cells, wide_cells), np.inf, np.float32)
    nearer = np.flatnonzero(stands.take(seen.indices))
    order = nearer[np.argsort(-seen.depths_m[nearer])]  # the nearest is written last
    grid.reshape(-1)[cells[order]] = seen.depths_m[order]
    around = np.ones((3, 3), np.uint8)
    least = cv2.erode(grid, around, borderType=cv2.BORDER_REPLICATE).reshape(-1).take(cells)
    return np.asarray(seen.depths_m > least * (1 + _BEHIND_SHARE) + _BEHIND_M)


def _paint_objects(
    made: Paint,
    fusion_set: FusionSet,
    seen: Sequence[Seen],
    objects: Objects,
    terrain: Terrain,
) -> None:
    """Paint the points of objects, over what masks say."""
    made.objects[:] = _members(fusion_set, seen, objects, terrain)
    mine = np.flatnonzero(made.objects)
    if not len(mine):
        return
    of = made.objects[mine].astype(np.intp) - 1
    numbers = np.array([made.class_names.index(name) for name in objects.class_names], np.uint8)
    order = {view.camera: number for number, view in enumerate(fusion_set.views)}
    first = np.array([order[sources[0][0]] for sources in objects.sources], np.uint8)
    made.classes[mine], made.scores[mine] = numbers[objects.labels[of]], objects.scores[of]
    made.cameras[mine] = first[of]


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
        if objects.by_camera[index] or not objects.oriented[index]:
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
    off = terrain.points[indices] - (objects.centres[index] - terrain.origin).astype(np.float32)
    cos, sin = np.cos(objects.yaws[index]), np.sin(objects.yaws[index])
    half = objects.sizes[index] / 2 + _MARGIN_M
    along, across = off[:, 0] * cos + off[:, 1] * sin, off[:, 1] * cos - off[:, 0] * sin
    inside = (np.abs(along) < half[0]) & (np.abs(across) < half[1]) & (np.abs(off[:, 2]) < half[2])
    return np.asarray(inside & (terrain.heights[indices] > _MARGIN_M / 2))
