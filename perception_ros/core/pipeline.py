"""The way of a frame, from the camera to its results. Read this first.

                receive       match         schedule      prepare, infer     restore, publish
    camera ---> Frame ------> FrameSet ---> Batch ------> engine outputs --> Result ---> publish

`Pipeline` is these stages and nothing that drives them. Whoever does calls `receive` for each
frame, which matches and schedules, and `_match` again when a set is overdue; then for each model
`_next_batch`, `_prepare`, and, while the next batch is prepared, `_finish`. Two classes do that:
`threaded.ThreadedPipeline` in the time of the world, with two threads a model, where the newest
frame wins, and `offline.OfflinePipeline` in the time of a recording, where each has its turn.

What lies between the stages is bounded: a frame waits in the synchroniser, in the scheduler or in
one of the engine's few slots, and every frame that gets no result is counted with the reason. An
error in any stage costs the frames it concerns, is logged with their names, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
import logging
import time

from perception_ros.backends.base import Request
from perception_ros.core.config import PerceptionConfig
from perception_ros.core.drop_log import DropLog
from perception_ros.core.errors import ImageError
from perception_ros.core.latency import LatencyRecorder
from perception_ros.core.model import InFlight, Model
from perception_ros.core.passage import Passage
from perception_ros.core.scheduler import Scheduler
from perception_ros.core.statistics import Statistics
from perception_ros.core.synchronizer import Matcher, Synchronizer
from perception_ros.core.types import Batch, Drop, DropReason, Frame, FrameSet, Result

_log = logging.getLogger(__name__)

Publish = Callable[[Result], None]
"""Takes a result."""

Wanted = Callable[[str, str], frozenset[str]]
"""(camera, model) -> the outputs that somebody listens to; nothing is computed for the others."""


@dataclass(slots=True)
class Running:
    """A batch in its engine, and when it came there: ns on the stopwatch.

    `shift_ns` later it is on the clock; where that is a recording's, work begins when scheduled.
    """

    flight: InFlight
    batch: Batch
    begun_ns: int
    engine_in_ns: int
    shift_ns: int

    def passage(self, index: int, engine_out_ns: int, restored_ns: int) -> Passage:
        """Return the way of frame `index` of those in flight, up to where it is restored."""
        frame, shift_ns = self.flight.frames[index], self.shift_ns
        transport_ns = frame.transport_ns
        return Passage(
            None if transport_ns is None else frame.received_ns - transport_ns,
            frame.received_ns,
            self.batch.matched_ns[self.batch.frames.index(frame)],
            self.batch.scheduled_ns,
            self.begun_ns + shift_ns,
            self.engine_in_ns + shift_ns,
            engine_out_ns + shift_ns,
            restored_ns + shift_ns,
            restored_ns + shift_ns,
        )


class Pipeline:
    """Cameras in, results out.

    Who drives it sees to it that `receive`, `_match`, `_next_batch` and `_note_call` never
    overlap.

    :param models: by name, as in `config.models`; they stay the caller's to close.
    :param publish: called for each result. It may raise: that costs the one result.
    :param wanted: which outputs of a model anybody listens to, for a camera; by default all.
    :param clock: nanoseconds, on the clock of `Frame.received_ns`: what waits is measured on it.
    :param stopwatch: nanoseconds, on which work is measured; None: the clock itself.
    :param statistics: where everything that becomes of a frame is counted.
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
        stopwatch: Callable[[], int] | None = None,
        statistics: Statistics | None = None,
    ) -> None:
        offsets_ms = {name: camera.time_offset_ms for name, camera in config.cameras.items()}
        self.config = config
        self.statistics = statistics or Statistics()
        self.latency = LatencyRecorder()
        self.scheduler = Scheduler(
            config,
            {name: model.engine.info.max_batch for name, model in models.items()},
            lambda camera, model: bool(self._wanted_outputs(camera, model)),
            is_live=stopwatch is None,
        )
        self._synchronizer: Matcher = synchronizer or Synchronizer(
            list(config.cameras), config.synchronizer, offsets_ms
        )
        self._models = models
        self._publish = publish
        self._wanted = wanted
        self._clock = clock
        self._stopwatch = stopwatch or clock
        self._drop_log = DropLog()

    @property
    def clock_jumps(self) -> dict[str, int]:
        """How often each camera's clock was set back."""
        return dict(self._synchronizer.clock_jumps)

    # ------------------------------------------------------------------------- the way of a frame

    def receive(self, frame: Frame) -> None:
        """Take in a frame; what is wrong with it is counted and logged, not raised."""
        self.statistics.received(frame.camera)
        with self._guard('receive', [frame]):
            check(frame, self.config.cameras[frame.camera].max_megapixels)
            self._synchronizer.push(frame)
        with self._guard('match', []):
            self._match()

    def refuse(self, camera: str, error: Exception, stamp_ns: int = 0) -> None:
        """Count and log a message from which no frame could be made; never raises."""
        self.statistics.received(camera)
        self._reject(camera, stamp_ns, 'receive', error)

    def _match(self) -> int:
        """Let complete (or overdue) frame sets wait for their models; return how many."""
        sets = self._synchronizer.poll(self._clock())
        self._schedule(sets)
        return len(sets)

    def _schedule(self, sets: Sequence[FrameSet]) -> None:
        """Let the frames of sets wait for their models."""
        self._record(self._synchronizer.take_drops())
        for frame_set in sets:
            self.statistics.matched(frame_set)
            with self._guard('schedule', frame_set.frames):
                self.scheduler.submit(frame_set)
            self._record(self.scheduler.take_drops())

    def _next_batch(self, model: Model) -> Batch | None:
        """Take what waits for this model now; None: nothing does."""
        batch = self.scheduler.next_batch(model.name, self._clock())
        self._record(self.scheduler.take_drops())
        return batch

    def _prepare(self, model: Model, request: Request, batch: Batch) -> Running | None:
        """Decode and letterbox the frames into the engine's input, and start the engine."""
        begun_ns = self._stopwatch()
        with self._guard('prepare', batch.frames, model, request):
            flight = model.prepare(request, batch.frames)
            engine_in_ns = self._stopwatch()  # a fast engine is done before `start` returns
            flight.start()
            for frame, error in flight.failed:
                self._reject(frame.camera, frame.stamp_ns, 'prepare', error, model.name)
            if flight.frames:
                is_one_clock = self._stopwatch is self._clock
                shift_ns = 0 if is_one_clock else batch.scheduled_ns - begun_ns
                return Running(flight, batch, begun_ns, engine_in_ns, shift_ns)
            request.release()
        return None

    def _finish(self, model: Model, running: Running) -> None:
        """Wait for the engine, restore each frame's results into its own pixels, publish them."""
        request, frames = running.flight.request, running.flight.frames
        results: list[tuple[Result, Passage]] = []
        with self._guard('infer', frames, model):
            outputs = request.result()
            engine_out_ns = self._stopwatch()
            self.statistics.called(model.name)
            for index, frame in enumerate(frames):
                with self._guard('restore', [frame], model):
                    wanted = self._wanted_outputs(frame.camera, model.name)
                    result = model.restore(running.flight, outputs, index, wanted)
                    passage = running.passage(index, engine_out_ns, self._stopwatch())
                    results.append((result, passage))
        request.release()  # before publishing, so that the next batch can have the slot
        for result, passage in results:
            with self._guard('publish', [result.frame], model):
                self._publish(result)
                published_ns = self._stopwatch() + running.shift_ns
                self._account(replace(result, passage=passage._replace(published_ns=published_ns)))
        if results:
            self._note_call(model, len(frames), self._stopwatch() - running.begun_ns)

    def _note_call(self, model: Model, size: int, duration_ns: int) -> None:
        """Let the scheduler know how long a call of `size` frames took, until published."""
        self.scheduler.note_call(model.name, size, duration_ns)

    def _wanted_outputs(self, camera: str, model: str) -> frozenset[str]:
        if self._wanted is None:
            return self._models[model].outputs
        return self._wanted(camera, model)

    def _account(self, result: Result) -> None:
        """Count a frame that has its result, and how long each stage of its way has taken."""
        assert result.passage, 'it is published'
        self.latency.record(result.frame.camera, result.model, result.passage)
        self.statistics.inferred(result)

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
