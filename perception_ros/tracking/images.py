"""The same box with the same id, image after image: ByteTrack, one for each camera of a model.

The association is that of the library `trackers` (Zhang et al., "ByteTrack", ECCV 2022): boxes of
high scores are given to predicted tracks first, then those of low scores to what is left. Time is
that of the stamps, so a dropped frame makes a longer step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from perception_ros.core.errors import ConfigError
from perception_ros.core.types import Detections

RATE_HZ = 30.0
"""At which the library's filter is tuned; its steps are of the time that really passed."""
JUMP_NS = 1_000_000_000
"""A stamp this far behind the last one is that of a clock that was set back."""
SURE_ABOVE = 0.15
"""A box whose score is this far above the threshold may begin a track, and is given first."""
ID_DIGITS = 8
_ALIGNED = 8


@dataclass(slots=True)
class _Camera:
    """The tracks of one camera.

    first: number of the first track since the last restart; the library begins at 0 each time.
    """

    tracker: Any
    last_ns: int
    first: int = 1
    newest: int = 0


class ImageTracker:
    """Gives the boxes of one model their ids. Images of one camera come in order.

    :param lost_after_s: how long a track lives unseen.
    :raises ConfigError: the library is not installed.
    """

    def __init__(self, lost_after_s: float) -> None:
        try:
            import supervision
            from trackers import ByteTrackTracker
        except ImportError as error:
            raise ConfigError(
                f"tracking needs the package 'trackers' ({error}): pip install "
                'perception_ros[tracking], or set tracking to none'
            ) from error
        self._boxes = supervision.Detections
        self._make = ByteTrackTracker
        self._lost_after_s = lost_after_s
        self._cameras: dict[str, _Camera] = {}

    def ids(
        self, camera: str, stamp_ns: int, found: Detections, threshold: float
    ) -> tuple[str, ...]:
        """Return the id of each box, such as front/00000017; '' for one that has none yet.

        :param threshold: least score that is published, which may change from image to image.
        """
        known = self._cameras.get(camera)
        if known is None:
            known = self._cameras[camera] = _Camera(self._tracker(), stamp_ns - 1)
        if stamp_ns < known.last_ns - JUMP_NS:
            known.tracker.reset()
            known.first = known.newest + 1
        elif stamp_ns <= known.last_ns:
            return ('',) * len(found)
        known.last_ns = stamp_ns
        boxes = self._boxes(
            xyxy=found.boxes, confidence=found.scores, class_id=np.arange(len(found))
        )
        sure = min(threshold + SURE_ABOVE, 0.95)
        known.tracker.track_activation_threshold = known.tracker.high_conf_det_threshold = sure
        tracked = known.tracker.update(boxes, timestamp=stamp_ns / 1e9)
        ids = [''] * len(found)
        for index, number in zip(tracked.class_id, tracked.tracker_id, strict=True):
            if number >= 0:
                known.newest = max(known.newest, known.first + int(number))
                ids[index] = track_id(camera, known.first + int(number))
        return tuple(ids)

    def _tracker(self) -> Any:
        return self._make(
            lost_track_buffer=max(round(self._lost_after_s * 30), 1), frame_rate=RATE_HZ
        )


def track_id(camera: str, number: int) -> str:
    """Return the id of a track, which sorts as the number does.

    Its length is a multiple of eight, so that no other part of a message moves by less.
    """
    digits = ID_DIGITS + -(len(camera) + 1 + ID_DIGITS) % _ALIGNED
    return f'{camera}/{number:0{digits}d}'
