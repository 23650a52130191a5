"""The largest batch that fits, by trial."""

from collections.abc import Callable
from dataclasses import dataclass
import gc
from pathlib import Path

import torch

from perception_ros.core.machine import peak_memory_bytes
from perception_training.config import Config
from perception_training.data.sample import Batch
from perception_training.data.stream import Stream
from perception_training.errors import TrainingError
from perception_training.fitting.distributed import joined, Place
from perception_training.fitting.guard import is_out_of_memory
from perception_training.fitting.log import Log
from perception_training.fitting.loop import open_all
from perception_training.fitting.process import prepare_torch
from perception_training.fitting.run import Run

SPARE = 0.1
"""Share of what fits that is left free: batches differ, and allocators tear holes."""
MEASURED_ON_CPU = 8
"""Larger batches on a CPU are not tried but counted: they only take longer there."""
MOST = 4096


@dataclass(frozen=True)
class Trial:
    """Two steps with a batch."""

    batch: int
    fits: bool
    peak_bytes: int
    """Most memory of the device, or of the process, that was held so far."""

    def __str__(self) -> str:
        result = 'fits' if self.fits else 'out of memory'
        return f'batch {self.batch}: {result}, at most {self.peak_bytes / 1e6:.0f} MB'


@dataclass(frozen=True)
class Found:
    """What came out."""

    batch: int
    """To be used: with some memory to spare."""
    largest: int
    """That fits."""
    tried: bool
    """Whether `largest` was run, or follows from what smaller ones needed."""
    trials: tuple[Trial, ...]
    total_bytes: int
    """That the device has, or that this process may come to hold."""


def find_batch(config: Config, say: Callable[[Trial], None] = lambda trial: None) -> Found:
    """
    Run steps with ever larger batches of real views.

    On a GPU until one does not fit, and then between. On a CPU a few small ones, unless memory
    ends before: whoever takes more than a machine has there is killed without a word.

    :raises TrainingError: not even a batch of one fits.
    """
    prepare_torch(config.fit)
    with joined(config.fit) as place:
        config.run_dir.mkdir(parents=True, exist_ok=True)
        with Log(config.run_dir, 0, tensorboard=False, silent=True) as log:
            sources = open_all(config, place, log)
        run = Run(config, place)
        on_cpu = place.device.type == 'cpu'
        total = _free_bytes() + peak_memory_bytes() if on_cpu else _device_bytes(place)
        trials: list[Trial] = []
        fits, too_large, size = 0, None, 1
        ahead = 0
        while fits < size:
            batch = Stream(sources, _with_batch(config, size))[0]
            trials.append(_tried(run, batch, size))
            say(trials[-1])
            if trials[-1].fits:
                fits, ahead = size, _bytes_of(batch) // size
            else:
                too_large = size
            size = _next_size(fits, too_large, MEASURED_ON_CPU if on_cpu else MOST)
    if fits == 0:
        raise TrainingError(
            'out of memory with a batch of one: expected a smaller view than '
            f'augment.width={config.augment.width} augment.height={config.augment.height}, '
            'fit.precision=bf16, or a smaller model')
    tried = too_large is not None or not on_cpu
    largest = fits if tried else _counted(trials, total, ahead * _made_ahead(config))
    return Found(max(1, int(largest * (1 - SPARE))), largest, tried, tuple(trials), total)


def _next_size(fits: int, too_large: int | None, most: int) -> int:
    """Give the next batch to try; what fits already: it is close enough."""
    if too_large is None:
        return min(2 * fits, most)
    return fits + (too_large - fits) // 2 if too_large - fits > max(1, fits // 16) else fits


def _tried(run: Run, batch: Batch, size: int) -> Trial:
    fits = True
    try:
        # The first step makes what the optimiser remembers, the second runs beside it.
        for _ in range(2):
            run.train_step([batch])
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        fits = False
    run.optimiser.zero_grad(set_to_none=True)
    if run.place.device.type == 'cpu':
        return Trial(size, fits, peak_memory_bytes())
    peak = torch.cuda.max_memory_allocated(run.place.device)
    gc.collect()
    torch.cuda.empty_cache()
    return Trial(size, fits, peak)


def _counted(trials: list[Trial], total: int, ahead: int) -> int:
    """Give the largest batch by what an image more has needed, its copies made ahead included."""
    first, last = trials[0], trials[-1]
    each = (last.peak_bytes - first.peak_bytes) / (last.batch - first.batch) + ahead
    return min(MOST, last.batch + int((total - last.peak_bytes) / max(each, 1)))


def _made_ahead(config: Config) -> int:
    return max(1, config.data.workers * config.data.prefetch)


def _bytes_of(batch: Batch) -> int:
    tensors = (batch.images, batch.boxes, batch.masks, *batch.semantic.values())
    return sum(tensor.nbytes for tensor in tensors)


def _with_batch(config: Config, size: int) -> Config:
    return config.model_copy(update={'fit': config.fit.model_copy(update={
        'batch': size, 'accumulate': 1})})


def _device_bytes(place: Place) -> int:
    return int(torch.cuda.get_device_properties(place.device).total_memory)


def _free_bytes() -> int:
    """Give what the machine, or the container that this runs in, has left."""
    lines = Path('/proc/meminfo').read_text(encoding='ascii').splitlines()
    free = [int(line.split()[1]) * 1024 for line in lines if line.startswith('MemAvailable:')]
    folder = Path('/sys/fs/cgroup')
    for limit, used in (('memory.max', 'memory.current'),
                        ('memory/memory.limit_in_bytes', 'memory/memory.usage_in_bytes')):
        try:
            words = [(folder / name).read_text(encoding='ascii').strip() for name in (limit, used)]
        except OSError:
            continue
        if words[0] != 'max':
            free.append(int(words[0]) - int(words[1]))
    return min(free)
