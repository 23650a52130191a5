"""
How fast a run is, and what holds it up: its data, its steps, or one waiting for the other.

All of it takes turns in every round, so that whatever else the machine does hits all alike.
"""

from collections.abc import Callable, Iterator, Sequence
import itertools
import os
from pathlib import Path
import time

import torch

from perception_ros.benchmarks.environment import Environment
from perception_ros.benchmarks.rounds import interleave, Side
from perception_ros.benchmarks.statistics import ratios, Spread
from perception_training.config import Config
from perception_training.data.readers import Source
from perception_training.data.sample import Batch
from perception_training.data.stream import made_ahead, Stream
from perception_training.errors import TrainingError
from perception_training.fitting.distributed import joined, Place
from perception_training.fitting.guard import is_out_of_memory
from perception_training.fitting.log import Log
from perception_training.fitting.loop import open_all
from perception_training.fitting.process import prepare_torch
from perception_training.fitting.run import Run
from perception_training.speed.report import SpeedReport, Variant

REPORT = 'benchmark.json'
PLAIN = {'precision': 'fp32', 'channels_last': False, 'compile': False}
VARIANTS = {'plain': {}, 'bf16': {'precision': 'bf16'}, 'fp16': {'precision': 'fp16'},
            'channels-last': {'channels_last': True}, 'compile': {'compile': True}}
"""What is changed of `PLAIN`."""
Announce = Callable[[str], None]


def benchmark(config: Config, rounds: int, seconds: float, variants: Sequence[str] = (*VARIANTS,),
              announce: Announce = lambda name: None) -> SpeedReport:
    """
    Measure images/s of pipeline, step and both, and what single settings gain.

    Nothing is trained in the end: networks are the run's own, its checkpoint is left alone.

    :param seconds: of a turn, at least; a turn is one step at least.
    :param variants: some of `VARIANTS`; `plain` is always measured, for the others' gain.
    :param announce: told whose turn it is.
    :raises TrainingError: the data are missing, or a step as configured does not run.
    """
    if int(os.environ.get('WORLD_SIZE', 1)) > 1:
        raise TrainingError('benchmark: expected one process, not torchrun: processes that wait '
                            'for each other would measure their network')
    if unknown := sorted(set(variants) - set(VARIANTS)):
        raise TrainingError(f'benchmark: expected variants of {list(VARIANTS)}, got {unknown}')
    environment = Environment.here()  # its load is that of others
    prepare_torch(config.fit)
    endless = config.model_copy(update={'fit': config.fit.model_copy(update={'steps': 10 ** 9})})
    with joined(config.fit) as place:
        config.run_dir.mkdir(parents=True, exist_ok=True)
        with Log(config.run_dir, 0, tensorboard=False, silent=True) as log:
            sources = open_all(config, place, log)
        bench = _Bench(endless, place, sources, seconds)
        turns = {'pipeline': bench.pipeline, 'step': bench.step(config), 'both': bench.both}
        turns |= {name: bench.step(_with(config, {**PLAIN, **VARIANTS[name]}))
                  for name in ('plain', *(n for n in variants if n != 'plain'))}
        sides = {name: Side(_announced(name, turn, announce)) for name, turn in turns.items()}
        interleave(list(sides.values()), rounds)
        return _report(config, environment, place, sources, sides, rounds, seconds)


def write(report: SpeedReport, folder: Path) -> Path:
    """Write `benchmark.json`."""
    path = folder / REPORT
    path.write_text(report.model_dump_json(indent=2) + '\n', encoding='utf-8')
    return path


class _Bench:
    """What takes turns; each gives images/s."""

    def __init__(self, config: Config, place: Place, sources: Sequence[Source],
                 seconds: float) -> None:
        self._config, self._place, self._sources = config, place, sources
        self._seconds = seconds
        self._batch = Stream(sources, config)[0].to(place.device)
        self._run: Run | None = None

    def pipeline(self) -> float:
        batches = self._batches()
        return self._rate(lambda: self._next(batches))

    def both(self) -> float:
        run, batches = self._own_run(), self._batches()
        run.train_step([self._batch] * self._config.fit.accumulate)
        return self._rate(lambda: run.train_step(self._next(batches)))

    def step(self, config: Config) -> Callable[[], float]:
        """Give a turn of steps with other settings; their network is built at the first one."""
        own = config.fit == self._config.fit.model_copy(update={'steps': config.fit.steps})
        built: list[Run] = []

        def turn() -> float:
            batches = [self._batch] * config.fit.accumulate
            try:
                if not built:
                    built.append(self._own_run() if own else Run(config, self._place))
                # The first one compiles, tries algorithms, fills caches.
                built[0].train_step(batches)
                return self._rate(lambda: built[0].train_step(batches))
            except RuntimeError as error:
                raise TrainingError(_first_line(error)) from error

        return turn

    def _own_run(self) -> Run:
        if self._run is None:
            self._run = Run(self._config, self._place)
        return self._run

    def _batches(self) -> Iterator[Batch]:
        data = self._config.data
        batches = made_ahead(Stream(self._sources, self._config), self._config,
                             pinned=self._place.device.type == 'cuda')
        # What was made ahead says nothing of how fast it is made.
        for _ in range(max(1, data.workers * data.prefetch)):
            next(batches)
        return batches

    def _next(self, batches: Iterator[Batch]) -> list[Batch]:
        return list(itertools.islice(batches, self._config.fit.accumulate))

    def _rate(self, work: Callable[[], object]) -> float:
        """Repeat some work for a turn; each time it deals with the images of one step."""
        self._wait()
        count, start = 0, time.perf_counter()
        while count == 0 or time.perf_counter() - start < self._seconds:
            work()
            count += 1
        self._wait()
        fit = self._config.fit
        return count * fit.batch * fit.accumulate / (time.perf_counter() - start)

    def _wait(self) -> None:
        if self._place.device.type == 'cuda':
            torch.cuda.synchronize(self._place.device)


def _announced(name: str, turn: Callable[[], float], announce: Announce) -> Callable[[], float]:
    def announced() -> float:
        announce(name)
        return turn()

    return announced


def _with(config: Config, changes: dict[str, object]) -> Config:
    return config.model_copy(update={'fit': config.fit.model_copy(update=changes)})


def _first_line(error: RuntimeError) -> str:
    if is_out_of_memory(error):
        return 'out of memory'
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


def _report(config: Config, environment: Environment, place: Place, sources: Sequence[Source],
            sides: dict[str, Side[float]], rounds: int, seconds: float) -> SpeedReport:
    for name in ('pipeline', 'step', 'both'):
        if (problem := sides[name].problem) is not None:
            raise TrainingError(f'{name}: {problem}')
    pipeline, step, both = (sides[name].turns for name in ('pipeline', 'step', 'both'))
    together = ratios(both, [min(pair) for pair in zip(pipeline, step, strict=True)])
    assert together is not None
    images, fit = sum(len(source) for source in sources), config.fit
    plain = sides['plain'].turns
    return SpeedReport(
        environment=environment, torch=str(torch.__version__), device=_name(place.device),
        model=config.model.name, batch=fit.batch, accumulate=fit.accumulate,
        width=config.augment.width, height=config.augment.height, workers=config.data.workers,
        precision=fit.precision, channels_last=fit.channels_last, compile=fit.compile,
        rounds=rounds, seconds=seconds, pipeline=Spread.of(pipeline), step=Spread.of(step),
        both=Spread.of(both), together=together, images=images,
        epoch_minutes=round(images / Spread.of(both).median / 60, 3),
        variants=tuple(
            Variant(name=name, problem=sides[name].problem,
                    images_per_s=Spread.of(turns) if turns else None,
                    gain=None if name == 'plain' or not turns else ratios(turns, plain))
            for name in VARIANTS if name in sides for turns in (sides[name].turns,)))


def _name(device: torch.device) -> str:
    if device.type == 'cuda':
        return f'{device}, {torch.cuda.get_device_name(device)}'
    return f'{device}, {torch.get_num_threads()} threads'
