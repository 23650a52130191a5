"""The same object with the same id, sweep after sweep, and how fast it is.

Each track is a Kalman filter of a constant velocity over the ground, in a frame in which the world
stands still. An object is taken for the track whose prediction it is nearest to, measured by what
both are unsure of; that a camera's own tracker calls both the same brings them nearer still. Pairs
are taken in the order of that distance, each side once.

Two cameras may each see one end of a near thing, at the seam of their images: of two tracks of
which one is inside the other's box only the older one stays.

A track is told after its second sight and lives on for a while unseen; its id is never used
again. Time is that of the stamps: a sweep that was lost makes a longer step, not another track.
"""

from __future__ import annotations

from collections.abc import Sequence
import math

import numpy as np
from numpy.typing import NDArray

from perception_ros.fusion.types import Matrix, Objects, Tracks
from perception_ros.tracking.track import begun, ON_FOOT, together, Track

GATE = 11.8
"""Squared Mahalanobis distance beyond which nothing is the same: 0.3 % of the true ones are."""
WIDE_GATE = 60.0
"""As `GATE`, for what a camera calls the same, or lies inside the track's box: of a thing that two
cameras see one end of each, now this end and now that one says where its middle is."""
SAME_ID_BONUS = 9.0
OTHER_CLASS = 6.0
"""Added to the distance of another class: detectors waver between truck and bus."""
JUMP_S = 1.0
"""A stamp that is further back is that of a clock that was set back: all begins anew."""
LONGEST_STEP_S = 3.0
"""After a longer silence nothing is known of where things went."""

_KINDS = {
    name: kind for kind, names in enumerate((
        (*ON_FOOT, 'rider', 'cyclist', 'bicycle', 'motorcycle', 'motorbike'),
        ('car', 'van', 'truck', 'bus', 'trailer', 'train', 'tram', 'construction_vehicle'),
    )) for name in names
}
"""Classes that detectors take for one another; across kinds nothing is the same."""


class ObjectTracker:
    """Follows objects. Plain and without a clock; calls are in the order of the sweeps."""

    def __init__(self) -> None:
        self._tracks: list[Track] = []
        self._next = 1
        self._last_ns: int | None = None
        self._frame_id = ''
        self._class_names: tuple[str, ...] = ()

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
            track.take(objects, index, places[index], spreads[index], turn)
            self._take_ids(track, ids[index])
        for index in range(len(objects)):
            if index not in pairs:
                track = begun(
                    self._next, objects, index, places[index], spreads[index], turn
                )
                self._next += 1
                self._tracks.append(track)
                self._take_ids(track, ids[index])
        self._absorb()
        self._tracks = [track for track in self._tracks if not track.is_lost(objects.stamp_ns)]
        told = [track for track in self._tracks if track.is_told]
        tracks = together(told, objects.stamp_ns, frame_id, self._class_names)
        self._class_names = tracks.class_names
        return tracks

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
    ) -> dict[int, Track]:
        """Return which object is which track."""
        if not self._tracks or not len(objects):
            return {}
        states = np.array([track.state[:2] for track in self._tracks])
        doubts = np.array([track.covariance[:2, :2] for track in self._tracks])
        off = places[:, None] - states
        inverse = np.linalg.inv(spreads[:, None] + doubts)
        distances = np.einsum('otx,otxy,oty->ot', off, inverse, off)
        gates = np.where(_inside(places, self._tracks), WIDE_GATE, GATE)
        labels = [objects.class_names[label] for label in objects.labels]
        others = [track.label for track in self._tracks]
        distances += OTHER_CLASS * (np.array(labels)[:, None] != np.array(others))
        owners = {
            name: column for column, track in enumerate(self._tracks) for name in track.ids
        }
        for row, names in enumerate(ids):
            for column in {owners[name] for name in names if name in owners}:
                gates[row, column] = WIDE_GATE
                distances[row, column] -= SAME_ID_BONUS
        alike = [[_alike(label, other) for other in others] for label in labels]
        gates = np.where(alike, gates, -math.inf)
        rows, columns = np.nonzero(distances < gates)
        order = np.argsort(distances[rows, columns], kind='stable')
        found: dict[int, Track] = {}
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

    def _take_ids(self, track: Track, ids: Sequence[str]) -> None:
        """Let a camera's id belong to this track alone."""
        named = set(filter(None, ids))
        for other in self._tracks:
            if other is not track:
                other.ids -= named
        track.ids |= named


def _alike(label: str, other: str) -> bool:
    """Whether a detector may take one class for the other."""
    kind = _KINDS.get(label.lower())
    return label == other or (kind is not None and kind == _KINDS.get(other.lower()))


def _inside(places: NDArray[np.float64], tracks: Sequence[Track]) -> NDArray[np.bool_]:
    """Return which places [N, 2] are inside the boxes of which tracks: bool [N, T].

    A track of which nobody knows how it lies counts as round, as narrow as its narrower side.
    """
    off = places.reshape(-1, 1, 2) - np.array([t.state[:2] for t in tracks]).reshape(-1, 2)
    halves = np.array([track.size[:2] for track in tracks]).reshape(-1, 2) / 2
    yaws = np.array([track.yaw for track in tracks])
    oriented = np.array([track.oriented for track in tracks], np.bool_)
    cos, sin = np.cos(yaws), np.sin(yaws)
    along = np.abs(off[..., 0] * cos + off[..., 1] * sin)
    across = np.abs(off[..., 1] * cos - off[..., 0] * sin)
    in_circle = np.hypot(*np.moveaxis(off, -1, 0)) < halves.min(axis=1)
    in_box = (along < halves[:, 0]) & (across < halves[:, 1])
    return np.asarray(np.where(oriented, in_box, in_circle))


def _moved(
    objects: Objects, fixed_from_objects: Matrix
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Return places [N, 3], covariances over the ground [N, 2, 2] and the turn about z."""
    turn = fixed_from_objects[:3, :3]
    places = objects.centres @ turn.T + fixed_from_objects[:3, 3]
    spreads = (turn @ objects.covariances @ turn.T)[:, :2, :2]
    return places, spreads, math.atan2(turn[1, 0], turn[0, 0])
