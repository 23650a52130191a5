"""The pipeline in the time of a recording: every frame has its turn, however fast the machine is.

Time is what the frames say and passes from one to the next. A deadline of the synchroniser that
lies between two frames is met in between, and what it lets go is inferred before the next frame
comes. So the sets and the batches are those of a machine that is fast enough for anything, and the
same frames give the same ones.

One thread drives it. It starts a batch in one slot of an engine before it waits for the other, so
that the engine works while the next batch is prepared and the last one's results go out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
import time

from perception_ros.core.config import PerceptionConfig
from perception_ros.core.model import Model
from perception_ros.core.pipeline import Pipeline, Publish, Running, Wanted
from perception_ros.core.statistics import Statistics
from perception_ros.core.types import Batch, Frame, FrameSet

SLOTS = 2
"""Batches of an engine that are under way at once: it has a slot for each."""

JUMP_NS = 1_000_000_000
"""A stamp this far behind the time is of another clock, or of one that was set back."""


class RecordedTime:
    """One time for all cameras, made of their stamps: it never goes back.

    A camera whose stamps lie more than a second behind the others', as after its clock was set
    back, is taken to be in time all the same.
    """

    def __init__(self) -> None:
        self.now_ns = 0
        self._behind_ns: dict[str, int] = {}

    def pass_to(self, camera: str, stamp_ns: int) -> int:
        """Return the time at which a frame of this stamp comes, which is now."""
        then_ns = stamp_ns + self._behind_ns.get(camera, 0)
        if self.now_ns - then_ns > JUMP_NS:
            self._behind_ns[camera] = self.now_ns - stamp_ns
        self.now_ns = max(self.now_ns, then_ns)
        return self.now_ns


class OfflinePipeline(Pipeline):
    """Takes frames one after the other, their `received_ns` rising; `finish` ends it.

    An error of `publish` costs the one result, as in every pipeline.
    """

    def __init__(
        self,
        config: PerceptionConfig,
        models: Mapping[str, Model],
        publish: Publish,
        *,
        wanted: Wanted | None = None,
        statistics: Statistics | None = None,
    ) -> None:
        """Take what a `Pipeline` takes but clocks."""
        self._now_ns = 0
        super().__init__(
            config, models, publish, wanted=wanted, statistics=statistics,
            clock=lambda: self._now_ns, stopwatch=time.perf_counter_ns,
        )
        self._running: dict[str, deque[Running]] = {name: deque() for name in models}
        self.is_rehearsal = False
        """Whether batches are left out: all is matched and scheduled, and nothing inferred."""

    def receive(self, frame: Frame) -> None:
        """Let the time pass to when the frame came, and take it in."""
        while (due_ns := self._synchronizer.next_deadline_ns()) is not None:
            if due_ns > frame.received_ns:
                break
            self._now_ns = max(self._now_ns, due_ns)
            self._match()
        self._now_ns = max(self._now_ns, frame.received_ns)
        super().receive(frame)

    def settle(self) -> None:
        """Wait for all that is in the engines, and publish it."""
        for name, running in self._running.items():
            while running:
                self._finish(self._models[name], running.popleft())

    def finish(self) -> None:
        """Let go what the synchroniser still holds, as nothing comes any more, and settle."""
        self._schedule(self._synchronizer.flush(self._now_ns))
        self.settle()

    def _schedule(self, sets: Sequence[FrameSet]) -> None:
        """Run one set after the other through its models: here no newer frame wins."""
        super()._schedule(())  # what the synchroniser dropped, though no set came of it
        for frame_set in sets:
            super()._schedule((frame_set,))
            for model in self._models.values():
                while batch := self._next_batch(model):
                    self._start(model, batch)

    def _start(self, model: Model, batch: Batch) -> None:
        if self.is_rehearsal:
            return
        running = self._running[model.name]
        if len(running) == SLOTS:
            self._finish(model, running.popleft())
        with self._guard('prepare', batch.frames, model):
            request = model.engine.request()
            if started := self._prepare(model, request, batch):
                running.append(started)
