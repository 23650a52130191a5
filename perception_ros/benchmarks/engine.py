"""Every bundle in every backend at every batch, side by side: speed, memory, answers, accuracy.

All bundles of one model at one batch form a group. Its engines are open at the same time, each in
a process of its own, and take turns; so the noise of a machine hits all of them, and ratios within
a group hold where times do not. The reference of a model is its FP32 bundle in ONNX Runtime on the
CPU, and is always measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
import tempfile
from typing import Any, NamedTuple

import numpy as np

from perception_ros.benchmarks.difference import Answers, difference
from perception_ros.benchmarks.images import letterboxed, read_pictures
from perception_ros.benchmarks.plan import (
    EnginePlan,
    LabelledData,
    model_of,
    REFERENCE,
    SERVED,
)
from perception_ros.benchmarks.process import WORKER, WorkerProcess
from perception_ros.benchmarks.report import (
    AccuracyRow,
    BackendState,
    BundleFacts,
    Difference,
    EngineFacts,
    EngineRow,
)
from perception_ros.benchmarks.rounds import interleave, Side
from perception_ros.benchmarks.statistics import Latency, ratios, Spread
from perception_ros.bundles import Bundle
from perception_ros.core.errors import BenchmarkError
from perception_ros.core.sources import Frame

_PROBE_S, _OPEN_S, _ASK_S = 120.0, 3600.0, 600.0
"""How long a worker may take: a GPU's engine may have to be built, a batch may take seconds."""
_EVALUATE_S = 7200.0

Announce = Callable[[str], None]


class Measured(NamedTuple):
    """What came out; `images` is how many were used."""

    images: int
    backends: tuple[BackendState, ...]
    bundles: tuple[BundleFacts, ...]
    rows: tuple[EngineRow, ...]
    accuracy: tuple[AccuracyRow, ...]


def measure(
    plan: EnginePlan, announce: Announce, command: Sequence[str] = WORKER
) -> Measured:
    """Measure all that is planned; what does not work has a row, or a line, with the reason.

    :param announce: told what is going on.
    :param command: starts a worker.
    :raises BenchmarkError: the plan cannot be carried out.
    :raises ImageError: there are no images, or one cannot be read.
    :raises DatasetError: labelled data cannot be used.
    """
    plan.check()
    for data in plan.datasets:
        data.open().check()
    announce('reading images')
    pictures = read_pictures(plan.images, plan.image_count)
    with tempfile.TemporaryDirectory(prefix='bench-') as name:
        run = _Run(plan, Path(name), pictures, command, announce)
        states = tuple(run.probe())
        rows: list[EngineRow] = []
        accuracy: list[AccuracyRow] = []
        for model in dict.fromkeys(model_of(bundle) for bundle in plan.bundles):
            for more_rows, more_accuracy in run.model(model):
                rows += more_rows
                accuracy += more_accuracy
    facts = tuple(_facts(bundle) for bundle in plan.bundles)
    return Measured(len(pictures), states, facts, tuple(rows), tuple(accuracy))


@dataclass(slots=True)
class _Engine:
    """An engine of a group: its process, what it said, and its turns."""

    bundle: Bundle
    backend: str
    process: WorkerProcess
    opened: dict[str, Any] = field(default_factory=dict)
    memory: dict[str, Any] = field(default_factory=dict)
    difference: Difference | None = None
    side: Side[dict[str, Any]] = field(init=False)

    def is_reference(self) -> bool:
        return self.backend == REFERENCE and self.bundle.manifest.precision == 'fp32'

    def latencies_ms(self) -> list[float]:
        """Return the median of each round."""
        return [float(np.median(turn['latency_ms'])) for turn in self.side.turns]

    def rates(self) -> list[float]:
        """Return images/s of each round."""
        return [turn['images_per_s'] for turn in self.side.turns]


class _Run:
    """One benchmark: the plan, its images, and a folder for what processes exchange."""

    def __init__(
        self,
        plan: EnginePlan,
        folder: Path,
        pictures: list[Frame],
        command: Sequence[str],
        announce: Announce,
    ) -> None:
        self._plan = plan
        self._folder = folder
        self._pictures = pictures
        self._command = command
        self._announce = announce
        self._works: set[str] = set()
        self._processes = 0

    def probe(self) -> Iterator[BackendState]:
        """Say of each backend what it is here, or why it does not work."""
        names = dict.fromkeys(
            backend.partition('@')[0] for backend in (REFERENCE, *self._plan.backends)
        )
        for name in names:
            if name == SERVED and self._plan.server:  # its probe knows the usual address alone
                self._works.add(name)
                yield BackendState(name=name, found=f'at {self._plan.server}', reason=None)
                continue
            self._announce(f'looking for {name}')
            with self._process() as process:
                try:
                    found = process.ask('probe', _PROBE_S, backend=name)['found']
                except BenchmarkError as error:
                    yield BackendState(name=name, found=None, reason=str(error))
                else:
                    self._works.add(name)
                    yield BackendState(name=name, found=found, reason=None)

    def model(self, model: str) -> Iterator[tuple[list[EngineRow], list[AccuracyRow]]]:
        """Measure all bundles of a model, one batch after the other."""
        bundles = [bundle for bundle in self._plan.bundles if model_of(bundle) == model]
        bundles.sort(key=lambda bundle: bundle.manifest.precision != 'fp32')  # the reference first
        contents = {bundle.path: self._write_images(bundle) for bundle in bundles}
        expected: Answers | None = None
        for batch in self._plan.batches:
            with ExitStack() as stack:
                engines = [
                    self._engine(stack, bundle, backend, batch)
                    for bundle in bundles
                    for backend in self._backends(bundle)
                ]
                self._take_turns(engines, f'{model}, batch {batch}')
                reference = next((e for e in engines if e.is_reference()), None)
                for engine in engines:
                    answers = self._after_turns(engine)
                    if engine is reference and expected is None:
                        expected = answers
                    elif expected is not None and answers is not None:
                        engine.difference = difference(
                            expected, answers, engine.bundle.manifest, contents[engine.bundle.path]
                        )
                is_last = batch == self._plan.batches[-1]
                accuracy = list(self._accuracies(engines, batch)) if is_last else []
                yield [_row(engine, batch, engines) for engine in engines], accuracy

    def _backends(self, bundle: Bundle) -> list[str]:
        """Return those that work; the reference comes first, and to an FP32 bundle in any case."""
        always = [REFERENCE] if bundle.manifest.precision == 'fp32' else []
        wanted = dict.fromkeys([*always, *self._plan.backends])
        return [name for name in wanted if name.partition('@')[0] in self._works]

    def _engine(self, stack: ExitStack, bundle: Bundle, backend: str, batch: int) -> _Engine:
        name, _, device = backend.partition('@')
        self._announce(f'opening {bundle.manifest.name} in {backend}, batch {batch}')
        engine = _Engine(bundle, backend, stack.enter_context(self._process()))
        options = {
            'max_batch': batch,
            'device': device or 'auto',
            'threads': self._plan.threads,
            'performance_hint': self._plan.performance_hint,
            **({'server': self._plan.server} if self._plan.server else {}),
        }
        engine.side = Side(lambda: engine.process.ask('turn', _ASK_S, seconds=self._plan.seconds))
        try:
            engine.opened = engine.process.ask(
                'open', _OPEN_S, bundle=str(bundle.path), backend=name, options=options,
                images=str(self._images_file(bundle)),
            )
        except BenchmarkError as error:
            engine.side.problem = str(error)
        return engine

    def _take_turns(self, engines: list[_Engine], what: str) -> None:
        rounds = self._plan.rounds
        interleave(
            [engine.side for engine in engines],
            rounds,
            lambda done: self._announce(f'{what}: round {done} of {rounds}'),
        )

    def _after_turns(self, engine: _Engine) -> Answers | None:
        """Ask for memory, before anything else needs some, then for answers."""
        if engine.side.problem is not None:
            return None
        file = self._folder / 'answers.npz'
        try:
            engine.memory = engine.process.ask('memory', _ASK_S)
            engine.process.ask('answers', _ASK_S, file=str(file))
        except BenchmarkError as error:
            engine.side.problem = str(error)
            return None
        with np.load(file) as arrays:
            return dict(arrays)

    def _accuracies(self, engines: list[_Engine], batch: int) -> Iterator[AccuracyRow]:
        for engine in engines:
            for data in self._plan.datasets:
                if engine.side.problem is None and (fit := data.fitting(engine.bundle.manifest)):
                    self._announce(
                        f'{engine.bundle.manifest.name} in {engine.backend} on {data.reference}'
                    )
                    yield self._accuracy(engine, batch, fit)

    def _accuracy(self, engine: _Engine, batch: int, data: LabelledData) -> AccuracyRow:
        answer: dict[str, Any] = {'problem': None}
        try:
            answer |= engine.process.ask(
                'evaluate', _EVALUATE_S, reference=data.reference, split=data.split,
                labels=data.labels, rename=dict(data.rename),
            )
        except BenchmarkError as error:
            answer['problem'] = str(error)
        name = engine.bundle.manifest.name
        return AccuracyRow(
            bundle=name, backend=engine.backend, batch=batch, dataset=data.title, **answer
        )

    def _process(self) -> WorkerProcess:
        self._processes += 1
        return WorkerProcess(self._folder / f'{self._processes}.log', self._command)

    def _images_file(self, bundle: Bundle) -> Path:
        return self._folder / f'{bundle.manifest.name}.npy'

    def _write_images(self, bundle: Bundle) -> Any:
        images, content = letterboxed(self._pictures, bundle.manifest.input)
        np.save(self._images_file(bundle), images)
        return content


def _row(engine: _Engine, batch: int, group: Sequence[_Engine]) -> EngineRow:
    name = engine.bundle.manifest.name
    if engine.side.problem is not None:
        return EngineRow(
            bundle=name, backend=engine.backend, batch=batch, problem=engine.side.problem
        )
    calls = [value for turn in engine.side.turns for value in turn['latency_ms']]
    info = engine.opened['engine']
    return EngineRow(
        bundle=name, backend=engine.backend, batch=batch, problem=None,
        engine=EngineFacts(**{key: info[key] for key in EngineFacts.model_fields}),
        open_s=engine.opened['open_s'],
        latency_ms=Latency.of(calls),
        images_per_s=Spread.of(engine.rates()),
        **_compared(engine, [other for other in group if other.side.problem is None]),
        difference=engine.difference,
        **engine.memory,
    )


def _compared(engine: _Engine, group: Sequence[_Engine]) -> dict[str, Any]:
    found = {}
    for other in group:
        if other.is_reference():
            found['latency_ratio'] = ratios(other.latencies_ms(), engine.latencies_ms())
            found['images_ratio'] = ratios(engine.rates(), other.rates())
        is_fp32 = other.bundle.manifest.precision == 'fp32'
        if other is not engine and is_fp32 and other.backend == engine.backend:
            found['precision_ratio'] = ratios(engine.rates(), other.rates())
    return found


def _facts(bundle: Bundle) -> BundleFacts:
    manifest = bundle.manifest
    return BundleFacts(
        name=manifest.name,
        model=model_of(bundle),
        precision=manifest.precision,
        sha256=manifest.graph.sha256,
        bytes=bundle.graph_path.stat().st_size,
        input=(manifest.input.width, manifest.input.height),
    )
