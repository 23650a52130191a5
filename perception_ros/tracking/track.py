"""One thing that is followed: a Kalman filter of a constant velocity over the ground."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
import math

import numpy as np
from numpy.typing import NDArray

from perception_ros.fusion.types import Objects, Tracks

ACCELERATION_M_S2 = 3.0
"""Standard deviation of what a road user does in the next moment: braking, turning."""
FIRST_SPEED_M_S, FIRST_WALK_M_S = 15.0, 1.5
"""Standard deviation of the speed of what is seen for the first time, and of people on foot: a car
on a motorway is within the gate, too."""
LOST_AFTER_S = 1.0
"""How long a told track lives unseen."""
DOUBTED_AFTER_S = 0.35
"""How long one lives that was seen once."""
TOLD_AFTER = 2
"""Sights."""
VAGUE_M = 1.0
"""Standard deviation of where a track is beyond which it is not told while it is unseen."""
MOVING_DEVIATIONS = 4.0
"""So many of its own must a speed be, or it may be none."""
MOVING_M_S = 1.5
"""What is faster faces where it goes."""
_SIDEWAYS = math.cos(math.radians(50))
"""Of the angle between how a thing lies and where it goes: beyond that one was seen wrongly."""
_SIZE_WEIGHT = 0.3
ON_FOOT = ('person', 'pedestrian')


@dataclass(slots=True)
class Track:
    """What is known of one thing, over the ground of a frame in which the world stands still.

    state: x, y, vx, vy, m and m/s; covariance: float64 [4, 4]; size: float64 [3] m; yaw: where
    its length points; oriented: whether that is how it lies, not the line of sight; has_front:
    whether it was seen to go that way, so that its front is there; object: which one of the last
    sweep's it is, -1: none; ids: what cameras call it; labels: how much speaks for each class.
    """

    number: int
    state: NDArray[np.float64]
    covariance: NDArray[np.float64]
    z: float
    z_variance: float
    size: NDArray[np.float64]
    yaw: float
    oriented: bool
    label: str
    score: float
    by_camera: bool
    first_ns: int
    seen_ns: int
    has_front: bool = False
    sights: int = 1
    object: int = -1
    ids: set[str] = field(default_factory=set)
    labels: dict[str, float] = field(default_factory=dict)
    is_measured: bool = False
    """Points have shown its size."""

    @property
    def is_confirmed(self) -> bool:
        """Whether it was seen often enough."""
        return self.sights >= TOLD_AFTER

    @property
    def is_told(self) -> bool:
        """Whether others should know of it: it is there, and where is known."""
        is_seen = self.object >= 0
        return self.is_confirmed and (
            is_seen or float(np.trace(self.covariance[:2, :2])) < VAGUE_M**2
        )

    def is_lost(self, now_ns: int) -> bool:
        """Whether it was not seen for too long."""
        patience_s = LOST_AFTER_S if self.is_confirmed else DOUBTED_AFTER_S
        return (now_ns - self.seen_ns) / 1e9 > patience_s

    def predict(self, seconds: float) -> None:
        """Go on at the same velocity."""
        step = np.eye(4)
        step[0, 2] = step[1, 3] = seconds
        self.state = step @ self.state
        # a constant acceleration that is drawn anew in each step
        gain = np.array([seconds**2 / 2, seconds]) * ACCELERATION_M_S2
        noise = np.zeros((4, 4))
        noise[:2, :2], noise[2:, 2:] = np.eye(2) * gain[0] ** 2, np.eye(2) * gain[1] ** 2
        noise[:2, 2:] = noise[2:, :2] = np.eye(2) * gain[0] * gain[1]
        self.covariance = step @ self.covariance @ step.T + noise
        self.object = -1

    def _correct(self, place: NDArray[np.float64], spread: NDArray[np.float64]) -> None:
        """Take in a place [2] with its covariance [2, 2]."""
        gain = self.covariance[:, :2] @ np.linalg.inv(self.covariance[:2, :2] + spread)
        self.state = self.state + gain @ (place - self.state[:2])
        kept = np.eye(4)
        kept[:, :2] -= gain
        # Joseph's form: symmetric and positive whatever is rounded
        self.covariance = kept @ self.covariance @ kept.T + gain @ spread @ gain.T

    def take(
        self,
        objects: Objects,
        index: int,
        place: NDArray[np.float64],
        spread: NDArray[np.float64],
        turn: float,
    ) -> None:
        """Take in a sight of it.

        :param place: of the object in the track's frame, [3]; spread: its covariance over the
            ground, [2, 2]; turn: of the objects' frame about z.
        """
        self._correct(place[:2], spread)
        variance = float(objects.covariances[index, 2, 2])
        weight = self.z_variance / (self.z_variance + variance)
        self.z += weight * (float(place[2]) - self.z)
        self.z_variance = max((1 - weight) * self.z_variance, variance / 10)
        # What is guessed by a camera alone does not change a size that points have shown.
        by_camera = bool(objects.by_camera[index])
        if not by_camera or not self.is_measured:
            self.size += _SIZE_WEIGHT * (objects.sizes[index] - self.size)
        self.by_camera = by_camera
        self.is_measured |= not by_camera
        label = objects.class_names[objects.labels[index]]
        self.score = float(objects.scores[index])
        self.labels[label] = 0.9 * self.labels.get(label, 0.0) + self.score
        self.label = max(self.labels, key=lambda name: self.labels[name])
        self._turn(float(objects.yaws[index]) + turn, bool(objects.oriented[index]))
        self.object, self.seen_ns = index, objects.stamp_ns
        self.sights += 1

    @property
    def _is_sure_to_move(self) -> bool:
        """Whether its speed is more than what may be noise."""
        velocity, doubt = self.state[2:], self.covariance[2:, 2:]
        return bool(velocity @ np.linalg.solve(doubt, velocity) > MOVING_DEVIATIONS**2)

    def _turn(self, yaw: float, oriented: bool) -> None:
        """Take in how it lies; boxes have no front: it is where it goes, or was."""
        vx, vy = float(self.state[2]), float(self.state[3])
        ahead = self.yaw
        if math.hypot(vx, vy) > MOVING_M_S and self._is_sure_to_move:
            ahead = math.atan2(vy, vx)
            self.has_front = True
            if not oriented or abs(math.cos(yaw - ahead)) < _SIDEWAYS:
                yaw, oriented = ahead, True
        if not oriented and self.oriented:
            return  # it was seen once, and has not turned since as far as anybody knows
        faces_back = math.cos(yaw - ahead) < 0
        self.yaw, self.oriented = yaw + math.pi if faces_back else yaw, oriented


def begun(
    number: int,
    objects: Objects,
    index: int,
    place: NDArray[np.float64],
    spread: NDArray[np.float64],
    turn: float,
) -> Track:
    """Return the track of an object that is seen for the first time; parameters as `take`'s."""
    label = objects.class_names[objects.labels[index]]
    speed_m_s = FIRST_WALK_M_S if label.lower() in ON_FOOT else FIRST_SPEED_M_S
    covariance = np.eye(4) * speed_m_s**2
    covariance[:2, :2] = spread
    return Track(
        number, np.array([place[0], place[1], 0, 0]), covariance, float(place[2]),
        float(objects.covariances[index, 2, 2]), objects.sizes[index].copy(),
        float(objects.yaws[index]) + turn, bool(objects.oriented[index]), label,
        float(objects.scores[index]), bool(objects.by_camera[index]), objects.stamp_ns,
        objects.stamp_ns, object=index,
        labels={label: float(objects.scores[index])},
        is_measured=not objects.by_camera[index],
    )


def together(
    tracks: Sequence[Track], stamp_ns: int, frame_id: str, known: Sequence[str] = ()
) -> Tracks:
    """Return tracks as they are published.

    :param known: class names of earlier sweeps, whose numbers stay what they are.
    """
    names = (*known, *sorted({track.label for track in tracks} - set(known)))
    count = len(tracks)
    centres, velocities = np.zeros((count, 3)), np.zeros((count, 3))
    covariances, doubts = np.zeros((count, 3, 3)), np.zeros((count, 3, 3))
    for row, track in enumerate(tracks):
        centres[row, :2], centres[row, 2] = track.state[:2], track.z
        velocities[row, :2] = track.state[2:]
        covariances[row, :2, :2] = track.covariance[:2, :2]
        covariances[row, 2, 2] = track.z_variance
        doubts[row, :2, :2] = track.covariance[2:, 2:]
    yaws = [math.remainder(track.yaw, 2 * math.pi) for track in tracks]
    return Tracks(
        stamp_ns=stamp_ns,
        frame_id=frame_id,
        ids=np.array([track.number for track in tracks], np.int64),
        centres=centres,
        sizes=np.array([track.size for track in tracks]).reshape(-1, 3),
        yaws=np.array(yaws, np.float64),
        oriented=np.array([track.oriented for track in tracks], np.bool_),
        has_front=np.array([track.has_front for track in tracks], np.bool_),
        covariances=covariances,
        velocities=velocities,
        velocity_covariances=doubts,
        ages=np.array([(stamp_ns - track.first_ns) / 1e9 for track in tracks], np.float64),
        scores=np.array([track.score for track in tracks], np.float32),
        labels=np.array([names.index(track.label) for track in tracks], np.int32),
        by_camera=np.array([track.by_camera for track in tracks], np.bool_),
        objects=np.array([track.object for track in tracks], np.int64),
        class_names=names,
    )
