"""Boxes in space: what the cameras found, where the LiDAR says it is.

Each 2D box, or instance mask, is a frustum of space. The points in it that belong to one thing
(`frustums.py`) say how far away its surface is; its usual size says what is hidden behind. Where
no point says anything, the ground under the box's lower edge and the box's height do: such an
object is marked as by camera alone. What several cameras see at once becomes one object.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
import math

import numpy as np
from numpy.typing import NDArray

from perception_ros.core.config import Frozen, parameter
from perception_ros.core.types import Detections
from perception_ros.fusion.camera import Seen
from perception_ros.fusion.class_sizes import class_size, ClassSize
from perception_ros.fusion.frustums import Expected, fill
from perception_ros.fusion.ground import Terrain
from perception_ros.fusion.monocular import Guess, Outlook, Sight
from perception_ros.fusion.shapes import near_range, Shape, shape_of
from perception_ros.fusion.types import FusionSet, Matrix, Objects

_LEAST_HEIGHT_M, _MOST_HEIGHT_M = 0.2, 6.0
_SHARED = 0.3
"""Of the points of one object that another one's have in common, if they are one thing."""
_DEEPEST = 1.5
"""How much deeper than usual, or than it is wide, a thing may be."""


class ObjectSettings(Frozen):
    """What becomes an object in space."""

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
        sight = Sight.of(
            view.lens, output_from_lidar @ np.linalg.inv(view.camera_from_lidar), terrain.plane,
            view.detections.boxes,
        )
        place = _Place.of(view.detections, terrain, ranges_m, eye, sight, settings)
        frustums = fill(
            view.detections.boxes, points_seen, ranges_m, usable, place.expected(), view.instances
        )
        for index in range(len(view.detections)):
            if item := place.locate(index, frustums.of(index)):
                item.sources.append((view.camera, index))
                found.append(item)
    return _together(_merged(found), fusion_set.sweep.stamp_ns, frame_id)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the detections of one view are."""

    detections: Detections
    usuals: tuple[ClassSize | None, ...]
    guesses: tuple[Guess | None, ...]
    terrain: Terrain
    ranges_m: NDArray[np.float32]
    eye: NDArray[np.float64]
    sight: Sight
    settings: ObjectSettings

    @classmethod
    def of(
        cls, detections: Detections, terrain: Terrain, ranges_m: NDArray[np.float32],
        eye: NDArray[np.float64], sight: Sight, settings: ObjectSettings,
    ) -> _Place:
        """Return what is known of the detections before any point is looked at."""
        sizes = [class_size(name) for name in detections.class_names]
        usuals = tuple(sizes[label] for label in detections.labels.tolist())
        return cls(
            detections, usuals, sight.guess(usuals), terrain, ranges_m, eye, sight, settings
        )

    def expected(self) -> Expected:
        """Return how far away the image has each of them."""
        rows = []
        for outlook, usual, guess in zip(
            self.sight.outlooks, self.usuals, self.guesses, strict=True
        ):
            near_m, doubt_m = guess or (math.nan, math.nan)
            rows.append((near_m, doubt_m, max(usual[:2]) if usual else near_m * outlook.aside))
        return Expected(*np.array(rows).reshape(-1, 3).T)

    def locate(self, index: int, members: NDArray[np.intp]) -> _Found | None:
        """Return one of them; None: nobody says where it is."""
        label = self.detections.class_names[int(self.detections.labels[index])]
        score = float(self.detections.scores[index])
        usual, outlook = self.usuals[index], self.sight.outlooks[index]
        if len(members) >= self.settings.min_points:
            members = members[self._not_behind(members, outlook, usual)]
            return _Found(self._by_points(members, outlook, usual), label, score, members, False)
        guess = self.guesses[index]
        if guess is None or not self.settings.camera_only:
            return None
        shape = self.sight.locate(outlook, usual, guess)
        x, y = (shape.centre - self.eye)[:2].tolist()
        if math.hypot(x, y) > self.settings.max_range_m:
            return None
        return _Found(shape, label, score, members, True)

    def _by_points(
        self, members: NDArray[np.intp], outlook: Outlook, usual: ClassSize | None
    ) -> Shape:
        points = self.terrain.points[members].astype(np.float64)
        heights = self.terrain.heights[members]
        middle = len(members) // 2
        ground_m = float(np.partition(points[:, 2] - heights, middle)[middle])
        height_m = float(heights.max())
        if outlook.is_known and not outlook.is_cut:
            off = points - self.sight.eye
            distance = np.partition(np.hypot(off[:, 0], off[:, 1]), middle)[middle]
            height_m = float(distance) * (outlook.rise_up - outlook.rise_down)
        elif usual:
            height_m = max(height_m, usual.height)
        height_m = min(max(height_m, _LEAST_HEIGHT_M), _MOST_HEIGHT_M)
        # What hangs in the air, a traffic light or a sign, stands on nothing.
        lowest = float(heights.min())
        if lowest > height_m:
            ground_m += lowest - 0.1
        return shape_of(points, self.eye, ground_m, height_m, usual)

    def _not_behind(
        self, members: NDArray[np.intp], outlook: Outlook, usual: ClassSize | None
    ) -> NDArray[np.bool_]:
        """Say which points are no further back than the thing can be deep.

        A hedge or a wall that it stands at goes on behind it without a gap.
        """
        ranges_m = self.ranges_m[members]
        near_m = near_range(ranges_m)
        # Of a thing of no known size the box says how wide it looks, of a known one how it varies.
        wide_m = near_m * outlook.aside if outlook.is_known else near_m
        most_m = _DEEPEST * (max(usual[:2]) if usual else max(wide_m, _LEAST_HEIGHT_M))
        return np.asarray(ranges_m <= near_m + most_m)


def _merged(found: list[_Found]) -> list[_Found]:
    """Let what several cameras see at once become one object, the one with the most points."""
    order = sorted(found, key=lambda item: (item.by_camera, -len(item.points)))
    places = np.array([item.shape.centre[:2] for item in order]).reshape(-1, 2)
    reaches = np.array([_reach_m(item) for item in order])
    squared = ((places[:, None] - places) ** 2).sum(axis=2)
    may = squared < (reaches[:, None] + reaches) ** 2
    cameras = np.array([item.sources[0][0] for item in order])
    may &= cameras[:, None] != cameras  # one camera has said that they are two
    kept: list[int] = []
    for index, item in enumerate(order):
        others = [order[k] for k in np.flatnonzero(may[index, :index]).tolist() if k in kept]
        twin = next((other for other in others if _is_same(item, other)), None)
        if twin is None:
            kept.append(index)
            continue
        twin.sources += item.sources
        if item.score > twin.score:
            twin.score, twin.label = item.score, item.label
    return sorted((order[index] for index in kept), key=lambda item: -item.score)


def _reach_m(item: _Found) -> float:
    """Return how far from an object's centre another one's may be, if they are one thing."""
    doubt = 2 * math.sqrt(np.trace(item.shape.covariance[:2, :2])) if item.by_camera else 0.0
    return float(item.shape.size[:2].max()) / 2 + doubt


def _is_same(one: _Found, other: _Found) -> bool:
    """Say whether two objects that are near to each other are one thing."""
    if {camera for camera, _ in one.sources} & {camera for camera, _ in other.sources}:
        return False
    if one.by_camera or other.by_camera:
        return one.label == other.label
    shared = len(np.intersect1d(one.points, other.points, assume_unique=True))
    if shared >= _SHARED * min(len(one.points), len(other.points)):
        return True
    off = one.shape.centre[:2] - other.shape.centre[:2]
    reach = (_reach_m(one) + _reach_m(other)) / 2
    return one.label == other.label and bool(np.hypot(*off) < reach)


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
