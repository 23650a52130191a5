"""The fusion on made-up streets, whose truth is exact and of which there are as many as wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from perception_ros.core.poses import inverse
from perception_ros.core.types import SemanticMask
from perception_ros.evaluation.fusion import (
    compare,
    figures,
    Found,
    FusionFigures,
    is_measured,
    Placed,
)
from perception_ros.evaluation.scenes import fused, HEIGHT, LENS, looked_at, Scene, street, WIDTH
from perception_ros.fusion.objects import see_all
from perception_ros.fusion.painting import paint
from perception_ros.fusion.types import FusionSet, Objects, Paint

CLASSES = ('road', 'wall', 'car', 'person', 'truck', 'rider')
NO_CLASS = 255
EDGES_OFF = 0.03
"""Standard deviation of an edge of a box as a detector draws it, as a share of the box."""
_COARSER = 4
"""Pictures are made so many times smaller: less work, and edges that are a pixel or two off."""
_FREE_M = 0.3
"""A camera has a free sight of a point if nothing is nearer by more."""


class MaskFigures(BaseModel):
    """Points painted by exact masks alone."""

    in_sight: int = Field(description='Points that the camera has a free sight of')
    right: int
    wrong: int = Field(description='Painted as something else; the rest is not painted')
    hidden: int = Field(description='Points in its image that something nearer hides from it')
    hidden_wrong: int


class StreetFigures(BaseModel):
    """Of all streets together."""

    boxes: dict[str, list[FusionFigures]] = Field(description='By what 2D boxes were given')
    masks: MaskFigures


def measure_streets(count: int) -> StreetFigures:
    """Fuse so many random streets, each with 2D boxes of several kinds, and with masks."""
    streets = [street(seed) for seed in range(count)]
    kinds: dict[str, Callable[[Scene], FusionSet]] = {
        'exact boxes': lambda scene: scene.fusion_set,
        f'boxes whose edges are off by {EDGES_OFF:.0%}': drawn,
        'boxes around what is visible': visible,
        'exact boxes, by camera alone': without_points,
    }
    boxes = {}
    for name, given in kinds.items():
        placed = [
            item for scene in streets
            for item in compared(scene, fused(given(scene), scene.base_from_lidar))
        ]
        boxes[name] = figures(placed)
    counts = sum(map(_mask_counts, streets), np.zeros(5, np.int64)).tolist()
    masks = MaskFigures(**dict(zip(MaskFigures.model_fields, counts, strict=True)))
    return StreetFigures(boxes=boxes, masks=masks)


def drawn(scene: Scene, share: float = EDGES_OFF) -> FusionSet:
    """Return what the fusion is given if each edge of a box is off by a share of its size."""
    random, views = np.random.default_rng(scene.seed), []
    for view in scene.fusion_set.views:
        given = view.detections
        assert given is not None, 'scenes have them'
        size = np.tile(given.boxes[:, 2:] - given.boxes[:, :2], 2)
        boxes = given.boxes + (random.normal(0, share, size.shape) * size).astype(np.float32)
        views.append(replace(view, detections=replace(given, boxes=boxes)))
    return replace(scene.fusion_set, views=tuple(views))


def visible(scene: Scene) -> FusionSet:
    """Return what the fusion is given if boxes end where a nearer thing hides what they show.

    Of a thing of which nothing is visible the whole box stays.
    """
    views = []
    sides = zip(scene.fusion_set.views, scene.shown, scene.headings, strict=True)
    for view, (_, things, boxes), heading in sides:
        owners, ends = picture(scene, heading), boxes.astype(np.float32)
        for number, thing in enumerate(things):
            rows, columns = np.nonzero(owners == scene.things.index(thing))
            if len(rows):
                ends[number] = np.array([
                    columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
                ]) * _COARSER
        assert view.detections is not None, 'scenes have them'
        views.append(replace(view, detections=replace(view.detections, boxes=ends)))
    return replace(scene.fusion_set, views=tuple(views))


def without_points(scene: Scene) -> FusionSet:
    """Return what the fusion is given if the LiDAR's beams meet the ground alone."""
    given, points = scene.fusion_set, scene.points.copy()
    points[scene.owners >= 0] = np.nan
    return replace(given, sweep=replace(given.sweep, points=points))


def compared(scene: Scene, objects: Objects) -> Iterator[Placed]:
    """Hold what counts of a scene against the truth: not cut off, enough points, near enough."""
    found = objects.by_source
    for camera, things, boxes in scene.shown:
        for number, (thing, box) in enumerate(zip(things, boxes, strict=True)):
            points = scene.points_of(thing)
            is_cut = box[:2].min() <= 1 or box[2] >= WIDTH - 1 or box[3] >= HEIGHT - 1
            if is_cut or not is_measured(len(points), np.hypot(thing.x, thing.y)):
                continue
            bottom = float(scene.ground @ [thing.x, thing.y, 1])
            index = found.get((camera, number))
            yield compare(
                thing.name, points, np.array([thing.x, thing.y, bottom + thing.size[2] / 2]),
                thing.yaw, None if index is None else Found.of(objects, index),
                scene.base_from_lidar[:3, 3],
            )


def picture(scene: Scene, heading: float) -> NDArray[np.intp]:
    """Return which thing each pixel shows, `_COARSER` times smaller; -1: the road, -2: the sky."""
    base_from_camera = inverse(scene.camera_from_base(heading))
    rows, columns = np.mgrid[0:HEIGHT:_COARSER, 0:WIDTH:_COARSER] + _COARSER / 2
    rays = LENS.rays(np.stack([columns.ravel(), rows.ravel()], axis=1))
    reach, owners = scene.meet(base_from_camera[:3, 3], rays @ base_from_camera[:3, :3].T)
    owners = np.where(np.isinf(reach), -2, owners)
    return owners.reshape(HEIGHT // _COARSER, WIDTH // _COARSER)


def masked(scene: Scene, *, boxes: bool = False) -> FusionSet:
    """Return what the fusion is given if cameras say of each pixel what it shows.

    :param boxes: whether they say boxes too.
    """
    # Walls have no name; the last two are the sky and the road: -2 and -1.
    classes = np.array([
        *(CLASSES.index(thing.name or 'wall') for thing in scene.things), NO_CLASS, 0
    ], np.uint8)
    views = []
    for view, heading in zip(scene.fusion_set.views, scene.headings, strict=True):
        small = classes[picture(scene, heading)]
        large = cv2.resize(small, (WIDTH, HEIGHT), interpolation=cv2.INTER_NEAREST)
        views.append(replace(
            view, semantic={'street': SemanticMask(np.asarray(large, np.uint8), CLASSES)},
            detections=view.detections if boxes else None,
        ))
    return replace(scene.fusion_set, views=tuple(views))


def painted(
    fusion_set: FusionSet, scene: Scene, known: Sequence[str] = ()
) -> tuple[Paint, Objects]:
    """Return what the points of a scene show, and the objects; `known` is of `paint`."""
    seen, terrain, objects = looked_at(fusion_set, scene.base_from_lidar)
    return paint(fusion_set, seen, objects, terrain, known), objects


def truth(scene: Scene) -> NDArray[np.uint8]:
    """Return what each point is of, uint8 [N], an index into `CLASSES`."""
    things = [CLASSES.index(thing.name or 'wall') for thing in scene.things]
    return np.array([*things, 0], np.uint8)[scene.owners]


def classes_of(made: Paint) -> NDArray[np.uint8]:
    """Return what each point is painted as, uint8 [N], as an index into `CLASSES`."""
    table = np.full(256, NO_CLASS, np.uint8)
    table[: len(made.class_names)] = [CLASSES.index(name) for name in made.class_names]
    return table[made.classes]


def seen_by(scene: Scene, camera: int) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Return the points in a camera's image, and whether it has a free sight of each."""
    fusion_set = scene.fusion_set
    indices = see_all(fusion_set)[camera].indices
    eye = inverse(scene.camera_from_base(scene.headings[camera]))[:3, 3]
    pose = scene.base_from_lidar
    points = fusion_set.sweep.points[indices] @ pose[:3, :3].T + pose[:3, 3]
    away = np.linalg.norm(points - eye, axis=1)
    reach, _ = scene.meet(eye, (points - eye) / away[:, None])
    return indices, reach > away - _FREE_M


def _mask_counts(scene: Scene) -> NDArray[np.int64]:
    """Return the numbers of `MaskFigures`, of the first camera of a scene."""
    made, _ = painted(masked(scene), scene)
    indices, free = seen_by(scene, 0)
    classes, true = classes_of(made)[indices], truth(scene)[indices]
    right = classes == true
    wrong = ~right & (classes != NO_CLASS)
    counts = free, right & free, wrong & free, ~free, wrong & ~free
    return np.array([np.count_nonzero(item) for item in counts], np.int64)
