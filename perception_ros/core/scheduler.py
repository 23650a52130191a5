"""Which frames go through which engine now: a pure state machine, one queue a model.

    scheduler.submit(frame_set)              # its frames wait for every model that wants them
    scheduler.next_batch(model, now_ns)      # -> the frames of the next engine call, or None
    scheduler.wake_ns(model)                 # -> when to ask again, if a call was held back
    scheduler.note_call(model, size, ns)     # how long a call took, from scheduled to published
    scheduler.take_drops()                   # -> what was dropped since the last call, and why

Who goes first: the camera with the smaller `priority`, then the one that was served longest ago.
One call takes what waits in that order, up to the engine's greatest batch, as long as all in it
make their deadline; what is left goes into the next call. docs/scheduling.md has the rules.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
import math

from perception_ros.core.call_times import CallTimes
from perception_ros.core.config import PerceptionConfig
from perception_ros.core.pace import Pace
from perception_ros.core.types import Batch, Drop, DropReason, Frame, FrameSet

RATE_SLACK = 0.25
"""A set this part of a period early still counts as due: stamps jitter, rates do not divide."""

PROBE_ROUNDS = 10
"""So often all that waits may be shed as late in a row; then one frame goes all the same.

What shed it is an estimate, and without a call nothing would ever correct it.
"""

_Waiting = tuple[Frame, int]
"""A frame, and when it was matched."""


@dataclass(slots=True)
class _Queue:
    """What one model has to do. Times in ns; 0 where a period or limit is off."""

    cameras: frozenset[str]
    max_batch: int
    period_ns: float
    preferred_batch: int
    max_delay_ns: int
    deadline_ns: int
    times: CallTimes = field(default_factory=CallTimes)
    paces: dict[str, Pace] = field(default_factory=dict)
    first_ns: int | None = None
    waiting: list[_Waiting] = field(default_factory=list)  # in order within each camera
    last_beat: dict[str, int] = field(default_factory=dict)
    served: dict[str, int] = field(default_factory=dict)
    turns: int = 0
    rounds_shed: int = 0
    wake_ns: int | None = None

    def makes_it(self, frame: Frame, size: int, now_ns: int) -> bool:
        """Say whether the frame is published in time by a call of `size` that starts now."""
        if not self.deadline_ns:
            return True
        return now_ns + self.times.expect_ns(size) <= frame.received_ns + self.deadline_ns


class Scheduler:
    """Decide what each model infers next.

    :param max_batch: model -> most frames of one call, as its engine says.
    :param wanted: (camera, model) -> whether anybody listens; asked once a frame.
    :param is_live: False, as in a recording's time: nothing is held back, nothing is late.
    """

    def __init__(
        self,
        config: PerceptionConfig,
        max_batch: Mapping[str, int],
        wanted: Callable[[str, str], bool] = lambda camera, model: True,
        *,
        is_live: bool = True,
    ) -> None:
        self.max_age_ms = config.max_age_ms
        self._queue_depth = config.queue_depth
        self._priority = {name: camera.priority for name, camera in config.cameras.items()}
        self._wanted = wanted
        self._drops: list[Drop] = []
        self._queues = {
            name: _Queue(
                cameras=frozenset(config.cameras_of(name)),
                max_batch=max_batch[name],
                period_ns=1e9 / model.max_rate_hz if model.max_rate_hz else 0.0,
                preferred_batch=min(model.preferred_batch, max_batch[name]),
                max_delay_ns=round(model.max_queue_delay_ms * 1e6) if is_live else 0,
                deadline_ns=round(model.deadline_ms * 1e6) if is_live else 0,
            )
            for name, model in config.models.items()
        }

    def submit(self, frame_set: FrameSet) -> None:
        """Let the frames of a set wait for every model that takes them."""
        for model, queue in self._queues.items():
            for frame in frame_set.frames:
                if frame.camera not in queue.cameras:
                    continue
                if not self._wanted(frame.camera, model):
                    self._drop(frame, DropReason.UNWANTED, model)
                elif not self._is_due(queue, frame.camera, frame_set):
                    self._drop(frame, DropReason.RATE, model)
                else:
                    queue.waiting.append((frame, frame_set.matched_ns))
                    queue.paces.setdefault(frame.camera, Pace()).note(frame_set.matched_ns)
                    self._make_room(queue, frame.camera, model)

    def next_batch(self, model: str, now_ns: int) -> Batch | None:
        """Take the frames of the model's next engine call out of its queue.

        None: nothing waits, or it is held back to become more; then `wake_ns` says until when.

        :param now_ns: on the clock of `Frame.received_ns`.
        """
        queue = self._queues[model]
        queue.wake_ns = None
        self._shed_stale(queue, model, now_ns)
        is_probe = self._shed_late(queue, model, now_ns)
        if not queue.waiting:
            return None
        held_until_ns = self._held_until_ns(queue, now_ns)
        if held_until_ns > now_ns and not is_probe:
            queue.wake_ns = held_until_ns
            return None
        chosen = self._choose(queue, now_ns)
        queue.waiting = [entry for entry in queue.waiting if entry not in chosen]
        for frame, _ in chosen:
            queue.turns += 1
            queue.served[frame.camera] = queue.turns
        frames, matched_ns = zip(*chosen, strict=True)
        return Batch(model, frames, matched_ns, now_ns)

    def wake_ns(self, model: str) -> int | None:
        """Return when to ask again for what the last `next_batch` held back; None: it did not."""
        return self._queues[model].wake_ns

    def note_call(self, model: str, size: int, duration_ns: int) -> None:
        """Take in how long a call of `size` frames took, from scheduled to published."""
        self._queues[model].times.note(size, duration_ns)

    def clear(self) -> None:
        """Drop all that waits."""
        for model, queue in self._queues.items():
            for frame, _ in queue.waiting:
                self._drop(frame, DropReason.STOPPED, model)
            queue.waiting = []

    def take_drops(self) -> list[Drop]:
        """Return the drop records since the last call."""
        drops, self._drops = self._drops, []
        return drops

    # --------------------------------------------------------------------- what goes into a call

    def _ranked(self, queue: _Queue) -> list[_Waiting]:
        """Return what waits, in the order in which it is served.

        No camera has a second frame before each other one of its priority has its first.
        """
        seen: Counter[str] = Counter()
        ranks = []
        for index, (frame, _) in enumerate(queue.waiting):
            camera = frame.camera
            rank = (
                self._priority[camera], seen[camera], queue.served.get(camera, 0),
                frame.received_ns, index,
            )
            seen[camera] += 1
            ranks.append(rank)
        return [queue.waiting[rank[-1]] for rank in sorted(ranks)]

    def _choose(self, queue: _Queue, now_ns: int) -> list[_Waiting]:
        """Return the frames of a call: by rank, each with which all in it make their deadline.

        The first is never left out: whether it can make it was asked before.
        """
        chosen: list[_Waiting] = []
        left: set[str] = set()  # cameras, as an older frame must not go after a newer one
        for entry in self._ranked(queue):
            size, camera = len(chosen) + 1, entry[0].camera
            if size > queue.max_batch:
                break
            if not all(queue.makes_it(frame, size, now_ns) for frame, _ in chosen):
                break
            if camera in left or (chosen and not queue.makes_it(entry[0], size, now_ns)):
                left.add(camera)
            else:
                chosen.append(entry)
        return chosen

    def _held_until_ns(self, queue: _Queue, now_ns: int) -> int:
        """Return until when waiting for a fuller call pays; not after now: it does not."""
        goal = queue.preferred_batch
        if len(queue.waiting) >= goal or not queue.max_delay_ns:
            return now_ns
        until_ns: float = min(matched_ns for _, matched_ns in queue.waiting) + queue.max_delay_ns
        if queue.deadline_ns:
            oldest_ns = min(frame.received_ns for frame, _ in queue.waiting)
            latest_ns = oldest_ns + queue.deadline_ns - queue.times.expect_ns(goal)
            until_ns = min(until_ns, latest_ns)
        here = {frame.camera for frame, _ in queue.waiting}
        # Else a newer frame of its own camera would take the place of one that is held back.
        until_ns = min(until_ns, *(queue.paces[camera].due_ns for camera in here))
        given_up_ns = [
            pace.given_up_ns
            for camera, pace in queue.paces.items()
            if camera not in here and pace.is_expected(now_ns, until_ns)
        ]
        return round(min(until_ns, max(given_up_ns, default=now_ns)))

    # ------------------------------------------------------------------------ what is not inferred

    def _shed_stale(self, queue: _Queue, model: str, now_ns: int) -> None:
        oldest_ns = now_ns - round(self.max_age_ms * 1e6)
        fresh = []
        for entry in queue.waiting:
            if entry[0].received_ns < oldest_ns:
                self._drop(entry[0], DropReason.STALE, model)
            else:
                fresh.append(entry)
        queue.waiting = fresh

    def _shed_late(self, queue: _Queue, model: str, now_ns: int) -> bool:
        """Drop what cannot make its deadline, even alone; True: one of it goes, as a probe."""
        in_time = [entry for entry in queue.waiting if queue.makes_it(entry[0], 1, now_ns)]
        if len(in_time) == len(queue.waiting):  # also if nothing waits
            return False
        queue.rounds_shed = 0 if in_time else queue.rounds_shed + 1
        is_probe = queue.rounds_shed > PROBE_ROUNDS
        if is_probe:
            queue.rounds_shed = 0
            in_time = self._ranked(queue)[:1]
        for entry in queue.waiting:
            if entry not in in_time:
                self._drop(entry[0], DropReason.LATE, model)
        queue.waiting = in_time
        return is_probe

    def _is_due(self, queue: _Queue, camera: str, frame_set: FrameSet) -> bool:
        """Say whether the model's rate has room for the camera's frame, and count it if so.

        The beats are the model's, and the stamp is the set's: cameras that belong together are
        taken or left together, whenever each of them began.
        """
        if not queue.period_ns:
            return True
        stamp_ns = min(frame.stamp_ns for frame in frame_set.frames)
        if queue.first_ns is None:
            queue.first_ns = stamp_ns
        beat = math.floor((stamp_ns - queue.first_ns) / queue.period_ns + RATE_SLACK)
        last = queue.last_beat.get(camera)
        if last is not None and last - 2 <= beat <= last:  # further back: its clock was set back
            return False
        queue.last_beat[camera] = beat
        return True

    def _make_room(self, queue: _Queue, camera: str, model: str) -> None:
        """Drop the camera's oldest frame if more of its frames wait than may."""
        of_camera = [entry for entry in queue.waiting if entry[0].camera == camera]
        for entry in of_camera[: max(len(of_camera) - self._queue_depth, 0)]:
            queue.waiting.remove(entry)
            self._drop(entry[0], DropReason.SUPERSEDED, model)

    def _drop(self, frame: Frame, reason: DropReason, model: str) -> None:
        self._drops.append(Drop(frame.camera, reason, frame.stamp_ns, model))
