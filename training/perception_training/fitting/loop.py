"""Train a network: one readable loop."""

from collections.abc import Callable, Iterator, Mapping, Sequence
import itertools
import json
import os
import time
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
import torch

from perception_training.config import Config, printed
from perception_training.data.check import brief
from perception_training.data.pseudo import teach
from perception_training.data.readers import keep_source, read_source, Source
from perception_training.data.sample import Batch
from perception_training.data.stream import made_ahead, Share, Stream
from perception_training.errors import CheckpointError
from perception_training.fitting import checkpoint
from perception_training.fitting.distributed import joined, Place, warning
from perception_training.fitting.guard import is_out_of_memory, out_of_memory
from perception_training.fitting.log import Log
from perception_training.fitting.process import prepare_torch
from perception_training.fitting.record import record_data
from perception_training.fitting.run import Run, Trained
from perception_training.fitting.stop import stop_requests, StopRequest
from perception_training.fitting.teacher import opened
from perception_training.fitting.transfer import built
from perception_training.losses.everywhere import alone
from perception_training.models.form import AS_BUILT, form_in

LAST, BEST = 'last.pt', 'best.pt'


class Look(NamedTuple):
    """What is seen of a network on the way."""

    metrics: dict[str, Any]
    overall: float
    """One number for all of them: the checkpoint with the highest is kept."""
    pictures: Mapping[str, NDArray[np.uint8]]
    """Name -> `[H, W, 3]` RGB, for TensorBoard."""


Evaluate = Callable[[Trained], Look]


def fit(config: Config, sources: Sequence[Source] | None = None,
        evaluate: Evaluate | None = None, prepare: Callable[[], None] | None = None,
        console: Console | None = None) -> Run:
    """
    Train until the schedule ends, resuming from `run_dir/last.pt` where there is one.

    In each process that torchrun started this is called alike; the first one writes.

    :param sources: images to use instead of `config.data.train`, one source for each of them.
    :param evaluate: called by the first process every `evaluate_every` steps and at the end; with
        `evaluate_every` the best checkpoint is kept in `run_dir/best.pt`.
    :param prepare: called by the first process before anything is read, while all others wait.
    :param console: where it says how far it is; None: the terminal.
    :raises StoppedError: a signal asked for an end; the checkpoint holds the step before.
    :raises TrainingError: data, checkpoint or memory do not allow it; what is there is kept.
    """
    prepare_torch(config.fit)
    with joined(config.fit) as place:
        config.run_dir.mkdir(parents=True, exist_ok=True)
        if prepare is not None:
            if place.first:
                with alone():
                    prepare()
            place.wait()
        state = _checkpoint(config)
        run = Run(config, place, form_in(state, config.run_dir / LAST) if state else AS_BUILT)
        with (
            Log(config.run_dir, config.fit.steps, config.fit.tensorboard,
                silent=not place.first, console=console) as log,
            opened(config, run.network, place.device) as run.teacher,
        ):
            log.say(f'settings:\n{printed(config)}')
            if doubt := warning():
                log.say(doubt)
            _resume(run, state, log)
            images = sources or open_all(config, place, log)
            if place.first:
                record_data(config, images, place.processes)
            try:
                _train(run, images, log, evaluate)
            except (RuntimeError, MemoryError) as error:
                if is_out_of_memory(error):
                    raise out_of_memory(config, error) from error
                raise
        return run


def is_first_process() -> bool:
    """Whether this process, of all that torchrun started, is the one that writes."""
    return int(os.environ.get('RANK', 0)) == 0


def open_all(config: Config, place: Place, log: Log) -> list[Source]:
    """Open the training sets, and let teachers label what they do not."""
    labels, root = config.labels, config.data.root
    sources = [read_source(s, labels, root) for s in config.data.train]
    if place.first:
        for text in brief(sources, [read_source(s, labels, root) for s in config.data.val]):
            log.say(f'NOTE: {text}')
    sources = [keep_source(source, s, labels, root, config.cache_dir)
               for source, s in zip(sources, config.data.train, strict=True)]
    log.say('images: ' + ', '.join(f'{s.name} {len(s)}' for s in sources))
    if not place.first:
        place.wait()
    taught = teach(sources, config)
    if place.first:
        place.wait()
    return taught


def _train(run: Run, sources: Sequence[Source], log: Log, evaluate: Evaluate | None) -> None:
    with stop_requests() as stop:
        try:
            _steps(run, sources, log, evaluate, stop)
        except RuntimeError:
            if stop.signal is None:
                raise
            # The first process has kept the run and is gone: the others cannot do a step alone.
            raise stop.error('ended the run') from None


def _steps(run: Run, sources: Sequence[Source], log: Log, evaluate: Evaluate | None,
           stop: StopRequest) -> None:
    config, place = run.config, run.place
    stream = Stream(sources, config, Share(place.rank, place.processes), run.step)
    batches = made_ahead(stream, config, pinned=place.device.type == 'cuda')
    sums = _Sums()
    before = time.monotonic()
    while run.progress < 1:
        if stop.signal is not None and place.first:
            _save(run, log, LAST, final=True)
            raise stop.error(f'ended the run after step {run.step}, which is kept in '
                             f'{config.run_dir / LAST}: the same command goes on from there')
        sums.add(run.train_step(_next(batches, config.fit.accumulate)))
        now = time.monotonic()
        # Everyone must agree on when a schedule ends that the clock ends.
        spent = run.seconds + now - before
        run.seconds = place.of_first(spent) if config.fit.max_minutes else spent
        before = now
        log.at(run.step)
        if run.step % config.fit.log_every == 0:
            _report(run, sums.means(place), log)
        over = run.progress >= 1
        if over or run.step % config.fit.save_every == 0:
            _save(run, log, final=over)
        every = config.fit.evaluate_every
        if evaluate is not None and (over or (every and run.step % every == 0)):
            if place.first:
                _look(run, evaluate, log, over)
            place.wait()
            before = time.monotonic()  # looking at it is not training


def _look(run: Run, evaluate: Evaluate, log: Log, over: bool) -> None:
    try:
        look = evaluate(run.trained)
    except OSError as error:
        if over:
            raise
        # Such as a full disk: no reason to end the run, for it may have room again.
        log.say(f'NOT MEASURED at step {run.step}: {error}')
        return
    log.numbers(run.step, {'metrics': look.metrics, 'overall': look.overall})
    log.pictures(run.step, look.pictures)
    log.say(f'metrics at step {run.step}: {json.dumps(look.metrics)}')
    before = run.best
    if run.config.fit.evaluate_every and (before is None or look.overall > before):
        run.best = look.overall
        if _save(run, log, BEST):
            log.say(f'best so far: {look.overall:.4f}, in {BEST}')
        else:
            run.best = before


def _next(batches: Iterator[Batch], count: int) -> list[Batch]:
    return list(itertools.islice(batches, count))


class _Sums:
    """Losses since the last report; on the device, for reading one waits for it."""

    def __init__(self) -> None:
        self._sums: dict[str, torch.Tensor] = {}
        self._count = 0

    def add(self, values: dict[str, torch.Tensor]) -> None:
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0) + value
        self._count += 1

    def means(self, place: Place) -> dict[str, float]:
        values = place.mean(torch.stack(list(self._sums.values())) / self._count)
        found = dict(zip(self._sums, values.tolist(), strict=True))
        self._sums, self._count = {}, 0
        return found


def _report(run: Run, means: dict[str, float], log: Log) -> None:
    rate = max(group['lr'] for group in run.optimiser.param_groups)
    log.numbers(run.step, {**means, 'lr': rate, 'seconds': round(run.seconds, 2)})
    log.say(f'step {run.step} {run.seconds / 60:.1f} min {run.progress:.1%} ' +
            ' '.join(f'{name} {value:.3f}' for name, value in means.items()))


def _save(run: Run, log: Log, file: str = LAST, final: bool = False) -> bool:
    if not run.place.first:
        return False
    try:
        checkpoint.write(run.config.run_dir / file, run.state(), run.config)
        return True
    except CheckpointError as error:
        if final:
            raise
        # Training goes on: the disk may have room again at the next checkpoint.
        log.say(f'NOT SAVED at step {run.step}: {error}')
        return False


def _checkpoint(config: Config) -> checkpoint.State | None:
    """Read what to resume from, if there is something."""
    path = config.run_dir / LAST
    if not path.exists():
        return None
    state, theirs = checkpoint.read(path)
    checkpoint.require_same_network(path, theirs, config)
    return state


def _resume(run: Run, state: checkpoint.State | None, log: Log) -> None:
    if state is None:
        if run.started_from:
            log.say(f'starts from {run.started_from}')
        return
    run.restore(state)
    if (best := run.config.run_dir / BEST).exists():
        run.best = checkpoint.read(best)[0]['best']
    log.forget_after(run.step)
    log.say(f'resumed at step {run.step}')


def restored(config: Config, file: str = LAST) -> Trained:
    """
    Give the averaged network of a checkpoint in `run_dir` on the CPU, to measure or export it.

    :raises CheckpointError: there is none, or it is of another network.
    """
    path = config.run_dir / file
    state, theirs = checkpoint.read(path)
    checkpoint.require_same_network(path, theirs, config)
    network = built(path, state, config)
    return Trained(network, int(state['step']), float(state['seconds']))
