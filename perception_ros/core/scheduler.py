"""Which frames go through which engine now: a pure state machine, one queue a model.

    scheduler.submit(frame_set)            # its frames wait for every model that wants them
    scheduler.next_batch(model, now_ns)    # -> the frames of the next engine call, or None
    scheduler.take_drops()                 # -> what was dropped since the last call, and why

One engine call takes all that waits, of one set or of several, up to the engine's greatest batch;
what is left goes into the next call. Who goes first: the camera with the smaller `priority`, then
the one that was served longest ago, so that cameras of equal priority get equal shares when not
all fit. A frame gives way to a newer one of its camera, and is dropped once older than
`max_age_ms`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
import math

from perception_ros.core.config import PerceptionConfig
from perception_ros.core.types import Batch, Drop, DropReason, Frame, FrameSet

RATE_SLACK = 0.25
"""A set this part of a period early still counts as due: stamps jitter, rates do not divide."""


@dataclass(slots=True)
class _Queue:
    """What one model has to do."""

    cameras: frozenset[str]
    max_batch: int
    period_ns: float
    first_ns: int | None = None
    waiting: list[tuple[Frame, int]] = field(default_factory=list)  # (frame, when it was matched)
    last_beat: dict[str, int] = field(default_factory=dict)
    served: dict[str, int] = field(default_factory=dict)
    turns: int = 0


class Scheduler:
    """Decide what each model infers next.

    :param max_batch: model -> most frames of one call, as its engine says.
    :param wanted: (camera, model) -> whether anybody listens; asked once a frame.
    """

    def __init__(
        self,
        config: PerceptionConfig,
        max_batch: Mapping[str, int],
        wanted: Callable[[str, str], bool] = lambda camera, model: True,
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
                    self._make_room(queue, frame.camera, model)

    def next_batch(self, model: str, now_ns: int) -> Batch | None:
        """Take the frames of the model's next engine call out of its queue; None: nothing waits.

        :param now_ns: on the clock of `Frame.received_ns`.
        """
        queue = self._queues[model]
        oldest_ns = now_ns - round(self.max_age_ms * 1e6)
        fresh = []
        for frame, matched_ns in queue.waiting:
            if frame.received_ns < oldest_ns:
                self._drop(frame, DropReason.STALE, model)
            else:
                fresh.append((frame, matched_ns))
        fresh.sort(key=lambda entry: self._rank(queue, entry[0]))
        chosen, queue.waiting = fresh[: queue.max_batch], fresh[queue.max_batch :]
        if not chosen:
            return None
        for frame, _ in chosen:
            queue.turns += 1
            queue.served[frame.camera] = queue.turns
        frames = tuple(frame for frame, _ in chosen)
        return Batch(model, frames, tuple(matched_ns for _, matched_ns in chosen), now_ns)

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

    def _rank(self, queue: _Queue, frame: Frame) -> tuple[int, int, int]:
        camera = frame.camera
        return (self._priority[camera], queue.served.get(camera, 0), frame.received_ns)

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
