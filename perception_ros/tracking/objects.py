"""The same object with the same id, sweep after sweep, and how fast it is.

Each track is a Kalman filter of a constant velocity over the ground, in a frame in which the world
stands still. An object is taken for the track whose prediction it is nearest to, measured by what
both are unsure of; that a camera's own tracker calls both the same brings them nearer still. Pairs
are taken in the order of that distance, each side once.

A track is told after its second sight and lives on for a while unseen; its id is never used
again. Time is that of the stamps: a sweep that was lost makes a longer step, not another track.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
import math

import numpy as np
from numpy.typing import NDArray

from perception_ros.fusion.types import Matrix, Objects, Tracks

ACCELERATION_M_S2 = 3.0
"""Standard deviation of what a road user does in the next moment: braking, turning."""
FIRST_SPEED_M_S, FIRST_WALK_M_S = 8.0, 1.5
"""Standard deviation of the speed of what is seen for the first time, and of people on foot."""
GATE = 11.8
"""Squared Mahalanobis distance beyond which nothing is the same: 0.3 % of the true ones are."""
WIDE_GATE = 60.0
"""As `GATE`, for what a camera calls the same, or lies inside the track's box: of a thing that two
cameras see one end of each, now this end and now that one says where its middle is."""
SAME_ID_BONUS = 9.0
OTHER_CLASS = 6.0
"""Added to the distance of another class: detectors waver between truck and bus."""
LOST_AFTER_S = 1.0
"""How long a told track lives unseen."""
DOUBTED_AFTER_S = 0.35
"""How long one lives that was seen once."""
TOLD_AFTER = 2
"""Sights."""
VAGUE_M = 1.0
"""Standard deviation of where a track is from which on it is not told while it is unseen."""
JUMP_S = 1.0
"""A stamp that is further back is that of a clock that was set back: all begins anew."""
LONGEST_STEP_S = 3.0
"""After a longer silence nothing is known of where things went."""
MOVING_M_S = 1.5
"""What is faster faces where it goes."""
_SIZE_WEIGHT = 0.3

_ON_FOOT = ('person', 'pedestrian')
_KINDS = {
    name: kind for kind, names in enumerate((
        (*_ON_FOOT, 'rider', 'cyclist', 'bicycle', 'motorcycle', 'motorbike'),
        ('car', 'van', 'truck', 'bus', 'trailer', 'train', 'tram', 'construction_vehicle'),
    )) for name in names
}
"""Classes that detectors take for one another; across kinds nothing is the same."""


@dataclass(slots=True)
class _Track:
    """state: x, y, vx, vy; covariance: float64 [4, 4]; heading: None while it cannot be told."""

    number: int
    state: NDArray[np.float64]
    covariance: NDArray[np.float64]
    z: float
    z_variance: float
    size: NDArray[np.float64]
    heading: float | None
    label: str
    score: float
    by_camera: bool
    first_ns: int
    seen_ns: int
    sights: int = 1
    object: int = -1
    ids: set[str] = field(default_factory=set)
    labels: dict[str, float] = field(default_factory=dict)

    @property
    def is_confirmed(self) -> bool:
        return self.sights >= TOLD_AFTER

    @property
    def is_told(self) -> bool:
        is_seen = self.object >= 0
        return self.is_confirmed and (
            is_seen or float(np.trace(self.covariance[:2, :2])) < VAGUE_M**2
        )

    def is_lost(self, now_ns: int) -> bool:
        patience_s = LOST_AFTER_S if self.is_confirmed else DOUBTED_AFTER_S
        return (now_ns - self.seen_ns) / 1e9 > patience_s

    def predict(self, seconds: float) -> None:
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

    def correct(self, place: NDArray[np.float64], spread: NDArray[np.float64]) -> None:
        """Take in a place [2] with its covariance [2, 2]."""
        gain = self.covariance[:, :2] @ np.linalg.inv(self.covariance[:2, :2] + spread)
        self.state = self.state + gain @ (place - self.state[:2])
        kept = np.eye(4)
        kept[:, :2] -= gain
        # Joseph's form: symmetric and positive whatever is rounded
        self.covariance = kept @ self.covariance @ kept.T + gain @ spread @ gain.T


class ObjectTracker:
    """Follows objects. Plain and without a clock; calls are in the order of the sweeps."""

    def __init__(self) -> None:
        self._tracks: list[_Track] = []
        self._next = 1
        self._last_ns: int | None = None
        self._frame_id = ''

    def update(
        self,
        objects: Objects,
        ids: Sequence[Sequence[str]],
        frame_id: str,
        fixed_from_objects: Matrix,
    ) -> Tracks:
        """Take in the objects of a sweep, and return all tracks that are told.

        :param ids: of each object: what the cameras' trackers call the detections that it is made
            of; '' and none at all say nothing.
        :param frame_id: of the frame in which the world stands still; fixed_from_objects: where
            the objects' frame is in it.
        """
        self._step(objects.stamp_ns, frame_id)
        places, spreads, turn = _moved(objects, fixed_from_objects)
        pairs = self._pairs(objects, ids, places[:, :2], spreads)
        for index, track in pairs.items():
            _correct(track, objects, index, places[index], spreads[index], turn)
            track.object, track.seen_ns = index, objects.stamp_ns
            track.sights += 1
            self._take_ids(track, ids[index])
        for index in range(len(objects)):
            if index not in pairs:
                track = self._born(objects, index, places[index], spreads[index], turn)
                self._take_ids(track, ids[index])
        self._absorb()
        self._tracks = [track for track in self._tracks if not track.is_lost(objects.stamp_ns)]
        told = [track for track in self._tracks if track.is_told]
        return _together(told, objects.stamp_ns, frame_id)

    def _step(self, now_ns: int, frame_id: str) -> None:
        seconds = 0.0 if self._last_ns is None else (now_ns - self._last_ns) / 1e9
        if seconds < -JUMP_S or seconds > LONGEST_STEP_S or frame_id != self._frame_id:
            self._tracks, seconds = [], 0.0
        self._last_ns = now_ns if seconds >= 0 or not self._tracks else self._last_ns
        self._frame_id = frame_id
        for track in self._tracks:
            track.predict(max(seconds, 0.0))

    def _pairs(
        self,
        objects: Objects,
        ids: Sequence[Sequence[str]],
        places: NDArray[np.float64],
        spreads: NDArray[np.float64],
    ) -> dict[int, _Track]:
        """Return which object is which track."""
        if not self._tracks or not len(objects):
            return {}
        states = np.array([track.state[:2] for track in self._tracks])
        doubts = np.array([track.covariance[:2, :2] for track in self._tracks])
        off = places[:, None] - states
        inverse = np.linalg.inv(spreads[:, None] + doubts)
        distances = np.einsum('otx,otxy,oty->ot', off, inverse, off)
        gates = np.where(_inside(places, self._tracks), WIDE_GATE, GATE)
        for column, track in enumerate(self._tracks):
            for row in range(len(objects)):
                label = objects.class_names[objects.labels[row]]
                if label != track.label:
                    distances[row, column] += OTHER_CLASS
                    if not _alike(label, track.label):
                        distances[row, column] = math.inf
                if track.ids and not track.ids.isdisjoint(filter(None, ids[row])):
                    gates[row, column] = WIDE_GATE
                    distances[row, column] -= SAME_ID_BONUS
        rows, columns = np.nonzero(distances < gates)
        order = np.argsort(distances[rows, columns], kind='stable')
        found: dict[int, _Track] = {}
        taken: set[int] = set()
        for row, column in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
            if row not in found and column not in taken:
                found[row] = self._tracks[column]
                taken.add(column)
        return found

    def _absorb(self) -> None:
        """Keep only the older of two tracks of which one is inside the other's box.

        Two things are never in the same place; two cameras' halves of one thing are.
        """
        inside = _inside(np.array([track.state[:2] for track in self._tracks]), self._tracks)
        kept: list[int] = []
        for young, track in enumerate(self._tracks):
            for old in kept:
                other = self._tracks[old]
                if (inside[young, old] or inside[old, young]) and _alike(track.label, other.label):
                    other.ids |= track.ids
                    break
            else:
                kept.append(young)
        self._tracks = [self._tracks[index] for index in kept]

    def _take_ids(self, track: _Track, ids: Sequence[str]) -> None:
        """Let a camera's id belong to this track alone."""
        named = set(filter(None, ids))
        for other in self._tracks:
            if other is not track:
                other.ids -= named
        track.ids |= named

    def _born(
        self,
        objects: Objects,
        index: int,
        place: NDArray[np.float64],
        spread: NDArray[np.float64],
        turn: float,
    ) -> _Track:
        label = objects.class_names[objects.labels[index]]
        speed_m_s = FIRST_WALK_M_S if label.lower() in _ON_FOOT else FIRST_SPEED_M_S
        covariance = np.eye(4) * speed_m_s**2
        covariance[:2, :2] = spread
        yaw = float(objects.yaws[index])
        track = _Track(
            self._next, np.array([place[0], place[1], 0, 0]), covariance, float(place[2]),
            float(objects.covariances[index, 2, 2]), objects.sizes[index].copy(),
            None if math.isnan(yaw) else yaw + turn, label, float(objects.scores[index]),
            bool(objects.by_camera[index]), objects.stamp_ns, objects.stamp_ns, object=index,
            labels={label: float(objects.scores[index])},
        )
        self._next += 1
        self._tracks.append(track)
        return track


def _alike(label: str, other: str) -> bool:
    """Whether a detector may take one class for the other."""
    kind = _KINDS.get(label.lower())
    return label == other or (kind is not None and kind == _KINDS.get(other.lower()))


def _inside(places: NDArray[np.float64], tracks: Sequence[_Track]) -> NDArray[np.bool_]:
    """Return which places [N, 2] are inside the boxes of which tracks: bool [N, T].

    A track whose heading cannot be told counts as round, and as narrow as its narrower side.
    """
    off = places.reshape(-1, 1, 2) - np.array([t.state[:2] for t in tracks]).reshape(-1, 2)
    halves = np.array([track.size[:2] for track in tracks]).reshape(-1, 2) / 2
    headings = np.array([math.nan if t.heading is None else t.heading for t in tracks], np.float64)
    cos, sin = np.cos(headings), np.sin(headings)
    along = np.abs(off[..., 0] * cos + off[..., 1] * sin)
    across = np.abs(off[..., 1] * cos - off[..., 0] * sin)
    is_round = np.isnan(headings) & (np.hypot(*np.moveaxis(off, -1, 0)) < halves.min(axis=1))
    return np.asarray(is_round | ((along < halves[:, 0]) & (across < halves[:, 1])))


def _moved(
    objects: Objects, fixed_from_objects: Matrix
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Return places [N, 3], covariances over the ground [N, 2, 2] and the turn about z."""
    turn = fixed_from_objects[:3, :3]
    places = objects.centres @ turn.T + fixed_from_objects[:3, 3]
    spreads = (turn @ objects.covariances @ turn.T)[:, :2, :2]
    return places, spreads, math.atan2(turn[1, 0], turn[0, 0])


def _correct(
    track: _Track,
    objects: Objects,
    index: int,
    place: NDArray[np.float64],
    spread: NDArray[np.float64],
    turn: float,
) -> None:
    track.correct(place[:2], spread)
    variance = float(objects.covariances[index, 2, 2])
    weight = track.z_variance / (track.z_variance + variance)
    track.z += weight * (float(place[2]) - track.z)
    track.z_variance = max((1 - weight) * track.z_variance, variance / 10)
    # What is guessed by a camera alone does not change a size that points have shown.
    by_camera = bool(objects.by_camera[index])
    if not by_camera or track.by_camera:
        track.size += _SIZE_WEIGHT * (objects.sizes[index] - track.size)
    track.by_camera = by_camera
    label = objects.class_names[objects.labels[index]]
    track.score = float(objects.scores[index])
    track.labels[label] = 0.9 * track.labels.get(label, 0.0) + track.score
    track.label = max(track.labels, key=lambda name: track.labels[name])
    track.heading = _heading(track, float(objects.yaws[index]) + turn)


def _heading(track: _Track, yaw: float) -> float | None:
    """Return where a track faces: where it goes, if it moves, for boxes have no front."""
    vx, vy = float(track.state[2]), float(track.state[3])
    if math.hypot(vx, vy) > MOVING_M_S:
        way = math.atan2(vy, vx)
        if math.isnan(yaw):
            return way
        return yaw if math.cos(yaw - way) >= 0 else yaw + math.pi
    if math.isnan(yaw):
        return track.heading
    if track.heading is not None and math.cos(yaw - track.heading) < 0:
        return yaw + math.pi
    return yaw


def _together(tracks: list[_Track], stamp_ns: int, frame_id: str) -> Tracks:
    names = tuple(sorted({track.label for track in tracks}))
    count = len(tracks)
    centres, velocities = np.zeros((count, 3)), np.zeros((count, 3))
    covariances, doubts = np.zeros((count, 3, 3)), np.zeros((count, 3, 3))
    for row, track in enumerate(tracks):
        centres[row, :2], centres[row, 2] = track.state[:2], track.z
        velocities[row, :2] = track.state[2:]
        covariances[row, :2, :2] = track.covariance[:2, :2]
        covariances[row, 2, 2] = track.z_variance
        doubts[row, :2, :2] = track.covariance[2:, 2:]
    yaws = [math.nan if track.heading is None else track.heading for track in tracks]
    wrapped = [math.remainder(yaw, 2 * math.pi) for yaw in yaws]
    return Tracks(
        stamp_ns=stamp_ns,
        frame_id=frame_id,
        ids=np.array([track.number for track in tracks], np.int64),
        centres=centres,
        sizes=np.array([track.size for track in tracks]).reshape(-1, 3),
        yaws=np.array(wrapped, np.float64),
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
