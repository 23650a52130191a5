"""Boxes in space: what the cameras found, where the LiDAR says it is.

Each 2D box, or instance mask, is a frustum of space. The points in it that belong to one thing
(`frustums.py`) say how far away its surface is; its usual size says what is hidden behind. Where
no point says anything, the ground under the box's lower edge and the box's height do: such an
object is marked as by camera alone. What several cameras see at once becomes one object.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perception_ros.core.config import Frozen, parameter
from perception_ros.core.poses import inverse
from perception_ros.fusion.camera import Seen
from perception_ros.fusion.class_sizes import class_sizes
from perception_ros.fusion.frustums import BoxesSeen, Expected, fill, Frustums
from perception_ros.fusion.ground import Terrain
from perception_ros.fusion.monocular import Sight
from perception_ros.fusion.shapes import near_rank, Shapes, shapes_of
from perception_ros.fusion.types import FusionSet, Objects, View

Array = NDArray[np.float64]

_LEAST_HEIGHT_M, _MOST_HEIGHT_M = 0.2, 6.0
_SHARED = 0.3
"""Of the points of one object that another one's have in common, if they are one thing."""
_LIKELY = 1.5
"""Deviations from where the image has a thing, within which few points are believed."""
_GATE = 11.8
"""Squared deviations between two places of one thing: three in a thousand are further."""
_DEEPEST = 1.5
"""How much deeper than usual, or than it is wide, a thing may be."""


class ObjectSettings(Frozen):
    """What becomes an object in space."""

    max_range_m: float = parameter(
        80.0, 'Points and objects further away are left out', unit='m', ge=1.0, le=500.0
    )
    min_points: int = parameter(
        3,
        'Points of the LiDAR that a box needs, if they are not where the image has it; then one '
        'is enough. With fewer the camera alone says where it is',
        ge=1, le=1000,
    )
    ground_clearance_m: float = parameter(
        0.25, 'Points lower than this above the ground belong to no object', unit='m', ge=0.0,
        le=2.0,
    )
    camera_only: bool = parameter(
        True, 'Whether boxes without points become objects, where the camera alone says'
    )


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
) -> Objects:
    """Return what the views' detections are in space, in the frame of the output.

    :param seen: of `see_all`.
    :param terrain: of the sweep.
    :param frame_id: name of the output's frame.
    """
    views = [
        (view, points) for view, points in zip(fusion_set.views, seen, strict=True)
        if view.detections is not None and len(view.detections)
    ]
    found = _found(views, _Space.of(terrain, settings)) if views else _NOTHING
    chosen = _one_each(found)
    return _objects(found, chosen, terrain.origin, fusion_set.sweep.stamp_ns, frame_id)


@dataclass(frozen=True, slots=True, eq=False)
class _Space:
    """What all views look into, in the level frame, whose origin is the LiDAR.

    Of the sweep's points, N: ranges_m: float32 [N], over the ground; usable: bool [N], whether
    they may belong to an object.
    """

    terrain: Terrain
    ranges_m: NDArray[np.float32]
    usable: NDArray[np.bool_]
    settings: ObjectSettings

    @classmethod
    def of(cls, terrain: Terrain, settings: ObjectSettings) -> _Space:
        """Return the space around a LiDAR."""
        ranges_m = np.hypot(terrain.points[:, 0], terrain.points[:, 1])
        with np.errstate(invalid='ignore'):
            usable = terrain.heights > settings.ground_clearance_m
            usable &= ranges_m < settings.max_range_m
        return cls(terrain, ranges_m, usable, settings)


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """What detections are in space, N of them; as in `types.Objects`, but in the level frame."""

    shapes: Shapes
    labels: list[str]
    scores: list[float]
    members: list[NDArray[np.intp]]
    by_camera: NDArray[np.bool_]
    sources: list[list[tuple[str, int]]]


_NOTHING = _Found(Shapes.empty(), [], [], [], np.zeros(0, np.bool_), [])


def _found(views: Sequence[tuple[View, Seen]], space: _Space) -> _Found:
    """Return what the detections of views are in space, each by itself."""
    settings, plane = space.settings, space.terrain.plane
    level_from_lidar = space.terrain.level_from_lidar
    boxes, sights, usuals, labels, scores, sources = [], [], [], [], [], []
    for view, points in views:
        detections = view.detections
        assert detections is not None, 'others are not asked for'
        level_from_camera = level_from_lidar @ inverse(view.camera_from_lidar)
        boxes.append(BoxesSeen(
            detections.boxes, detections.labels, detections.scores, points, view.instances,
            (view.lens.width, view.lens.height),
        ))
        sights.append(Sight.of(view.lens, level_from_camera, detections.boxes))
        usuals.append(class_sizes(detections.class_names)[detections.labels])
        labels += [detections.class_names[label] for label in detections.labels.tolist()]
        scores += detections.scores.tolist()
        sources += [[(view.camera, index)] for index in range(len(detections))]
    sight, usual = Sight.joined(sights), np.concatenate(usuals)
    guess = sight.guess(usual, plane if space.terrain.is_seen else plane * np.nan)
    lengths = np.maximum(usual[:, 0], usual[:, 1])
    depths = np.where(np.isnan(lengths), guess.ranges * sight.widths, lengths)
    # From the LiDAR, as the points are: a rear camera may be metres away from it.
    away = np.hypot(*(sight.eyes[:, :2] + guess.ranges[:, None] * sight.ways).T)
    expected = Expected(away, guess.deviations, depths)
    frustums, leaders = fill(boxes, space.ranges_m, space.usable, expected)
    is_leader = leaders == np.arange(len(leaders))
    for index in np.flatnonzero(~is_leader).tolist():
        sources[leaders[index]] += sources[index]
        scores[leaders[index]] = max(scores[leaders[index]], scores[index])
    by_points = is_leader & (
        (frustums.counts >= settings.min_points) | _is_likely(frustums, space, expected)
    )
    chosen = np.flatnonzero(by_points)
    near = frustums.where(by_points)
    near = near.without(_behind(near, space, sight.widths[chosen], lengths[chosen]))
    guessed = sight.locate(guess, usual, plane)
    with np.errstate(invalid='ignore'):
        in_range = np.hypot(*guessed.centres[:, :2].T) <= settings.max_range_m
    rest = np.flatnonzero(is_leader & ~by_points & in_range & settings.camera_only)
    order = [*chosen.tolist(), *rest.tolist()]
    return _Found(
        Shapes.joined([_shapes(near, space, sight, usual, chosen), guessed.at(rest)]),
        [labels[index] for index in order], [scores[index] for index in order],
        [*near.each(), *[np.zeros(0, np.intp)] * len(rest)],
        np.arange(len(order)) >= len(chosen), [sources[index] for index in order],
    )


def _is_likely(frustums: Frustums, space: _Space, expected: Expected) -> NDArray[np.bool_]:
    """Say which things are where the image has them, bool [N]: then even one point will do."""
    boxes = np.flatnonzero((frustums.counts > 0) & np.isfinite(expected.ranges))
    nearest = frustums.points[frustums.begins[boxes]]
    found = np.zeros(len(frustums.counts), np.bool_)
    found[boxes] = expected.doubts(boxes, space.ranges_m[nearest]) < _LIKELY**2
    return found


def _behind(frustums: Frustums, space: _Space, widths: Array, lengths: Array) -> Any:
    """Say which points are further back than their thing can be deep, bool [M].

    A hedge or a wall that it stands at goes on behind it without a gap.

    :param widths: of the boxes as seen from a metre; lengths: usual ones, m; NaN: not known.
    """
    counts = frustums.counts
    ranges_m = space.ranges_m[frustums.points]
    near_m = ranges_m[frustums.begins + near_rank(counts)]
    # Of a thing of no known size the box says how wide it looks, of a known one how it varies.
    wide_m = np.fmax(near_m * np.where(np.isnan(widths), 1, widths), _LEAST_HEIGHT_M)
    most_m = near_m + _DEEPEST * np.where(np.isnan(lengths), wide_m, lengths)
    return ranges_m > np.repeat(most_m, counts)


def _shapes(
    frustums: Frustums, space: _Space, sight: Sight, usual: Array, boxes: NDArray[np.intp]
) -> Shapes:
    """Return the shapes of things of which points are seen.

    :param usual: sizes of all boxes; boxes: which of these the frustums are of.
    """
    usual, counts, begins = usual[boxes], frustums.counts, frustums.begins
    points = space.terrain.points[frustums.points].astype(np.float64)
    heights = space.terrain.heights[frustums.points].astype(np.float64)
    middle = begins + counts // 2
    ground_m = points[middle, 2] - heights[middle]
    top_m, low_m = (
        ends.reduceat(heights, begins) if len(begins) else np.zeros(0)
        for ends in (np.maximum, np.minimum)
    )
    off = points[middle, :2] - sight.eyes[boxes, :2]
    shown_m = np.hypot(off[:, 0], off[:, 1]) * sight.rises[boxes]
    is_whole = ~sight.is_cut[boxes] & np.isfinite(shown_m)
    height_m = np.where(is_whole, shown_m, np.fmax(top_m, usual[:, 2]))
    height_m = np.clip(height_m, _LEAST_HEIGHT_M, _MOST_HEIGHT_M)
    # What hangs in the air, a traffic light or a sign, stands on nothing.
    ground_m += np.where(low_m > height_m, low_m - 0.1, 0)
    return shapes_of(points, counts, ground_m, height_m, usual)


def _one_each(found: _Found) -> list[int]:
    """Let what several cameras see at once become one object, the one with the most points.

    :return: which are left, best score first; they have the sources of those that are not.
    """
    counts = np.array([len(points) for points in found.members], np.intp)
    near = _near_pairs(found)
    is_kept = np.zeros(len(counts), np.bool_)
    for index in np.lexsort((-counts, found.by_camera)).tolist():
        others = np.flatnonzero(near[index] & is_kept).tolist()
        twin = next((other for other in others if _is_same(found, index, other)), None)
        if twin is None:
            is_kept[index] = True
            continue
        found.sources[twin] += found.sources[index]
        if found.scores[index] > found.scores[twin]:
            found.scores[twin], found.labels[twin] = found.scores[index], found.labels[index]
    return sorted(np.flatnonzero(is_kept).tolist(), key=lambda index: -found.scores[index])


def _near_pairs(found: _Found) -> NDArray[np.bool_]:
    """Say which objects of different cameras are so near that they may be one, bool [N, N]."""
    shapes = found.shapes
    flat, spread = shapes.centres[:, :2], shapes.covariances
    doubt = np.where(found.by_camera, 2 * np.sqrt(spread[:, 0, 0] + spread[:, 1, 1]), 0)
    reach = shapes.sizes[:, :2].max(axis=1, initial=0) / 2 + doubt
    near = ((flat[:, None] - flat) ** 2).sum(axis=2) < (reach[:, None] + reach) ** 2
    cameras = [camera for (camera, _), *_ in found.sources]
    numbers = np.array([cameras.index(camera) for camera in cameras], np.intp)
    return np.asarray(near & (numbers[:, None] != numbers))


def _is_same(found: _Found, one: int, other: int) -> bool:
    """Say whether two objects that are near to each other are one thing."""
    cameras = {camera for camera, _ in found.sources[one]}
    if not cameras.isdisjoint(camera for camera, _ in found.sources[other]):
        return False  # one camera has said that they are two
    is_alike = found.labels[one] == found.labels[other]
    if found.by_camera[one] or found.by_camera[other]:
        return is_alike and _may_be_one(found.shapes, one, other)
    shapes, members = found.shapes, (found.members[one], found.members[other])
    off = shapes.centres[one, :2] - shapes.centres[other, :2]
    reach = shapes.sizes[[one, other], :2].max(axis=1).sum() / 4
    if is_alike and math.hypot(*off) < reach:
        return True
    shared = len(np.intersect1d(*members, assume_unique=True))
    return shared >= _SHARED * min(map(len, members))


def _may_be_one(shapes: Shapes, one: int, other: int) -> bool:
    """Say whether two things are as near as what is known of their places allows.

    A camera alone knows hardly how far away a thing is, but well in which direction.
    """
    off = shapes.centres[one, :2] - shapes.centres[other, :2]
    slack_m = shapes.sizes[[one, other], :2].min(axis=1).sum() / 4
    spread = shapes.covariances[[one, other], :2, :2].sum(axis=0) + np.eye(2) * slack_m**2
    return bool(off @ np.linalg.solve(spread, off) < _GATE)


def _objects(
    found: _Found, chosen: list[int], origin: Array, stamp_ns: int, frame_id: str
) -> Objects:
    """Return what is left, in the frame of the output, where the level one's origin is."""
    names = tuple(sorted({found.labels[index] for index in chosen}))
    shapes = found.shapes.at(np.array(chosen, np.intp))
    return Objects(
        stamp_ns=stamp_ns,
        frame_id=frame_id,
        centres=shapes.centres + origin,
        sizes=shapes.sizes,
        yaws=shapes.yaws,
        oriented=shapes.oriented,
        surfaces=shapes.surfaces + origin,
        covariances=shapes.covariances,
        points=np.array([len(found.members[index]) for index in chosen], np.int32),
        scores=np.array([found.scores[index] for index in chosen], np.float32),
        labels=np.array([names.index(found.labels[index]) for index in chosen], np.int32),
        by_camera=found.by_camera[chosen],
        sources=tuple(tuple(found.sources[index]) for index in chosen),
        members=tuple(found.members[index] for index in chosen),
        class_names=names,
    )
