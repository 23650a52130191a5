"""Fusion on labelled sweeps: what it makes of 2D boxes, beside what is labelled in space."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from perception_ros.core.boxes import match, overlaps
from perception_ros.core.image import Image
from perception_ros.core.model import Model
from perception_ros.core.types import Frame
from perception_ros.evaluation.fusion import (
    compare,
    figures,
    Found,
    FusionFigures,
    is_measured,
    PaintFigures,
    Placed,
)
from perception_ros.evaluation.matching import LEAST_IOU
from perception_ros.fusion.camera import Seen
from perception_ros.fusion.class_sizes import class_key
from perception_ros.fusion.ground import Terrain
from perception_ros.fusion.objects import find_objects, ObjectSettings, see_all
from perception_ros.fusion.painting import paint
from perception_ros.fusion.types import Objects, Paint
from perception_ros.recording.sweeps import labelled_sweeps, LabelledSweep, TrueObject

_LEAST_PAINTED = 3
_ABOVE_M = 0.1
"""What is lower in a labelled box is the road under it."""
_AROUND_M = 0.5
_UNSEEN = -1
"""Index of the box of a labelled object that a model has not found."""


class Measurement(BaseModel):
    """Of all sweeps together."""

    objects: list[FusionFigures]
    paint: list[PaintFigures]


def measure(
    paths: Iterable[Path], *, use_points: bool = True, model: Model | None = None
) -> Measurement:
    """Fuse 2D boxes of each sweep's images with its points, and compare with what is labelled.

    :param use_points: False: as if no point were seen, so that the cameras alone say.
    :param model: whose boxes and masks are taken; None: the labelled boxes. A box of it stands
        for the labelled one that it overlaps most, by half or more, whatever it is called: what
        is asked here is where things are.
    :raises DatasetError: a path is no labelled data.
    :raises BackendError: the engine failed.
    """
    placed: list[Placed] = []
    counts: Counter[tuple[str, str]] = Counter()
    for path in paths:
        for sweep in labelled_sweeps(path):
            if model:
                sweep = _seen_by(model, sweep)
            terrain = Terrain.of(sweep.fusion_set.sweep.points, sweep.base_from_lidar)
            seen = see_all(sweep.fusion_set)
            given = seen if use_points else [_nothing(item) for item in seen]
            objects = find_objects(
                sweep.fusion_set, given, terrain, ObjectSettings(), frame_id='base_link'
            )
            placed += _placed(sweep, terrain, objects)
            if use_points:
                painted = paint(sweep.fusion_set, seen, objects, terrain)
                _count(sweep, seen, painted, counts)
    return Measurement(objects=figures(placed), paint=_paint_figures(counts))


def _seen_by(model: Model, sweep: LabelledSweep) -> LabelledSweep:
    """Return a sweep with what a model finds in its images, in place of what is labelled."""
    views = []
    partners: dict[tuple[str, int], int] = {}
    for view in sweep.fusion_set.views:
        assert view.detections is not None, 'every view of a labelled sweep has them'
        image = Image.compressed(sweep.images[view.camera].read_bytes())
        result, = model.infer([Frame(view.camera, 1, 1, image)])
        found = result.detections
        views.append(replace(
            view, detections=found, ids=('',) * len(found or ()), semantic=result.semantic,
            instances=result.instances,
        ))
        if found is not None:
            shares = overlaps(view.detections.boxes, found.boxes)
            partners.update({
                (view.camera, true): ours for true, ours in match(shares, LEAST_IOU)
            })
    objects = tuple(
        replace(true, index=partners.get((true.camera, true.index), _UNSEEN))
        for true in sweep.objects
    )
    return replace(
        sweep, fusion_set=replace(sweep.fusion_set, views=tuple(views)), objects=objects
    )


def _nothing(seen: Seen) -> Seen:
    return Seen(seen.indices[:0], seen.pixels[:0], seen.depths_m[:0])


def _placed(sweep: LabelledSweep, terrain: Terrain, objects: Objects) -> Iterable[Placed]:
    """Compare each labelled object that is good enough, once for each camera that shows it."""
    points = sweep.fusion_set.sweep.points
    eye = sweep.base_from_lidar[:3, 3]
    found = objects.by_source
    for true in sweep.objects:
        inside = true.holds(points)
        base_from_object = sweep.base_from_lidar @ true.lidar_from_object
        centre = base_from_object[:3, 3]
        off = centre[:2] - eye[:2]
        if true.is_cut or not is_measured(inside.sum(), np.hypot(*off)):
            continue
        above = inside & (_above_bottom(true, points) > _ABOVE_M)
        index = found.get((true.camera, true.index))
        ours = None if index is None else Found.of(objects, index)
        yaw = float(np.arctan2(base_from_object[1, 0], base_from_object[0, 0]))
        yield compare(
            true.name, terrain.points[above] + terrain.origin, centre, yaw, ours, eye
        )


def _count(
    sweep: LabelledSweep, seen: list[Seen], painted: Paint, counts: Counter[tuple[str, str]]
) -> None:
    """Count the points that a camera sees in the labelled boxes, and how they are painted."""
    points = sweep.fusion_set.sweep.points
    cameras = [view.camera for view in sweep.fusion_set.views]
    visible = np.zeros(len(points), np.bool_)
    for item in seen:
        visible[item.indices] = True
    done: set[tuple[float, ...]] = set()
    around: dict[str, NDArray[np.bool_]] = {}
    for true in sweep.objects:
        nearby = around.setdefault(true.name, np.zeros(len(points), np.bool_))
        nearby |= true.holds(points, _AROUND_M)
        key = tuple(true.lidar_from_object[:3, 3])
        inside = true.holds(points) & visible & (_above_bottom(true, points) > _ABOVE_M)
        in_view = np.zeros(len(points), np.bool_)
        in_view[seen[cameras.index(true.camera)].indices] = True
        inside &= in_view
        if key in done or inside.sum() < _LEAST_PAINTED:
            continue
        done.add(key)
        counts[true.name, 'boxes'] += 1
        counts[true.name, 'points'] += int(inside.sum())
        counts[true.name, 'painted'] += int((_painted_as(true.name, painted) & inside).sum())
    for name, nearby in around.items():
        counts[name, 'outside'] += int((_painted_as(name, painted) & ~nearby).sum())


def _painted_as(name: str, painted: Paint) -> NDArray[np.bool_]:
    """Say which points are painted as a class, whatever a model calls it."""
    key = class_key(name)
    numbers = [i for i, other in enumerate(painted.class_names) if class_key(other) == key]
    return np.isin(painted.classes, numbers)


def _above_bottom(true: TrueObject, points: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return how far points are above the bottom of a labelled box, m."""
    off = points - true.lidar_from_object[:3, 3]
    return np.asarray(off @ true.lidar_from_object[:3, 2] + true.size_m[2] / 2)


def _paint_figures(counts: Counter[tuple[str, str]]) -> list[PaintFigures]:
    return [
        PaintFigures(
            name=name, boxes=counts[name, 'boxes'], points=counts[name, 'points'],
            painted=counts[name, 'painted'], outside=counts[name, 'outside'],
        )
        for name in sorted({name for name, what in counts if what == 'points'})
    ]
