"""The pipeline in the time of the world: frames come when they come, and the newest one wins.

Each model has two threads, so while its engine runs one batch, the next one is being letterboxed
and the results of the one before go out:

    receive, match, schedule    the caller's thread
    prepare                     the model's first thread
    infer                       its engine
    restore, publish            the model's second thread
"""

from __future__ import annotations

from collections.abc import Mapping
from queue import SimpleQueue
import threading
import time

from perception_ros.core.config import PerceptionConfig
from perception_ros.core.model import Model
from perception_ros.core.pipeline import Pipeline, Publish, Running, Wanted
from perception_ros.core.statistics import Statistics
from perception_ros.core.synchronizer import Matcher
from perception_ros.core.types import Batch, Frame

RETRY_S = 0.1
"""After an error that concerns no frame, such as an engine that gives no slot: do not spin."""


class ThreadedPipeline(Pipeline):
    """Takes frames from any thread between `start` and `stop`. Results come in second threads."""

    def __init__(
        self,
        config: PerceptionConfig,
        models: Mapping[str, Model],
        publish: Publish,
        *,
        wanted: Wanted | None = None,
        synchronizer: Matcher | None = None,
        statistics: Statistics | None = None,
    ) -> None:
        """Take what a `Pipeline` takes but clocks, which are both the monotonic one."""
        super().__init__(
            config, models, publish, wanted=wanted, synchronizer=synchronizer,
            statistics=statistics,
        )
        # Guards the synchroniser and the scheduler; its waiters are the models' first threads.
        self._work = threading.Condition()
        self._deadline_ns: int | None = None
        self._threads: list[threading.Thread] = []
        self._stopping = False

    @property
    def is_running(self) -> bool:
        """Whether `start` was called and `stop` was not."""
        return bool(self._threads)

    def receive(self, frame: Frame) -> None:
        """Take in a frame. Returns soon, never waits for an engine, never raises."""
        with self._work:
            super().receive(frame)

    def start(self) -> None:
        """Begin to infer, in two threads a model."""
        self._stopping = False
        for model in self._models.values():
            running: SimpleQueue[Running | None] = SimpleQueue()
            for loop in (self._infer_loop, self._finish_loop):
                name = f'{model.name} {loop.__name__.strip("_")}'
                thread = threading.Thread(
                    target=loop, args=(model, running), name=name, daemon=True
                )
                thread.start()
                self._threads.append(thread)

    def stop(self) -> None:
        """Finish the batches that are in the engines, drop what waits, and end the threads."""
        with self._work:
            self._stopping = True
            self._work.notify_all()
        for thread in self._threads:
            thread.join()
        self._threads.clear()
        with self._work:
            self._schedule(self._synchronizer.flush(self._clock()))
            self.scheduler.clear()
            self._record(self.scheduler.take_drops())

    def _match(self) -> int:
        """As every pipeline does, holding the lock; wakes who waits."""
        sets = super()._match()
        deadline_ns = self._synchronizer.next_deadline_ns()
        if sets or deadline_ns != self._deadline_ns:  # else who waits would oversleep
            self._deadline_ns = deadline_ns
            self._work.notify_all()
        return sets

    def _infer_loop(self, model: Model, running: SimpleQueue[Running | None]) -> None:
        """First thread of a model: keeps its engine supplied."""
        while not self._stopping:
            try:
                if started := self._start_next(model):
                    running.put(started)
            except Exception as error:
                self._complain('schedule', error, model.name)
                time.sleep(RETRY_S)
        running.put(None)

    def _start_next(self, model: Model) -> Running | None:
        """Take a slot first, then the newest frames for it; None: there is nothing to run."""
        request = model.engine.request()
        try:
            batch = self._wait_for_batch(model)
        except Exception:
            request.release()
            raise
        if batch is None:
            request.release()
            return None
        return self._prepare(model, request, batch)

    def _finish_loop(self, model: Model, running: SimpleQueue[Running | None]) -> None:
        """Second thread of a model: results out, while the first fills the next slot."""
        while batch := running.get():
            with self._guard('publish', batch.flight.frames, model):
                self._finish(model, batch)

    def _wait_for_batch(self, model: Model) -> Batch | None:
        """Wait for frames for this model; None: the pipeline stops."""
        with self._work:
            while not self._stopping:
                self._match()
                if batch := self._next_batch(model):
                    return batch
                self._work.wait(self._seconds_to_wake(model))
        return None

    def _seconds_to_wake(self, model: Model) -> float | None:
        """Return until when a set is overdue or a held call must go, None: neither waits."""
        times_ns = (self._deadline_ns, self.scheduler.wake_ns(model.name))
        first_ns = min((ns for ns in times_ns if ns is not None), default=None)
        return None if first_ns is None else max(first_ns - self._clock(), 0) / 1e9

    def _note_call(self, model: Model, size: int, duration_ns: int) -> None:
        with self._work:
            super()._note_call(model, size, duration_ns)
