"""What becomes of each frame, counted as in every pipeline, and kept as rows of tables.

Results come when an engine has them, which depends on what else is under way. Rows are put in the
order in which the sets left the synchroniser, and within a set by the names of the models, so that
it makes no difference where a run is cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import itemgetter
from types import MappingProxyType

from perception_ros.core.statistics import Statistics
from perception_ros.core.types import Drop, DropReason, FrameSet, Result
from perception_ros.faults.inject import Touch
from perception_ros.replay.tables import (
    DETECTIONS,
    DROPPED,
    FAULTS,
    FRAMES,
    INFERRED,
    MISSING,
    Row,
    SCHEMAS,
    TIMED,
    TIMINGS,
)

_REMEMBERED = 4096
"""Frames whose set is known: more than can be on their way."""

Place = tuple[int, str]
"""Turn and model of a row: the order of the rows."""


class Journal(Statistics):
    """Statistics that keep rows until `take`; sets are numbered as they leave."""

    def __init__(self) -> None:
        super().__init__()
        self._rows: dict[str, list[tuple[Place, Row]]] = {name: [] for name in SCHEMAS}
        self._turn = 0
        """Counts sets, and what is dropped before it comes into one."""
        self._sets = 0
        self._place_of: dict[tuple[str, int], tuple[int, int]] = {}
        """Camera and stamp -> turn and number of the set."""

    def matched(self, frame_set: FrameSet) -> None:
        """Give a frame set its number."""
        super().matched(frame_set)
        self._turn += 1
        for frame in frame_set.frames:
            self._place_of.pop((frame.camera, frame.stamp_ns), None)  # the newest come last
            self._place_of[frame.camera, frame.stamp_ns] = self._turn, self._sets
        while len(self._place_of) > _REMEMBERED:
            del self._place_of[next(iter(self._place_of))]
        self._sets += 1

    def dropped(self, drops: Iterable[Drop]) -> None:
        """Keep a row for each drop record."""
        drops = list(drops)
        super().dropped(drops)
        for drop in drops:
            turn, number = self._place(drop.camera, drop.stamp_ns, drop.model)
            outcome = MISSING if drop.reason is DropReason.MISSING else DROPPED
            self._rows[FRAMES].append(((turn, drop.model), (
                drop.camera, drop.stamp_ns, drop.model, outcome, drop.reason.value, drop.detail,
                number, None, None, None,
            )))

    def inferred(
        self, result: Result, on_the_way_ns: Mapping[str, int] = MappingProxyType({})
    ) -> None:
        """Keep a row for a frame that has its result, and one for each detection.

        :param on_the_way_ns: how long it took outside of the pipeline; some of `ON_THE_WAY`.
        """
        super().inferred(result)
        frame, found = result.frame, result.detections
        key = frame.camera, frame.stamp_ns, result.model
        turn, number = self._place(*key)
        place = turn, result.model
        self._rows[FRAMES].append((place, (
            *key, INFERRED, '', '', number, frame.image.width, frame.image.height,
            len(found) if found else 0,
        )))
        times_ns = {**(result.passage.stages_ns() if result.passage else {}), **on_the_way_ns}
        self._rows[TIMINGS].append((place, (*key, *(times_ns.get(name) for name in TIMED))))
        if found:
            self._rows[DETECTIONS].extend(
                (place, (*key, found.class_names[label], score, *box))
                for box, score, label in zip(
                    found.boxes.tolist(), found.scores.tolist(), found.labels.tolist(),
                    strict=True,
                )
            )

    def touched(self, touch: Touch) -> None:
        """Keep a row for a message that a fault has touched, in the order in which they come."""
        self._rows[FAULTS].append(((0, ''), touch))

    def take(self) -> dict[str, list[Row]]:
        """Return the rows since the last call by table; nothing may be under way."""
        taken, self._rows = self._rows, {name: [] for name in self._rows}
        return {
            name: [row for _, row in sorted(rows, key=itemgetter(0))]
            for name, rows in taken.items()
        }

    def _place(self, camera: str, stamp_ns: int, model: str) -> tuple[int, int | None]:
        """Return the turn of a frame, and the number of its set if it came into one."""
        if model and (place := self._place_of.get((camera, stamp_ns))):
            return place
        self._turn += 1
        return self._turn, None
