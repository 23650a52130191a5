"""The trackers on sequences whose truth is known, with none and with some of the frames lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from perception_ros.core.types import Detections
from perception_ros.evaluation.linking import Linked
from perception_ros.evaluation.scenes import LENS
from perception_ros.evaluation.tracks import iou, nearness, TrackFigures, TrackScorer
from perception_ros.evaluation.traffic import Moment, SCORE_THRESHOLD, SWEEP_EVERY
from perception_ros.fusion.config import FusionCameraConfig, FusionConfig
from perception_ros.fusion.ground import floor_of
from perception_ros.fusion.pipeline import PlacedSweep, SweepPipeline
from perception_ros.fusion.types import FusionSet, Sweep, Tracks, View
from perception_ros.tracking.images import ImageTracker
from perception_ros.tracking.objects import ObjectTracker

LOST_AFTER_S = 1.0
"""How long a track lives unseen: the node's default."""
_SWEEPS = 'sweeps'
_OLDEST_NS = round(FusionConfig.model_fields['tolerance_ms'].default * 1e6)


class Followed(BaseModel):
    """What came of a sequence of which a share of the frames was lost.

    velocity_*: how far the velocities of tracks in space are off, m/s.
    """

    lost: float
    images: TrackFigures
    space: TrackFigures | None = None
    velocity_p50_m_s: float | None = None
    velocity_p90_m_s: float | None = None


def follow_traffic(moments: Sequence[Moment], lost: float, seed: int = 0) -> Followed:
    """Follow a street in the images of each camera, and in space.

    Each camera loses frames of its own, and so does the LiDAR; in space the boxes' ids help as
    they do in the node.

    :param lost: share of the frames.
    :raises PerceptionError: a library is not installed.
    """
    street = _Street()
    random = np.random.default_rng([seed, round(lost * 1000)])
    for number, moment in enumerate(moments):
        seen = {}
        for sight in moment.sights:
            if random.random() >= lost:
                seen[sight.camera] = moment.detected(sight)
        street.look(moment, seen)
        if number % SWEEP_EVERY == 0 and random.random() >= lost:
            street.sweep(moment)
    return street.result(lost)


class _Look(NamedTuple):
    """What one camera saw, and what its boxes are called."""

    moment: Moment
    found: Detections
    ids: tuple[str, ...]


class _Street:
    """The trackers of a vehicle, and what is measured of them."""

    def __init__(self) -> None:
        self._boxes = ImageTracker(LOST_AFTER_S)
        self._objects = ObjectTracker()
        self._in_images, self._in_space = TrackScorer(), TrackScorer()
        self._last: dict[str, _Look] = {}
        self._velocities_off: list[float] = []
        self._pipeline = SweepPipeline(FusionConfig(cameras={'camera0': FusionCameraConfig()}))

    def look(self, moment: Moment, seen: Mapping[str, Detections]) -> None:
        """Follow the boxes of those cameras whose images have come."""
        for sight in moment.sights:
            if sight.camera not in seen:
                continue
            found = seen[sight.camera]
            ids = self._boxes.ids(sight.camera, moment.stamp_ns, found, SCORE_THRESHOLD)
            self._last[sight.camera] = _Look(moment, found, ids)
            _score(
                self._in_images, sight.camera, sight.movers.tolist(), sight.boxes, sight.is_clear,
                found, ids,
            )

    def sweep(self, moment: Moment) -> None:
        """Fuse a sweep with each camera's newest image, as the node does, and follow its objects.

        An image that is too old has no part in it; of an older one the vehicle's motion is taken
        out.
        """
        scene, views = moment.scene, []
        for (camera, _, _), heading in zip(scene.shown, scene.headings, strict=True):
            look = self._last.get(camera)
            if look is None or moment.stamp_ns - look.moment.stamp_ns > _OLDEST_NS:
                continue
            then_from_now = np.linalg.inv(look.moment.odom_from_base) @ moment.odom_from_base
            views.append(View(
                camera, look.moment.stamp_ns, LENS,
                scene.camera_from_base(heading) @ then_from_now @ scene.base_from_lidar,
                look.found, look.ids,
            ))
        sweep = Sweep(moment.stamp_ns, moment.stamp_ns, 'lidar', scene.points)
        fused = self._pipeline.fuse(PlacedSweep(
            FusionSet(sweep, tuple(views)), {}, True, True, 'base_link', scene.base_from_lidar,
            'odom', moment.odom_from_base, 0, floor_of(scene.base_from_lidar),
        ), painted=False)
        tracks = self._objects.update(fused.objects, fused.ids, 'odom', moment.odom_from_base)
        pairs = self._in_space.add(
            _SWEEPS, range(len(moment.movers)), moment.is_clear, tracks.ids.tolist(),
            nearness(moment.places, tracks.centres[:, :2]),
        )
        self._velocities_off += _velocities_off(moment, tracks, pairs)

    def result(self, lost: float) -> Followed:
        """Measure all that was seen."""
        off = self._velocities_off
        return Followed(
            lost=lost, images=self._in_images.result(), space=self._in_space.result(),
            velocity_p50_m_s=float(np.percentile(off, 50)) if off else None,
            velocity_p90_m_s=float(np.percentile(off, 90)) if off else None,
        )


def _velocities_off(moment: Moment, tracks: Tracks, pairs: Mapping[int, int]) -> list[float]:
    """Return how far the velocities of tracks that follow something are off, m/s."""
    off = []
    for column, row in pairs.items():
        mover = moment.movers[row]
        off.append(float(np.hypot(*(tracks.velocities[column, :2] - [mover.vx, mover.vy]))))
    return off


def follow_clip(
    frames: Sequence[Detections],
    truth: Sequence[Linked],
    rate_hz: float,
    threshold: float,
    lost: float,
    seed: int = 0,
) -> Followed:
    """Follow the boxes of one camera's clip, and measure against labels.

    :param frames: what was found in each picture; truth: what is labelled there.
    :param threshold: least score of boxes that the node would publish.
    :raises PerceptionError: a library is not installed.
    """
    tracker, scorer = ImageTracker(LOST_AFTER_S), TrackScorer()
    random = np.random.default_rng([seed, round(lost * 1000)])
    for number, (found, labelled) in enumerate(zip(frames, truth, strict=True)):
        if random.random() < lost:
            continue
        ids = tracker.ids('clip', 1 + round(number / rate_hz * 1e9), found, threshold)
        _score(
            scorer, 'clip', labelled.ids.tolist(), labelled.boxes, labelled.is_clear, found, ids
        )
    return Followed(lost=lost, images=scorer.result())


def _score(
    scorer: TrackScorer,
    camera: str,
    true_ids: Sequence[int],
    boxes: NDArray[np.floating],
    asked: NDArray[np.bool_],
    found: Detections,
    ids: Sequence[str],
) -> None:
    """Add an image; a box without an id is no track's."""
    tracked = np.array([bool(name) for name in ids], np.bool_)
    scorer.add(
        camera, true_ids, asked, list(filter(None, ids)), iou(boxes, found.boxes[tracked])
    )
