"""Traffic with exact truth: who is where, and what six cameras and a LiDAR make of it.

A vehicle drives along a street for some seconds. It overtakes, is overtaken and met; people walk
behind parked cars and cross before it, so that things hide one another, leave one camera's image
for the next one's, and come back. Boxes wobble, are missed and made up as a detector does: by
chance, but the same for the same seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from perception_ros.core.types import Detections
from perception_ros.evaluation.scenes import Array, HEIGHT, Scene, Thing, WIDTH

RATE_HZ, SWEEP_EVERY = 30, 3
"""Images a second of each camera, all at once, and how many of them there are for each sweep."""
SCORE_THRESHOLD = 0.3
CLASSES = ('car', 'person', 'rider', 'truck')
CLEAR_SHARE, CLEAR_HEIGHT_PX, CLEAR_POINTS = 0.4, 20, 10
"""What is less hidden, and larger, in an image, and has as many points, must be followed."""
_HEADINGS = tuple(np.radians(np.arange(0, 360, 60)).tolist())
_SIZES = {
    'car': (4.4, 1.8, 1.55), 'person': (0.6, 0.6, 1.73), 'truck': (7.5, 2.5, 3.0),
    'rider': (1.8, 0.6, 1.75),
}
_NEAR_M = 60.0
_CELL_PX = 8
_FIRST_NS = 1_000_000_000_000
_SPEED_M_S = 9.0


class Mover(NamedTuple):
    """Something that goes straight on: where it is at first, m, and how fast it is, m/s."""

    name: str
    size: tuple[float, float, float]
    x: float
    y: float
    vx: float
    vy: float
    yaw: float


@dataclass(frozen=True, slots=True, eq=False)
class Sight:
    """What is in one image.

    boxes: float64 [N, 4] px; movers: intp [N], which ones they are of; shares: float64 [N],
    how much of each box no nearer one covers.
    """

    camera: str
    boxes: Array
    movers: NDArray[np.intp]
    shares: Array

    @property
    def is_clear(self) -> NDArray[np.bool_]:
        """Whether a thing is large and free enough that it must be followed."""
        heights = self.boxes[:, 3] - self.boxes[:, 1]
        return (self.shares >= CLEAR_SHARE) & (heights >= CLEAR_HEIGHT_PX)


@dataclass(frozen=True, eq=False)
class Moment:
    """One moment of the street.

    places: float64 [N, 2] m, where the movers are in the frame in which the world stands still.
    Those who are near are the first things of the scene, which is in the vehicle's frame; near:
    which ones. odom_from_base: float64 [4, 4].
    """

    stamp_ns: int
    scene: Scene
    movers: tuple[Mover, ...]
    places: Array
    near: NDArray[np.intp]
    odom_from_base: Array

    @cached_property
    def sights(self) -> tuple[Sight, ...]:
        """Return what each camera's image shows."""
        sights, known = [], {id(thing): index for index, thing in enumerate(self.scene.things)}
        for camera, things, boxes in self.scene.shown:
            movers = self.near[[known[id(thing)] for thing in things]]
            distances = np.array([np.hypot(thing.x, thing.y) for thing in things])
            sights.append(Sight(camera, boxes, movers, _shares(boxes, distances)))
        return tuple(sights)

    @cached_property
    def is_clear(self) -> NDArray[np.bool_]:
        """Return for each mover whether a camera and the LiDAR see it well."""
        seen, hits = np.zeros(len(self.movers), np.bool_), np.zeros(len(self.movers))
        for sight in self.sights:
            seen[sight.movers[sight.is_clear]] = True
        hits[self.near] = self.scene.hits[:len(self.near)]
        return seen & (hits >= CLEAR_POINTS)

    def detected(self, sight: Sight) -> Detections:
        """Return what a detector makes of an image; the same each time it is asked."""
        camera = int(sight.camera.removeprefix('camera'))
        random = np.random.default_rng([self.scene.seed, self.stamp_ns, camera])
        chance = np.where(sight.shares > 0.6, 0.97, 0.75) * (sight.shares > 0.2)
        found = random.random(len(sight.boxes)) < chance
        sides = np.tile(sight.boxes[:, 2:] - sight.boxes[:, :2], 2)
        boxes = sight.boxes + random.normal(0, 0.015 * sides + 0.4)
        scores = 0.35 + 0.55 * sight.shares + random.normal(0, 0.07, len(boxes))
        names = [self.movers[index].name for index in sight.movers]
        false = random.poisson(0.03)
        corners = random.uniform(0, [WIDTH - 200, HEIGHT - 200], (false, 2))
        made_up = np.hstack([corners, corners + random.uniform(30, 200, (false, 2))])
        labels = [CLASSES.index(name) for name in names]
        return _sorted(
            np.vstack([boxes[found], made_up]).clip(0, [WIDTH, HEIGHT] * 2),
            np.append(scores[found], random.uniform(0.3, 0.6, false)),
            np.append(np.array(labels, np.int32)[found], random.integers(0, 4, false)),
        )


def traffic(seed: int, seconds: float) -> list[Moment]:
    """Return all moments of a street; each `SWEEP_EVERY`th is one of a sweep."""
    movers = _movers(np.random.default_rng(seed))
    return [
        _moment(movers, index / RATE_HZ, seed) for index in range(round(seconds * RATE_HZ))
    ]


def _movers(random: np.random.Generator) -> tuple[Mover, ...]:
    """Return who is on the street; the vehicle starts at its origin, along x."""
    found: list[Mover] = []

    def add(name: str, x: float, y: float, speed: float, yaw: float = 0.0) -> None:
        size = np.array(_SIZES[name]) * random.normal(1, 0.05, 3)
        speed *= 1 if name != 'person' else random.normal(1, 0.1)
        found.append(Mover(
            name, (size[0], size[1], size[2]), x + random.normal(0, 1), y,
            speed * np.cos(yaw), speed * np.sin(yaw), yaw,
        ))

    for name, x, speed in (
        ('car', 16, 9), ('car', 42, 9), ('car', -18, 9), ('rider', 30, 4.5), ('rider', 95, 4.5),
    ):
        add(name, x, 0 if name == 'car' else -1.9, speed)
    for name, x, speed in (
        ('car', -40, 14), ('truck', -75, 13.5), ('car', -120, 13), ('car', 25, 15),
        ('car', 60, 16),
    ):
        add(name, x, 3.6, speed)
    for x in range(40, 340, 38):
        add('truck' if random.random() < 0.2 else 'car', x, 7.4, 10, np.pi)
    for x in range(8, 200, 9):
        if random.random() < 0.6:
            add('car', x, -4.6, 0)
    for x in range(5, 200, 13):
        add('person', x, random.uniform(-8.5, -6.5), 1.4, random.choice([0, np.pi]))
    for x, y in ((48, -9), (75, -14), (110, 24), (147, 30)):
        add('person', x, y, 1.5, np.pi / 2 if y < 0 else -np.pi / 2)
    return tuple(found)


def _moment(movers: tuple[Mover, ...], second: float, seed: int) -> Moment:
    yaw = 0.06 * np.sin(0.4 * second)
    place = np.array([_SPEED_M_S * second, 0.3 * np.sin(0.4 * second)])
    pose = np.eye(4)
    pose[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
    pose[:2, 3] = place
    places = np.array([
        [mover.x + mover.vx * second, mover.y + mover.vy * second] for mover in movers
    ])
    here = (places - place) @ pose[:2, :2]
    near = np.nonzero(np.hypot(*here.T) < _NEAR_M)[0]
    things = [
        Thing(mover.name, x, y, mover.yaw - yaw, mover.size)
        for mover, (x, y) in (
            (movers[index], here[index].tolist()) for index in near.tolist()
        )
    ]
    for side in (-1, 1):  # walls along the street, which go with the vehicle: nobody follows them
        things.append(Thing('', 0, side * 18, 0, (120, 1, 5)))
    scene = Scene(tuple(things), headings=_HEADINGS, seed=seed)
    return Moment(_FIRST_NS + round(second * 1e9), scene, movers, places, near, pose)


def _shares(boxes: Array, distances: Array) -> Array:
    """Return how much of each box no nearer one covers, on a coarse grid."""
    grid = np.full((round(HEIGHT / _CELL_PX) + 1, WIDTH // _CELL_PX), -1)
    cells = np.rint(boxes / _CELL_PX).astype(int)
    cells[:, 2:] = np.maximum(cells[:, 2:], cells[:, :2] + 1)
    whole = np.zeros(len(boxes))
    for index in np.argsort(-distances):
        x1, y1, x2, y2 = cells[index]
        whole[index] = grid[y1:y2, x1:x2].size
        grid[y1:y2, x1:x2] = index
    left = np.bincount(grid[grid >= 0], minlength=len(boxes))
    return np.asarray(left / np.maximum(whole, 1))


def _sorted(boxes: Array, scores: Array, labels: NDArray[np.integer]) -> Detections:
    """Return detections as a model gives them: those above the threshold, best first."""
    order = np.argsort(-scores, kind='stable')
    order = order[scores[order] >= SCORE_THRESHOLD]
    return Detections(
        boxes[order].astype(np.float32), scores[order].clip(0, 1).astype(np.float32),
        labels[order].astype(np.int32), CLASSES,
    )


def dropped(seed: Sequence[int], share: float, count: int) -> NDArray[np.bool_]:
    """Return which of so many frames are lost, by chance; the same for the same seed."""
    return np.random.default_rng(list(seed)).random(count) < share
