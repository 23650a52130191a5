"""What becomes of each frame, counted as in every pipeline, and kept as rows of tables."""

from __future__ import annotations

from collections.abc import Iterable

from perception_ros.core.latency import STAGES
from perception_ros.core.statistics import Statistics
from perception_ros.core.types import Drop, DropReason, FrameSet, Result
from perception_ros.replay.tables import (
    DETECTIONS,
    DROPPED,
    FRAMES,
    INFERRED,
    MISSING,
    Row,
    TIMINGS,
)

_REMEMBERED = 4096
"""Frames whose set is known: more than can be on their way."""


class Journal(Statistics):
    """Statistics that keep rows until `take`; sets are numbered as they leave."""

    def __init__(self) -> None:
        super().__init__()
        self._rows: dict[str, list[Row]] = {DETECTIONS: [], FRAMES: [], TIMINGS: []}
        self._sets = 0
        self._set_of: dict[tuple[str, int], int] = {}

    def matched(self, frame_set: FrameSet) -> None:
        """Give a frame set its number."""
        super().matched(frame_set)
        for frame in frame_set.frames:
            self._set_of.pop((frame.camera, frame.stamp_ns), None)  # the newest come last
            self._set_of[frame.camera, frame.stamp_ns] = self._sets
        while len(self._set_of) > _REMEMBERED:
            del self._set_of[next(iter(self._set_of))]
        self._sets += 1

    def dropped(self, drops: Iterable[Drop]) -> None:
        """Keep a row for each drop record."""
        drops = list(drops)
        super().dropped(drops)
        for drop in drops:
            # Without a model it was dropped before it was matched.
            number = self._set_of.get((drop.camera, drop.stamp_ns)) if drop.model else None
            outcome = MISSING if drop.reason is DropReason.MISSING else DROPPED
            self._rows[FRAMES].append((
                drop.camera, drop.stamp_ns, drop.model, outcome, drop.reason.value, drop.detail,
                number, None, None, None,
            ))

    def inferred(self, result: Result) -> None:
        """Keep a row for a frame that has its result, and one for each detection."""
        super().inferred(result)
        frame, found = result.frame, result.detections
        key = frame.camera, frame.stamp_ns, result.model
        self._rows[FRAMES].append((
            *key, INFERRED, '', '', self._set_of.get(key[:2]), frame.image.width,
            frame.image.height, len(found) if found else 0,
        ))
        self._rows[TIMINGS].append((
            *key, *(result.times_ns[stage] for stage in STAGES if stage != 'transport')
        ))
        if found:
            self._rows[DETECTIONS].extend(
                (*key, found.class_names[label], score, *box)
                for box, score, label in zip(
                    found.boxes.tolist(), found.scores.tolist(), found.labels.tolist(),
                    strict=True,
                )
            )

    def take(self) -> dict[str, list[Row]]:
        """Return the rows since the last call by table."""
        rows, self._rows = self._rows, {name: [] for name in self._rows}
        return rows
