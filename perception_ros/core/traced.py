"""A threaded pipeline that draws what it does into a trace; one that does not costs nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from perception_ros.backends.base import Request
from perception_ros.core.gil_probe import GilProbe
from perception_ros.core.model import Model
from perception_ros.core.passage import Passage
from perception_ros.core.pipeline import Running
from perception_ros.core.threaded import ThreadedPipeline
from perception_ros.core.trace import Trace
from perception_ros.core.types import Batch, Drop, Frame, Result


class TracedPipeline(ThreadedPipeline):
    """Takes what a `ThreadedPipeline` takes, and a trace, which stays the caller's to close.

    Spans of threads: receive and match; prepare; restore and publish. Stretches: the calls of each
    engine, and the way of each frame through each model, made of its stages.
    """

    def __init__(self, *arguments: Any, trace: Trace, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._trace = trace
        self._probe = GilProbe(trace)
        self._done: Mapping[str, list[Result]] = {name: [] for name in self._models}

    def start(self) -> None:
        """Begin to infer, and to sample who waits for Python's lock."""
        self._probe.start()
        super().start()

    def stop(self) -> None:
        """Finish, as a `ThreadedPipeline` does."""
        super().stop()
        self._probe.stop()

    def receive(self, frame: Frame) -> None:
        """Take in a frame."""
        with self._trace.spanned('receive', camera=frame.camera):
            super().receive(frame)

    def _match(self) -> int:
        with self._trace.spanned('match'):
            return super()._match()

    def _prepare(self, model: Model, request: Request, batch: Batch) -> Running | None:
        with self._trace.spanned('prepare', frames=len(batch.frames)):
            return super()._prepare(model, request, batch)

    def _finish(self, model: Model, running: Running) -> None:
        super()._finish(model, running)
        done = self._done[model.name]
        self._draw_batch(model.name, [result.passage for result in done if result.passage])
        for result in done:
            self._draw_frame(result)
        done.clear()

    def _account(self, result: Result) -> None:
        super()._account(result)
        self._done[result.model].append(result)

    def _record(self, drops: Sequence[Drop]) -> None:
        super()._record(list(drops))
        for drop in drops:
            self._trace.instant(f'{drop.reason.value} {drop.camera}', model=drop.model)

    def _draw_batch(self, model: str, passages: Sequence[Passage]) -> None:
        """Draw an engine call, and what this thread did with what came of it."""
        if not passages:
            return
        began_ns, out_ns = passages[0].engine_in_ns, passages[0].engine_out_ns
        self._trace.stretch('engine', f'engine {model}', began_ns, out_ns, frames=len(passages))
        ends = [(passage.restored_ns, 'restore') for passage in passages]
        ends += [(passage.published_ns, 'publish') for passage in passages]
        for ended_ns, name in sorted(ends):
            self._trace.span(name, out_ns, ended_ns)
            out_ns = ended_ns

    def _draw_frame(self, result: Result) -> None:
        passage = result.passage
        assert passage
        at_ns = passage.received_ns
        parts: dict[str, tuple[int, int]] = {}
        for stage, duration_ns in passage.stages_ns().items():
            if stage not in ('transport', 'total'):
                parts[stage] = at_ns, at_ns + duration_ns
                at_ns += duration_ns
        frame = result.frame
        self._trace.stretch(
            'frame', f'{frame.camera} {result.model}', passage.received_ns, at_ns, parts,
            stamp_ns=frame.stamp_ns,
        )
