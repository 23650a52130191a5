"""The way of a frame, from the camera to its results. Read this first.

                receive       match         schedule      prepare, infer     restore, publish
    camera ---> Frame ------> FrameSet ---> Batch ------> engine outputs --> Result ---> publish
                caller's      caller's      model's       model's            model's
                thread        thread        first thread  engine             second thread

Each model has two threads, so while its engine runs one batch, the next one is being letterboxed
and the results of the one before go out. What lies between the stages is bounded: a frame waits in
the synchroniser, in the scheduler or in one of the engine's few slots, the newest frame wins, and
every frame that gets no result is counted with the reason.

An error in any stage costs the frames it concerns, is logged with their names, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
import logging
from queue import SimpleQueue
import threading
import time

from perception_ros.backends.base import Request
from perception_ros.core.config import PerceptionConfig
from perception_ros.core.drop_log import DropLog
from perception_ros.core.errors import ImageError
from perception_ros.core.latency import LatencyRecorder
from perception_ros.core.model import InFlight, Model
from perception_ros.core.scheduler import Scheduler
from perception_ros.core.statistics import Statistics
from perception_ros.core.synchronizer import Matcher, Synchronizer
from perception_ros.core.types import Batch, Drop, DropReason, Frame, Result

_log = logging.getLogger(__name__)

RETRY_S = 0.1
"""After an error that concerns no frame, such as an engine that gives no slot: do not spin."""

Publish = Callable[[Result], None]
"""Takes a result, in the model's second thread."""

Wanted = Callable[[str, str], frozenset[str]]
"""(camera, model) -> the outputs that somebody listens to; nothing is computed for the others."""


@dataclass(slots=True)
class _Running:
    """A batch in its engine, and when it was matched, scheduled and started."""

    flight: InFlight
    matched_ns: Mapping[Frame, int]
    scheduled_ns: int
    started_ns: int


class Pipeline:
    """Cameras in, results out.

    :param models: by name, as in `config.models`; they stay the caller's to close.
    :param publish: called for each result. It may raise: that costs the one result.
    :param wanted: which outputs of a model anybody listens to, for a camera; by default all.
    :param clock: nanoseconds, on the clock of `Frame.received_ns`.
    """

    def __init__(
        self,
        config: PerceptionConfig,
        models: Mapping[str, Model],
        publish: Publish,
        *,
        wanted: Wanted | None = None,
        synchronizer: Matcher | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        offsets_ms = {name: camera.time_offset_ms for name, camera in config.cameras.items()}
        self.config = config
        self.statistics = Statistics()
        self.latency = LatencyRecorder()
        self.scheduler = Scheduler(
            config,
            {name: model.engine.info.max_batch for name, model in models.items()},
            lambda camera, model: bool(self._wanted_outputs(camera, model)),
        )
        self._synchronizer: Matcher = synchronizer or Synchronizer(
            list(config.cameras), config.synchronizer, offsets_ms
        )
        self._models = models
        self._publish = publish
        self._wanted = wanted
        self._clock = clock
        self._drop_log = DropLog()
        # Guards the synchroniser and the scheduler; its waiters are the models' first threads.
        self._work = threading.Condition()
        self._deadline_ns: int | None = None
        self._threads: list[threading.Thread] = []
        self._stopping = False

    @property
    def is_running(self) -> bool:
        """Whether `start` was called and `stop` was not."""
        return bool(self._threads)

    @property
    def clock_jumps(self) -> dict[str, int]:
        """How often each camera's clock was set back."""
        return dict(self._synchronizer.clock_jumps)

    # ------------------------------------------------------------------------- the way of a frame

    def receive(self, frame: Frame) -> None:
        """Take in a frame. Returns soon, never waits for an engine, never raises."""
        self.statistics.received(frame.camera)
        with self._work:
            with self._guard('receive', [frame]):
                check(frame, self.config.cameras[frame.camera].max_megapixels)
                self._synchronizer.push(frame)
            with self._guard('match', []):
                self._match()

    def refuse(self, camera: str, error: Exception, stamp_ns: int = 0) -> None:
        """Count and log a message from which no frame could be made; never raises."""
        self.statistics.received(camera)
        self._reject(camera, stamp_ns, 'receive', error)

    def _match(self) -> None:
        """Let complete (or overdue) frame sets wait for their models. Holds the lock."""
        sets = self._synchronizer.poll(self._clock())
        for frame_set in sets:
            with self._guard('schedule', frame_set.frames):
                self.scheduler.submit(frame_set)
        self.statistics.matched(len(sets))
        self._record(self._synchronizer.take_drops())
        self._record(self.scheduler.take_drops())
        deadline_ns = self._synchronizer.next_deadline_ns()
        if sets or deadline_ns != self._deadline_ns:  # else who waits would oversleep
            self._deadline_ns = deadline_ns
            self._work.notify_all()

    def _prepare(self, model: Model, request: Request, batch: Batch) -> _Running | None:
        """Decode and letterbox the frames into the engine's input, and start the engine."""
        with self._guard('prepare', batch.frames, model, request):
            flight = model.start(request, batch.frames)
            for frame, error in flight.failed:
                self._reject(frame.camera, frame.stamp_ns, 'prepare', error, model.name)
            if not flight.frames:
                request.release()
            else:
                matched_ns = dict(zip(batch.frames, batch.matched_ns, strict=True))
                return _Running(flight, matched_ns, batch.scheduled_ns, self._clock())
        return None

    def _finish(self, model: Model, running: _Running) -> None:
        """Wait for the engine, restore each frame's results into its own pixels, publish them."""
        request, frames = running.flight.request, running.flight.frames
        results: list[Result] = []
        with self._guard('infer', frames, model):
            outputs = request.result()
            inferred_ns = self._clock()
            self.statistics.called(model.name)
            for index, frame in enumerate(frames):
                with self._guard('restore', [frame], model):
                    wanted = self._wanted_outputs(frame.camera, model.name)
                    result = model.restore(running.flight, outputs, index, wanted)
                    times_ns = self._times_ns(running, frame, inferred_ns)
                    results.append(replace(result, times_ns=times_ns))
        request.release()  # before publishing, so that the next batch can have the slot
        for result in results:
            with self._guard('publish', [result.frame], model):
                self._send(result)

    def _wanted_outputs(self, camera: str, model: str) -> frozenset[str]:
        if self._wanted is None:
            return self._models[model].outputs
        return self._wanted(camera, model)

    def _send(self, result: Result) -> None:
        """Publish one result and account for its frame's time."""
        frame, begun_ns = result.frame, self._clock()
        self._publish(result)
        published_ns = self._clock()
        times_ns = {
            **result.times_ns,
            'publish': published_ns - begun_ns,
            'total': published_ns - frame.received_ns + (frame.transport_ns or 0),
        }
        self.latency.record(frame.camera, times_ns)
        self.statistics.inferred(result)

    def _times_ns(self, running: _Running, frame: Frame, inferred_ns: int) -> dict[str, int]:
        """Return how long each stage of the frame's way took so far."""
        matched_ns = running.matched_ns[frame]
        times_ns = {} if frame.transport_ns is None else {'transport': frame.transport_ns}
        times_ns |= {
            'synchronize': matched_ns - frame.received_ns,
            'schedule': running.scheduled_ns - matched_ns,
            'prepare': running.started_ns - running.scheduled_ns,
            'infer': inferred_ns - running.started_ns,
            'restore': self._clock() - inferred_ns,
        }
        return times_ns

    # ------------------------------------------------------------------------------- running it

    def start(self) -> None:
        """Begin to infer, in two threads a model."""
        self._stopping = False
        for model in self._models.values():
            running: SimpleQueue[_Running | None] = SimpleQueue()
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
            for frame_set in self._synchronizer.flush(self._clock()):
                self.scheduler.submit(frame_set)
            self.scheduler.clear()
            self._record(self._synchronizer.take_drops())
            self._record(self.scheduler.take_drops())

    def _infer_loop(self, model: Model, running: SimpleQueue[_Running | None]) -> None:
        """First thread of a model: keeps its engine supplied."""
        while not self._stopping:
            try:
                if started := self._start_next(model):
                    running.put(started)
            except Exception as error:
                self._complain('schedule', error, model.name)
                time.sleep(RETRY_S)
        running.put(None)

    def _start_next(self, model: Model) -> _Running | None:
        """Take a slot first, then the newest frames for it; None: there is nothing to run."""
        request = model.engine.request()
        try:
            batch = self._next_batch(model)
        except Exception:
            request.release()
            raise
        if batch is None:
            request.release()
            return None
        return self._prepare(model, request, batch)

    def _finish_loop(self, model: Model, running: SimpleQueue[_Running | None]) -> None:
        """Second thread of a model: results out, while the first fills the next slot."""
        while batch := running.get():
            with self._guard('publish', batch.flight.frames, model):
                self._finish(model, batch)

    def _next_batch(self, model: Model) -> Batch | None:
        """Wait for frames for this model; None: the pipeline stops."""
        with self._work:
            while not self._stopping:
                if batch := self._take_batch(model):
                    return batch
                self._work.wait(self._seconds_to_deadline())
        return None

    def _take_batch(self, model: Model) -> Batch | None:
        """Return what waits for this model now. Holds the lock."""
        self._match()
        batch = self.scheduler.next_batch(model.name, self._clock())
        self._record(self.scheduler.take_drops())
        return batch

    def _seconds_to_deadline(self) -> float | None:
        if self._deadline_ns is None:
            return None
        return max(self._deadline_ns - self._clock(), 0) / 1e9

    # ----------------------------------------------------------------- what goes wrong on the way

    @contextmanager
    def _guard(
        self,
        stage: str,
        frames: Sequence[Frame],
        model: Model | None = None,
        request: Request | None = None,
    ) -> Iterator[None]:
        """Let an error cost the frames it concerns, and nothing else."""
        try:
            yield
        except Exception as error:
            if request is not None:
                request.release()
            name = model.name if model else ''
            for frame in frames:
                self._reject(frame.camera, frame.stamp_ns, stage, error, name)
            if not frames:
                self._complain(stage, error, name)

    def _reject(
        self, camera: str, stamp_ns: int, stage: str, error: Exception, model: str = ''
    ) -> None:
        """Count and log a frame that an error has cost."""
        reason = DropReason.FAILED
        if isinstance(error, ImageError):
            reason = DropReason.INVALID if stage == 'receive' else DropReason.UNDECODABLE
        drop = Drop(camera, reason, stamp_ns, model, f'{stage}: {error}')
        self.statistics.dropped([drop])
        if self._drop_log.report(drop) and reason is DropReason.FAILED:
            _log.error('where it failed:', exc_info=error)

    def _complain(self, stage: str, error: Exception, model: str) -> None:
        """Log an error that concerns no frame, not more often than those that do."""
        if self._drop_log.may_log((model, stage), str(error)):
            _log.error('%s %s: %s; going on', model, stage, error, exc_info=error)

    def _record(self, drops: list[Drop]) -> None:
        self.statistics.dropped(drops)
        for drop in drops:
            self._drop_log.report(drop)


def check(frame: Frame, max_megapixels: float) -> None:
    """Refuse a frame whose description contradicts itself, before it is matched with good ones.

    :raises ImageError: with what is wrong and how to mend it.
    """
    if frame.stamp_ns <= 0:
        raise ImageError(
            f'stamp is {frame.stamp_ns}: expected the time at which the image was taken. Let the '
            "driver fill in header.stamp, or set this camera's stamp_source to arrival"
        )
    frame.image.validate()
    width, height = frame.image.width, frame.image.height
    if width * height > max_megapixels * 1e6:
        raise ImageError(
            f'the header says {width}x{height} pixels; expected at most {max_megapixels:g} '
            "million. It is damaged, or this camera's max_megapixels is too low"
        )
