"""Boxes in space: what the cameras found, where the LiDAR says it is.

Each 2D box, or instance mask, is a frustum of space. The points in it that belong to one thing
(`frustums.py`) say how far away its surface is; its usual size says what is hidden behind. Where
no point says anything, the ground under the box's lower edge and the box's height do: such an
object is marked as by camera alone. What several cameras see at once becomes one object.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from perception_ros.core.config import parameter
from perception_ros.core.types import Detections
from perception_ros.fusion import monocular
from perception_ros.fusion.camera import Seen
from perception_ros.fusion.class_sizes import class_size, ClassSize
from perception_ros.fusion.frustums import fill
from perception_ros.fusion.ground import Terrain
from perception_ros.fusion.shapes import NEAR_SHARE, Shape, shape_of
from perception_ros.fusion.types import FusionSet, Matrix, Objects

_LEAST_HEIGHT_M, _MOST_HEIGHT_M = 0.2, 6.0
_DEEPEST = 1.5
"""How much deeper than usual, or than it is wide, a thing may be."""


class ObjectSettings(BaseModel):
    """What becomes an object in space."""

    model_config = ConfigDict(frozen=True, extra='forbid', allow_inf_nan=False)

    max_range_m: float = parameter(
        80.0, 'Points and objects further away are left out', unit='m', ge=1.0, le=500.0
    )
    min_points: int = parameter(
        3, 'Points of the LiDAR that a box needs; with fewer the camera alone says where it is',
        ge=1, le=1000,
    )
    ground_clearance_m: float = parameter(
        0.25, 'Points lower than this above the ground belong to no object', unit='m', ge=0.0,
        le=2.0,
    )
    camera_only: bool = parameter(
        True, 'Whether boxes without points become objects, where the camera alone says'
    )


@dataclass(slots=True)
class _Found:
    """One object on its way."""

    shape: Shape
    label: str
    score: float
    points: NDArray[np.intp]
    by_camera: bool
    sources: list[tuple[str, int]] = field(default_factory=list)


def see_all(fusion_set: FusionSet) -> list[Seen]:
    """Return for each view which points of the sweep it sees: projected once, for all uses."""
    return [
        view.lens.see(fusion_set.sweep.points, view.camera_from_lidar)
        for view in fusion_set.views
    ]


def find_objects(
    fusion_set: FusionSet,
    seen: Sequence[Seen],
    terrain: Terrain,
    settings: ObjectSettings,
    *,
    frame_id: str,
    output_from_lidar: Matrix,
) -> Objects:
    """Return what the views' detections are in space.

    :param seen: of `see_all`.
    :param terrain: of the sweep, in the frame of the output, whose z points up.
    :param frame_id: name of that frame; output_from_lidar: how the sweep came there.
    """
    level = terrain.points
    eye = output_from_lidar[:3, 3]
    ranges_m = np.hypot(level[:, 0] - np.float32(eye[0]), level[:, 1] - np.float32(eye[1]))
    with np.errstate(invalid='ignore'):
        usable = terrain.heights > settings.ground_clearance_m
        usable &= ranges_m < settings.max_range_m
    found: list[_Found] = []
    for view, points_seen in zip(fusion_set.views, seen, strict=True):
        if view.detections is None or not len(view.detections):
            continue
        frustums = fill(
            view.detections.boxes, points_seen, ranges_m, usable, view.instances
        )
        sight = monocular.Sight.of(view, output_from_lidar, terrain.plane)
        for index in range(len(view.detections)):
            item = _locate(
                view.detections, index, frustums.of(index), terrain, eye, sight, settings
            )
            if item is not None:
                item.sources.append((view.camera, index))
                found.append(item)
    return _together(_merged(found), fusion_set.sweep.stamp_ns, frame_id)


def _locate(
    detections: Detections,
    index: int,
    members: NDArray[np.intp],
    terrain: Terrain,
    eye: NDArray[np.float64],
    sight: monocular.Sight,
    settings: ObjectSettings,
) -> _Found | None:
    label = detections.class_names[int(detections.labels[index])]
    score = float(detections.scores[index])
    usual, box = class_size(label), detections.boxes[index].astype(np.float64)
    if len(members) < settings.min_points:
        if not settings.camera_only:
            return None
        guess = sight.locate(box, usual)
        if guess is None or np.hypot(*(guess.centre - eye)[:2]) > settings.max_range_m:
            return None
        return _Found(guess, label, score, members, True)
    points = terrain.points[members].astype(np.float64)
    kept = _not_behind(points - eye, sight.width_m(box, points), usual)
    members, points = members[kept], points[kept]
    heights = terrain.heights[members]
    ground_m = float(np.median(points[:, 2] - heights))
    height_m = sight.height_m(box, points)
    if height_m is None:
        height_m = max(float(heights.max()), usual.height if usual else 0)
    height_m = float(np.clip(height_m, _LEAST_HEIGHT_M, _MOST_HEIGHT_M))
    # What hangs in the air, a traffic light or a sign, stands on nothing.
    lowest = float(heights.min())
    if lowest > height_m:
        ground_m += lowest - 0.1
    return _Found(shape_of(points, eye, ground_m, height_m, usual), label, score, members, False)


def _not_behind(
    off: NDArray[np.float64], width_m: float, usual: ClassSize | None
) -> NDArray[np.bool_]:
    """Say which points [N, 3], from the eye, are no further back than the thing can be deep.

    A hedge or a wall that it stands at goes on behind it without a gap.
    """
    ranges_m = np.hypot(off[:, 0], off[:, 1])
    near_m = float(np.percentile(ranges_m, 100 * NEAR_SHARE))
    # Of a thing of no known size the box says how wide it looks, of a known one how it varies.
    most_m = _DEEPEST * (usual.length if usual else max(width_m, _LEAST_HEIGHT_M))
    return np.asarray(ranges_m <= near_m + most_m)


def _merged(found: list[_Found]) -> list[_Found]:
    """Let what several cameras see at once become one object, the one with the most points."""
    order = sorted(found, key=lambda item: (item.by_camera, -len(item.points)))
    kept: list[_Found] = []
    for item in order:
        twin = next((other for other in kept if _is_same(item, other)), None)
        if twin is None:
            kept.append(item)
            continue
        twin.sources += item.sources
        if item.score > twin.score:
            twin.score, twin.label = item.score, item.label
    return sorted(kept, key=lambda item: -item.score)


def _is_same(one: _Found, other: _Found) -> bool:
    """Say whether two objects, of different cameras, are one thing."""
    if {camera for camera, _ in one.sources} & {camera for camera, _ in other.sources}:
        return False  # one camera has said that they are two
    off = one.shape.centre[:2] - other.shape.centre[:2]
    reach = (one.shape.size[:2].max() + other.shape.size[:2].max()) / 2
    doubt = 0.0
    if one.by_camera or other.by_camera:
        spread = one.shape.covariance[:2, :2] + other.shape.covariance[:2, :2]
        doubt = 2 * float(np.sqrt(np.linalg.eigvalsh(spread)[-1]))
    if np.hypot(*off) > reach + doubt:
        return False
    if not one.by_camera and not other.by_camera:
        shared = len(np.intersect1d(one.points, other.points, assume_unique=True))
        if shared >= 0.3 * min(len(one.points), len(other.points)):
            return True
        return one.label == other.label and bool(np.hypot(*off) < 0.5 * reach)
    return one.label == other.label


def _together(found: list[_Found], stamp_ns: int, frame_id: str) -> Objects:
    names = tuple(sorted({item.label for item in found}))
    shapes = [item.shape for item in found]

    def rows(values: list[NDArray[np.float64]], *shape: int) -> NDArray[np.float64]:
        return np.array(values, np.float64).reshape(-1, *shape)

    return Objects(
        stamp_ns=stamp_ns,
        frame_id=frame_id,
        centres=rows([shape.centre for shape in shapes], 3),
        sizes=rows([shape.size for shape in shapes], 3),
        yaws=np.array([shape.yaw for shape in shapes], np.float64),
        surfaces=rows([shape.surface for shape in shapes], 3),
        covariances=rows([shape.covariance for shape in shapes], 3, 3),
        points=np.array([len(item.points) for item in found], np.int32),
        scores=np.array([item.score for item in found], np.float32),
        labels=np.array([names.index(item.label) for item in found], np.int32),
        by_camera=np.array([item.by_camera for item in found], np.bool_),
        sources=tuple(tuple(item.sources) for item in found),
        members=tuple(item.points for item in found),
        class_names=names,
    )
