"""Streets with exact truth: beams and boxes of things whose place is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from perception_ros.core.types import Detections
from perception_ros.fusion.camera import CameraModel, Seen
from perception_ros.fusion.ground import Terrain
from perception_ros.fusion.objects import find_objects, ObjectSettings, see_all
from perception_ros.fusion.types import FusionSet, Objects, Sweep, View

Array = NDArray[np.float64]

SETTINGS = ObjectSettings()
LIDAR_M = 1.8
"""How high it is above the ground."""
WIDTH, HEIGHT, FOCAL_PX = 1600, 900, 1266.0
_ELEVATIONS, _AZIMUTHS = 32, 1080
_NOISE_M = 0.02
_FARTHEST_M = 100.0
_OPTICAL = np.array([[0, -1, 0], [0, 0, -1], [1, 0, 0]], np.float64)
"""From x forward, z up to x right, z forward."""


@dataclass(frozen=True)
class Thing:
    """A box on the ground; x, y m and yaw in the vehicle's frame, under the LiDAR, z up.

    name: what a camera calls it; '': nothing that a camera finds, such as a wall.
    """

    name: str
    x: float
    y: float
    yaw: float
    size: tuple[float, float, float]

    def corners(self, ground: Array) -> Array:
        """Return its corners [8, 3]."""
        signs = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (0, 2)])
        off = signs * np.array(self.size) / 2
        turned = off[:, :2] @ _turn(self.yaw).T
        z = off[:, 2] + ground @ [self.x, self.y, 1]
        return np.column_stack([turned + np.array([self.x, self.y]), z])


@dataclass(frozen=True, eq=False)
class Scene:
    """Things on a plane z = a x + b y + c of the vehicle's frame, and who looks at them.

    headings: of the cameras, in radians, 0 is forward; tilt: float64 [3, 3], how the LiDAR is
    screwed on; seed: of the noise, and of which beams are lost.
    """

    things: tuple[Thing, ...]
    ground: Array = field(default_factory=lambda: np.zeros(3))
    headings: tuple[float, ...] = (0.0,)
    tilt: Array = field(default_factory=lambda: np.eye(3))
    seed: int = 0

    @property
    def base_from_lidar(self) -> Array:
        """Return where the LiDAR is, in the vehicle's frame."""
        pose = np.eye(4)
        pose[:3, :3] = self.tilt
        pose[2, 3] = LIDAR_M + self.ground[2]
        return pose

    def meet(self, eye: Array, rays: Array) -> tuple[Array, NDArray[np.intp]]:
        """Return how far rays [N, 3] from an eye [3] go, and to which thing; -1: no thing.

        Those that meet nothing go on for ever.
        """
        fall = rays[:, 2] - rays[:, :2] @ self.ground[:2]
        above_m = eye[2] - self.ground @ [*eye[:2], 1]
        with np.errstate(divide='ignore'):
            reach = np.where(fall < 0, -above_m / fall, np.inf)
        owners = np.full(len(rays), -1)
        for number, thing in enumerate(self.things):
            distance = _meet(eye, rays, thing, self.ground)
            nearer = distance < reach
            reach[nearer], owners[nearer] = distance[nearer], number
        return reach, owners

    @property
    def owners(self) -> NDArray[np.intp]:
        """Return which thing each point is of; -1: of the ground, or no point at all."""
        return self._cast[1]

    @cached_property
    def _cast(self) -> tuple[Array, NDArray[np.intp]]:
        """Return the points in the vehicle's frame, and the thing each is of; -1: none."""
        random = np.random.default_rng(self.seed)
        eye, rays = self.base_from_lidar[:3, 3], _rays()
        reach, owners = self.meet(eye, rays)
        lost = (reach > _FARTHEST_M) | (random.random(len(rays)) < 0.02)
        reach = np.where(lost, np.nan, reach + random.normal(0, _NOISE_M, len(rays)))
        owners[lost] = -1
        points = eye + rays * reach[:, None]
        return points, owners

    @property
    def points(self) -> NDArray[np.float32]:
        """Return the sweep [N, 3] in the LiDAR's own frame."""
        pose = self.base_from_lidar
        return np.asarray((self._cast[0] - pose[:3, 3]) @ pose[:3, :3], np.float32)

    @property
    def hits(self) -> NDArray[np.intp]:
        """Return how many points each thing has."""
        owners = self._cast[1]
        return np.bincount(owners[owners >= 0], minlength=len(self.things))

    def points_of(self, thing: Thing, above_m: float = 0.1) -> Array:
        """Return those of a thing, in the vehicle's frame, but not those at its very bottom."""
        points, owners = self._cast
        points = points[owners == self.things.index(thing)]
        high = points[:, 2] - points[:, :2] @ self.ground[:2] - self.ground[2]
        return np.asarray(points[high > above_m])

    def camera_from_base(self, heading: float) -> Array:
        """Return how the vehicle's frame lies in a camera's: half a metre out from the LiDAR."""
        pose = np.eye(4)
        pose[:3, :3] = _OPTICAL @ _turn_3d(-heading)
        place = np.array([
            0.5 * np.cos(heading), 0.5 * np.sin(heading), self.ground[2] + LIDAR_M - 0.3
        ])
        pose[:3, 3] = -pose[:3, :3] @ place
        return pose

    @cached_property
    def shown(self) -> tuple[tuple[str, tuple[Thing, ...], Array], ...]:
        """Return for each camera its name, the things that it finds and their boxes [N, 4] px."""
        found = []
        for number, heading in enumerate(self.headings):
            named = [thing for thing in self.things if thing.name]
            boxes = [_box(self.camera_from_base(heading), thing, self.ground) for thing in named]
            pairs = [(thing, box) for thing, box in zip(named, boxes, strict=True)
                     if box is not None]
            found.append((
                f'camera{number}', tuple(thing for thing, _ in pairs),
                np.array([box for _, box in pairs]).reshape(-1, 4),
            ))
        return tuple(found)

    @property
    def fusion_set(self) -> FusionSet:
        """Return what the fusion is given."""
        views = []
        for (camera, things, boxes), heading in zip(self.shown, self.headings, strict=True):
            names = tuple(sorted({thing.name for thing in things}))
            labels = np.array([names.index(thing.name) for thing in things], np.int32)
            scores = np.linspace(0.9, 0.5, len(things), dtype=np.float32)
            views.append(View(
                camera, 0, LENS, self.camera_from_base(heading) @ self.base_from_lidar,
                Detections(boxes.astype(np.float32), scores, labels, names), ('',) * len(things),
            ))
        return FusionSet(Sweep(0, 0, 'lidar', self.points), tuple(views))

    def picture(self, lens: CameraModel, heading: float = 0.0) -> NDArray[np.uint8]:
        """Return what a camera sees, uint8 [H, W] grey: a shade for each thing, road and sky."""
        camera_from_base = self.camera_from_base(heading)
        rows, columns = np.mgrid[: lens.height, : lens.width] + 0.5
        pixels = np.stack([columns.ravel(), rows.ravel()], axis=1)
        rays = lens.rays(pixels) @ camera_from_base[:3, :3]
        eye = -camera_from_base[:3, :3].T @ camera_from_base[:3, 3]
        random = np.random.default_rng(self.seed)
        height = eye[2] - self.ground @ [eye[0], eye[1], 1]
        fall = rays[:, 2] - rays[:, :2] @ self.ground[:2]
        with np.errstate(divide='ignore'):
            reach = np.where(fall < 0, -height / fall, np.inf)
        shades = np.where(fall < 0, 90.0, 200.0)
        for thing in self.things:
            distance = _meet(eye, rays, thing, self.ground)
            nearer = distance < reach
            reach[nearer], shades[nearer] = distance[nearer], random.uniform(20, 240)
        noisy = shades + random.normal(0, 2, len(shades))
        return np.clip(noisy, 0, 255).astype(np.uint8).reshape(lens.height, lens.width)

    def with_things(self, *more: Thing) -> Scene:
        """Return the scene with more in it."""
        return replace(self, things=(*self.things, *more))

    def objects(self, settings: ObjectSettings = SETTINGS) -> Objects:
        """Return what the fusion makes of it, in the vehicle's frame."""
        return fused(self.fusion_set, self.base_from_lidar, settings)


LENS = CameraModel(
    WIDTH, HEIGHT, np.array([[FOCAL_PX, 0, 799.5], [0, FOCAL_PX, 449.5], [0, 0, 1]])
)


def fused(
    fusion_set: FusionSet, base_from_lidar: Array, settings: ObjectSettings = SETTINGS
) -> Objects:
    """Return the objects of a set in the vehicle's frame."""
    return looked_at(fusion_set, base_from_lidar, settings)[-1]


def looked_at(
    fusion_set: FusionSet, base_from_lidar: Array, settings: ObjectSettings = SETTINGS
) -> tuple[list[Seen], Terrain, Objects]:
    """Return what each view sees, the ground, and the objects in the vehicle's frame."""
    seen, terrain = see_all(fusion_set), Terrain.of(fusion_set.sweep.points, base_from_lidar)
    return seen, terrain, find_objects(
        fusion_set, seen, terrain, settings, frame_id='base_link'
    )


def street(seed: int, headings: Sequence[float] = (0.0,)) -> Scene:
    """Return a random street: traffic, people, poles before and walls behind them, a slope."""
    random = np.random.default_rng(seed)
    things: list[Thing] = []
    for kind in random.permutation(['car'] * 6 + ['person'] * 5 + ['truck', 'rider', 'rider']):
        length, width, height = _SIZES[kind]
        size = tuple(np.array([length, width, height]) * random.normal(1, 0.08, 3))
        heading = random.choice([0, np.pi / 2, np.pi]) + random.normal(0, 0.15)
        _place(things, Thing(str(kind), 0, 0, heading, (size[0], size[1], size[2])), random, 40)
    for _ in range(4):
        _place(things, Thing('', 0, 0, 0, (0.15, 0.15, 5)), random, 30)
    for side in (-1, 1):
        things.append(Thing('', 30, side * random.uniform(14, 20), 0, (80, 1, 4)))
    slopes = random.uniform(-0.04, 0.04, 2)
    return Scene(tuple(things), np.array([*slopes, 0]), tuple(headings), seed=seed)


_SIZES = {
    'car': (4.4, 1.8, 1.55), 'person': (0.6, 0.6, 1.73), 'truck': (7.5, 2.5, 3.0),
    'rider': (1.8, 0.6, 1.75),
}


def _place(
    things: list[Thing], thing: Thing, random: np.random.Generator, most_m: float
) -> None:
    """Add a thing where none is."""
    for _ in range(100):
        here = replace(thing, x=random.uniform(6, most_m), y=random.uniform(-12, 12))
        apart = all(
            np.hypot(here.x - other.x, here.y - other.y)
            > 0.3 + (max(here.size[:2]) + max(other.size[:2])) / 2 for other in things
        )
        if apart and abs(here.y) < 0.6 * here.x:
            things.append(here)
            return


def _rays() -> Array:
    """Return unit vectors [N, 3], as a spinning LiDAR sends them out."""
    up = np.radians(np.linspace(-30, 10, _ELEVATIONS))
    around = np.linspace(-np.pi, np.pi, _AZIMUTHS, endpoint=False)
    up, around = (item.ravel() for item in np.meshgrid(up, around, indexing='ij'))
    return np.stack([np.cos(up) * np.cos(around), np.cos(up) * np.sin(around), np.sin(up)], axis=1)


def _meet(eye: Array, rays: Array, thing: Thing, ground: Array) -> Array:
    """Return how far along each ray a thing's box begins; infinity where it misses."""
    middle = np.array([
        thing.x, thing.y, ground @ [thing.x, thing.y, 1] + thing.size[2] / 2
    ])
    turn = _turn_3d(thing.yaw)
    start, way = (eye - middle) @ turn, rays @ turn
    half = np.array(thing.size) / 2
    with np.errstate(divide='ignore', invalid='ignore'):
        one, other = (-half - start) / way, (half - start) / way
    enter, leave = np.minimum(one, other).max(axis=1), np.maximum(one, other).min(axis=1)
    return np.where((enter < leave) & (enter > 0), enter, np.inf)


def _box(camera_from_base: Array, thing: Thing, ground: Array) -> Array | None:
    """Return the box px around a thing in an image, as it is labelled; None: it is not there."""
    corners = thing.corners(ground) @ camera_from_base[:3, :3].T + camera_from_base[:3, 3]
    if corners[:, 2].min() < 0.5:
        return None
    pixels = LENS.project(corners)
    box = np.concatenate([pixels.min(axis=0), pixels.max(axis=0)])
    cut = np.clip(box, 0, [WIDTH, HEIGHT, WIDTH, HEIGHT])
    seen = np.prod(cut[2:] - cut[:2]) / np.prod(box[2:] - box[:2])
    return cut if seen > 0.3 else None


def _turn(yaw: float) -> Array:
    return np.array([[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]])


def _turn_3d(yaw: float) -> Array:
    turn = np.eye(3)
    turn[:2, :2] = _turn(yaw)
    return turn
