"""What became of the frames that faults have touched, and of the others: from a run's tables."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from perception_ros.core.config import PerceptionConfig
from perception_ros.core.types import DropReason
from perception_ros.faults.inject import ADDED, CHANGED, REMOVED, Span, Touch
from perception_ros.faults.kinds import Fault, Jump, Skew
from perception_ros.faults.plan import FaultPlan
from perception_ros.replay.answers import Answer, answers, Key
from perception_ros.replay.compare import ModelComparison
from perception_ros.replay.tables import FAULTS, FRAMES, INFERRED, MISSING, read_rows, SCHEMAS

_AFTERMATH_NS = 1_000_000_000
"""What is lost so long after a fault may still be its doing."""

_REFUSED = (DropReason.INVALID, DropReason.UNDECODABLE)
_DISORDER = (DropReason.OUT_OF_ORDER, DropReason.DUPLICATE)
_CONFIGURED = (DropReason.RATE, DropReason.UNWANTED)
_INCOMPLETE = (DropReason.UNMATCHED, DropReason.STALE)
"""Reasons that a policy has which waits for complete sets, however long."""
_TOO_SLOW = (DropReason.SUPERSEDED, DropReason.STALE, DropReason.STOPPED)
"""Reasons that a machine has which plays in real time."""


@dataclass(slots=True)
class Figures:
    """Of one fault, without the messages that are set aside."""

    removed: int = 0
    changed: int = 0
    added: int = 0
    """Messages, of all topics."""
    set_aside: int = 0
    """Messages that come after the end of the run, copies that come after the end of the bag,
    where they look like a clock that was set back, and messages that another fault has touched
    too, or while one had set the clock of their camera: those are the doing of neither."""
    inferred: int = 0
    """Touched frames that were looked at,"""
    detections: int = 0
    """and what was found in them."""
    refused: int = 0
    """Touched frames that were dropped as invalid or undecodable,"""
    out_of_order: int = 0
    duplicate: int = 0
    passed_over: int = 0
    """as the configuration has it, or in real time a machine that is too slow;"""
    lost: int = 0
    """for any other reason,"""
    vanished: int = 0
    """and those of which nothing is known."""
    alone: int = 0
    """Touched frames that were looked at and had no frame of another camera in their set."""
    differ: int = 0
    """Frozen frames in which something else was found than in the first of them."""
    noticeable: int = 0
    """Removed frames that would have been in a set with others,"""
    noticed: int = 0
    """and those whose set says that they are missing."""
    others_inferred: int = 0
    """Frames that no fault has touched, from the first that it has to a second after the last,"""
    others_lost: int = 0
    """and those of them that were lost to something but their own damage, or a clock that another
    fault has set."""


class Aftermath:
    """The tables of a finished run, with an eye to its faults."""

    def __init__(
        self,
        folder: Path,
        plan: FaultPlan,
        config: PerceptionConfig,
        bag: Span,
        end_ns: int,
        *,
        is_realtime: bool,
    ) -> None:
        """
        Read them.

        :param bag: times of its first and its last message.
        :param end_ns: before which the run ended.
        :raises ReplayError: they are not there.
        """
        self._folder = folder
        self._config = config
        self._bag = bag
        self._end_ns = end_ns
        self._by_arrival = {
            name for name, camera in config.cameras.items() if camera.stamp_source == 'arrival'
        }
        self._touches: dict[str, list[Touch]] = {}
        faults_of: dict[tuple[str, int], set[str]] = {}
        for row in read_rows(folder / f'{FAULTS}.parquet', SCHEMAS[FAULTS].names):
            touch = Touch(*row)
            self._touches.setdefault(touch.fault, []).append(touch)
            faults_of.setdefault((touch.topic, touch.origin_ns), set()).add(touch.fault)
        self._shared = {message for message, faults in faults_of.items() if len(faults) > 1}
        self._frames = _Frames(folder, {
            key for found in self._touches.values() for touch in found if (key := self._key(touch))
        }, _passed_over(config, is_realtime=is_realtime))
        self._clocks = {
            fault.name: fault for fault in plan.faults if isinstance(fault, (Skew, Jump))
        }
        self._alone = {fault.name: self._of_it_alone(fault) for fault in plan.faults}

    def touches(self, fault: Fault) -> Sequence[Touch]:
        """Return all that a fault has touched, in order."""
        return self._touches.get(fault.name, ())

    def times(self, fault: Fault) -> int:
        """Return how many times of a camera it has struck: one for each `for_s`, or window."""
        return len({
            (touch.camera, fault.begun_ns(touch.time_ns - self._bag.start_ns))
            for touch in self._alone[fault.name] if touch.camera
        })

    def figures(self, fault: Fault) -> Figures:
        """Return what a fault has done."""
        touches, alone = self.touches(fault), self._alone[fault.name]
        count = Counter(touch.what for touch in alone)
        keys = [key for touch in alone if (key := self._key(touch))]
        found = Figures(
            count[REMOVED], count[CHANGED], count[ADDED], set_aside=len(touches) - len(alone)
        )
        self._count_fates(keys, found)
        if found.removed:  # by a fault that does nothing else
            self._count_missing(keys, found)
        else:
            self._count_vanished(keys, found)
        spans = self._spans(fault)
        found.others_inferred = _count(self._frames.others_inferred, spans)
        found.others_lost = _count(self._frames.others_lost, spans, [
            span for name, clock in self._clocks.items() if name != fault.name
            for span in self._spans(clock)
        ])
        return found

    def differing(self, fault: Fault) -> int:
        """Return in how many touched frames something else is found than in the first of them.

        First in its time of the fault: all of that time show the same picture.
        """
        time_of = {
            key: (touch.camera, fault.begun_ns(touch.time_ns - self._bag.start_ns))
            for touch in self._alone[fault.name]
            if (key := self._key(touch)) and INFERRED in self._frames.fates.get(key, ())
        }
        changed: set[Key] = set()
        for model in self._config.models:
            first: dict[tuple[str, int | None], Answer] = {}
            comparison = ModelComparison()
            for answer in answers(self._folder, model):
                if time := time_of.get(answer.key):
                    # the key of what is found to differ is that of the first argument
                    comparison.add(answer, first.setdefault(time, answer))
            changed |= comparison.changed.keys()
        return len(changed)

    def _of_it_alone(self, fault: Fault) -> list[Touch]:
        """Return the touches of a fault that are not to be set aside."""
        clocks: dict[str, list[Span]] = {}
        for touch in self.touches(fault):
            if touch.camera and touch.camera not in clocks:
                clocks[touch.camera] = [
                    span for name, clock in self._clocks.items() if name != fault.name
                    for span in self._spans(clock, touch.camera)
                ]
        return [
            touch for touch in self.touches(fault)
            if touch.time_ns < self._end_ns
            and (touch.what != ADDED or touch.time_ns <= self._bag.end_ns)
            and (touch.topic, touch.origin_ns) not in self._shared
            and not _covers(clocks.get(touch.camera, ()), touch.stamp_ns or 0)
        ]

    def _key(self, touch: Touch) -> Key | None:
        """Return the frame that a message is to the pipeline; None: it is none."""
        if not touch.camera:
            return None
        if touch.camera in self._by_arrival:
            return touch.camera, touch.time_ns
        return touch.camera, touch.stamp_ns or 0

    def _count_fates(self, keys: Iterable[Key], found: Figures) -> None:
        frames, has_others = self._frames, len(self._config.cameras) > 1
        for key in frames.fates.keys() & set(keys):
            fate = frames.fates[key]
            found.inferred += fate[INFERRED]
            found.detections += frames.detections[key]
            found.refused += sum(fate[reason] for reason in _REFUSED)
            found.out_of_order += fate[DropReason.OUT_OF_ORDER]
            found.duplicate += fate[DropReason.DUPLICATE]
            found.passed_over += sum(fate[reason] for reason in frames.passed_over)
            found.lost += sum(fate[reason] for reason in frames.lost)
            found.alone += has_others and frames.cameras_beside(key) == {key[0]}

    def _count_vanished(self, keys: Iterable[Key], found: Figures) -> None:
        looked_at = {
            camera for model in self._config.models for camera in self._config.cameras_of(model)
        }
        found.vanished = sum(
            key not in self._frames.fates and key[0] in looked_at for key in keys
        )

    def _count_missing(self, gone: Iterable[Key], found: Figures) -> None:
        """Count the frames that are gone, had partners, and are said to be missing."""
        settings = self._config.synchronizer
        if settings.policy != 'deadline':
            return
        tolerance_ns = round(settings.tolerance_ms * 1e6)
        offsets = {n: round(c.time_offset_ms * 1e6) for n, c in self._config.cameras.items()}
        reach_ns = tolerance_ns + max(map(abs, offsets.values()))
        seen = self._frames.stamps
        own: dict[str, list[int]] = {}
        for camera, stamp_ns in gone:
            own.setdefault(camera, list(seen.get(camera, ()))).append(stamp_ns)
        for known in own.values():
            known.sort()
        for camera, stamp_ns in gone:
            for other in seen.keys() - {camera}:
                shift_ns = offsets[other] - offsets[camera]
                near = _between(seen[other], stamp_ns - shift_ns, tolerance_ns)
                if any(_nearest(own[camera], at_ns + shift_ns) == stamp_ns for at_ns in near):
                    found.noticeable += 1
                    said = self._frames.missing.get(camera, [])
                    found.noticed += bool(_between(said, stamp_ns, reach_ns))
                    break

    def _spans(self, fault: Fault, camera: str = '') -> list[Span]:
        """Return from when to when, by stamps, a fault may have had an effect.

        :param camera: on this one; '': on any.
        """
        pairs = [
            (touch.time_ns,) * 2 if touch.camera in self._by_arrival
            else (touch.was_ns, touch.stamp_ns)
            for touch in self.touches(fault) if camera in ('', touch.camera)
        ]
        sides = [[pair[side] for pair in pairs] for side in (0, 1)]
        known = [[stamp_ns for stamp_ns in side if stamp_ns is not None] for side in sides]
        return [Span(min(stamps), max(stamps) + _AFTERMATH_NS) for stamps in known if stamps]


class _Frames:
    """What the table of frames says of those that faults have touched, and of all others."""

    def __init__(
        self, folder: Path, touched: set[Key], passed_over: frozenset[DropReason]
    ) -> None:
        self.passed_over = passed_over
        self.lost = {*DropReason} - passed_over - {*_REFUSED, *_DISORDER}
        self.fates: dict[Key, Counter[str]] = {}
        """How many frames of a touched key were inferred, or dropped for a reason."""
        self.detections: Counter[Key] = Counter()
        self.stamps: dict[str, list[int]] = {}
        """Of each camera's frames that came into a set, in order."""
        self.missing: dict[str, list[int]] = {}
        self._set_of: dict[Key, int] = {}
        self._cameras: dict[int, set[str]] = {}
        """Of the sets that touched frames are in, and others."""
        inferred: set[Key] = set()
        lost: list[int] = []
        columns = ('camera', 'stamp_ns', 'model', 'outcome', 'reason', 'set', 'detections')
        for camera, stamp_ns, model, outcome, reason, number, count in read_rows(
            folder / f'{FRAMES}.parquet', columns
        ):
            key = camera, stamp_ns
            if outcome == MISSING:
                self.missing.setdefault(camera, []).append(stamp_ns)
                continue
            if number is not None:
                self._cameras.setdefault(number, set()).add(camera)
                if self._set_of.get(key) != number:
                    self._set_of[key] = number
                    self.stamps.setdefault(camera, []).append(stamp_ns)
            if key in touched:
                fate = self.fates.setdefault(key, Counter())
                what = reason or outcome
                # a row for each model, but for what is dropped for all at once
                fate[what] = 1 if model else fate[what] + 1
                self.detections[key] += count or 0
            elif outcome == INFERRED:
                inferred.add(key)
            elif reason in self.lost or reason in _DISORDER:
                lost.append(stamp_ns)
        self.others_inferred = [stamp_ns for _, stamp_ns in inferred]
        self.others_lost = lost
        for stamps in (*self.stamps.values(), *self.missing.values()):
            stamps.sort()

    def cameras_beside(self, key: Key) -> set[str]:
        """Return the cameras in the set that a frame is in."""
        return self._cameras.get(self._set_of.get(key, -1), set())


def _passed_over(config: PerceptionConfig, *, is_realtime: bool) -> frozenset[DropReason]:
    """Return reasons for which frames are dropped as they should be, fault or no fault."""
    is_patient = config.synchronizer.policy != 'deadline'
    return frozenset((
        *_CONFIGURED, *(_INCOMPLETE if is_patient else ()), *(_TOO_SLOW if is_realtime else ()),
    ))


def _covers(spans: Iterable[Span], stamp_ns: int) -> bool:
    return any(span.covers(stamp_ns) for span in spans)


def _count(stamps: Iterable[int], spans: Sequence[Span], but: Sequence[Span] = ()) -> int:
    return sum(_covers(spans, stamp_ns) and not _covers(but, stamp_ns) for stamp_ns in stamps)


def _between(stamps: Sequence[int], middle: int, reach: int) -> Sequence[int]:
    return stamps[bisect_left(stamps, middle - reach) : bisect_right(stamps, middle + reach)]


def _nearest(stamps: Sequence[int], wanted: int) -> int:
    at = bisect_left(stamps, wanted)
    return min(stamps[max(at - 1, 0) : at + 1], key=lambda stamp: abs(stamp - wanted))
