"""What is compared: the fusion as the node runs it, and a loop over the cameras in plain NumPy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perception_ros.benchmarks.fusion.scene import Scene
from perception_ros.fusion.ground import Terrain
from perception_ros.fusion.objects import find_objects, ObjectSettings, see_all
from perception_ros.fusion.painting import paint
from perception_ros.fusion.types import View

_NONE = 255
_BIN_M, _DEPTH_M = 0.5, 2.0
"""The plain loop takes for an object what is so near to the fullest bin of depths in its box."""


@dataclass(slots=True)
class Turn:
    """One sweep, fused once."""

    names: tuple[str, ...]
    classes: NDArray[np.uint8]
    """uint8 [N], index into `names`; 255: none."""
    stages_ms: Mapping[str, float]
    cpu_ms: float
    """Of all threads of the process."""

    @property
    def total_ms(self) -> float:
        """All stages together."""
        return sum(self.stages_ms.values())

    def says(self) -> NDArray[np.str_]:
        """Return the class of each point by its name, '' where there is none."""
        table = np.full(256, '', f'<U{max(map(len, self.names), default=1)}')
        table[: len(self.names)] = self.names
        return np.asarray(table[self.classes])


@dataclass(slots=True)
class _Watch:
    """Takes the time of one stage after the other."""

    stages_ms: dict[str, float] = field(default_factory=dict)
    _cpu_s: float = field(default_factory=time.process_time)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count what happens within to a stage."""
        begun_ns = time.perf_counter_ns()
        yield
        passed_ms = (time.perf_counter_ns() - begun_ns) / 1e6
        self.stages_ms[name] = self.stages_ms.get(name, 0.0) + passed_ms

    def turn(self, names: tuple[str, ...], classes: NDArray[np.uint8]) -> Turn:
        """End it."""
        return Turn(names, classes, self.stages_ms, 1e3 * (time.process_time() - self._cpu_s))


def fusion(scene: Scene) -> Turn:
    """Fuse a sweep as the node does: the stages of `SweepPipeline.fuse`, and those around it."""
    watch = _Watch()
    with watch.stage('points'):
        fusion_set = scene.with_points_of(scene.cloud)
    with watch.stage('ground'):
        terrain = Terrain.of(fusion_set.sweep.points, scene.output_from_lidar)
    with watch.stage('projection'):
        seen = see_all(fusion_set)
    with watch.stage('objects'):
        objects = find_objects(
            fusion_set, seen, terrain, ObjectSettings(), frame_id='base_link'
        )
    with watch.stage('painting'):
        made = paint(fusion_set, seen, objects, terrain)
    with watch.stage('fields'):
        scene.cloud.with_fields({
            'class_id': made.classes, 'camera': made.cameras, 'object': made.objects,
            'class_score': made.scores,
        })
    return watch.turn(made.class_names, made.classes)


def plain(scene: Scene) -> Turn:
    """Paint a sweep as is often done: all points through each camera, a look into its mask.

    In each box the points around the fullest bin of depths are the object's. There is no ground,
    nothing is hidden, of several cameras the last one says what a point is, and there are no
    objects in space: less than the other side does.
    """
    watch = _Watch()
    with watch.stage('points'):
        records = scene.cloud.records()
        xyz = np.stack([records[axis] for axis in 'xyz'], axis=-1).astype(np.float64)
        points = np.hstack([xyz, np.ones((len(xyz), 1))])
    views = scene.fusion_set.views
    masks = [mask for view in views for mask in view.semantic.values()]
    names = list(dict.fromkeys(name for mask in masks for name in mask.class_names))
    classes = np.full(len(points), _NONE, np.uint8)
    scores = np.zeros(len(points), np.float32)
    for view in views:
        with watch.stage('projection'):
            indices, columns, rows, depths = _plain_projection(points, view)
        with watch.stage('painting'):
            for mask in view.semantic.values():
                numbers = np.array([names.index(name) for name in mask.class_names], np.uint8)
                classes[indices] = numbers[mask.class_ids[rows, columns]]
                scores[indices] = 1.0
            _plain_boxes(view, names, (indices, columns, rows, depths), classes, scores)
    with watch.stage('fields'):
        kind = np.dtype([*records.dtype.descr, ('class_id', 'u1'), ('class_score', '<f4')])
        more = np.empty(len(records), kind)
        for name in records.dtype.names or ():
            more[name] = records[name]
        more['class_id'], more['class_score'] = classes, scores
        more.tobytes()
    return watch.turn(tuple(names), classes)


def _plain_projection(points: NDArray[np.float64], view: View) -> tuple[NDArray[Any], ...]:
    x, y, z, _ = (view.camera_from_lidar @ points.T)
    with np.errstate(divide='ignore', invalid='ignore'):
        u, v, _ = view.lens.matrix @ np.stack([x / z, y / z, np.ones_like(z)]) + 0.5
        inside = (z > 0) & (u >= 0) & (u < view.lens.width) & (v >= 0) & (v < view.lens.height)
    indices = np.where(inside)[0]
    return indices, u[inside].astype(int), v[inside].astype(int), z[inside]


def _plain_boxes(
    view: View,
    names: list[str],
    shown: tuple[NDArray[Any], ...],
    classes: NDArray[np.uint8],
    scores: NDArray[np.float32],
) -> None:
    found = view.detections
    if found is None:
        return
    indices, columns, rows, depths = shown
    for box, score, label in zip(found.boxes, found.scores, found.labels, strict=True):
        inside = (columns >= box[0]) & (columns < box[2]) & (rows >= box[1]) & (rows < box[3])
        own = depths[inside]
        if not len(own):
            continue
        counts = np.bincount((own / _BIN_M).astype(int))
        near = np.abs(own - (counts.argmax() + 0.5) * _BIN_M) < _DEPTH_M
        chosen = indices[inside][near]
        classes[chosen] = names.index(found.class_names[label])
        scores[chosen] = score


SIDES = {'fusion': fusion, 'plain': plain}
