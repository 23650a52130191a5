"""
An endless stream of random views, cut into batches.

View k of a run depends on the seed and k alone, not on what was drawn before, on how many
processes there are, or on which of them draws it. So a resumed run sees exactly what it would have
seen, and two processes see what one with twice the batch sees.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
import signal

import cv2
import numpy as np
from torch.utils.data import DataLoader, Dataset

from perception_ros.core.errors import PerceptionError
from perception_training.config import Config
from perception_training.config.data import AugmentConfig
from perception_training.data.colour import recolour
from perception_training.data.geometry import cut, mirror, mosaic
from perception_training.data.readers.base import Source
from perception_training.data.sample import Batch, collate, Sample

LONGEST_S = 60
"""How long a process that makes batches goes on when it is asked to end."""


@dataclass(frozen=True)
class Share:
    """Which of the batches are this process's."""

    rank: int = 0
    processes: int = 1


class Draws:
    """
    Which image of which source is drawn as number k.

    Sources take turns as their shares say; each is gone through in a random order, anew in each
    pass, without repetition.
    """

    def __init__(self, lengths: Sequence[int], shares: Sequence[int], seed: int) -> None:
        turns = sorted(((i + 0.5) / share, place) for place, share in enumerate(shares)
                       for i in range(share))
        self._turns = [place for _, place in turns]
        self._lengths, self._shares, self._seed = lengths, shares, seed
        self._orders: dict[int, tuple[int, np.ndarray]] = {}

    def __getitem__(self, number: int) -> tuple[int, int]:
        """Return the places of the source and of its image."""
        rounds, turn = divmod(number, len(self._turns))
        source = self._turns[turn]
        before = self._turns[:turn].count(source)
        length = self._lengths[source]
        epoch, place = divmod(rounds * self._shares[source] + before, length)
        return source, int(self._order(source, epoch)[place])

    def _order(self, source: int, epoch: int) -> np.ndarray:
        kept = self._orders.get(source)
        if kept is None or kept[0] != epoch:
            rng = np.random.default_rng([self._seed, 1, source, epoch])
            kept = self._orders[source] = (epoch, rng.permutation(self._lengths[source]))
        return kept[1]


class Stream(Dataset[Batch]):
    """This process's batches by number, from the first of a step on."""

    def __init__(self, sources: Sequence[Source], config: Config, share: Share = Share(),
                 start: int = 0) -> None:
        """
        Prepare to draw.

        :param start: optimiser step that the first batch belongs to.
        """
        self._sources, self._config = sources, config
        self._share, self._start = share, start
        shares = [source.share for source in config.data.train]
        self._draws = Draws([len(s) for s in sources], shares, config.seed)
        self._heads = tuple(config.labels.semantic)

    def __len__(self) -> int:
        fit = self._config.fit
        return (fit.steps - self._start) * fit.accumulate

    def __iter__(self) -> Iterator[Batch]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: int) -> Batch:
        """Return batch `index`; all processes' batches of one number lie side by side."""
        fit = self._config.fit
        number = self._start * fit.accumulate + index
        first = (number * self._share.processes + self._share.rank) * fit.batch
        views = [self._view(first + i) for i in range(fit.batch)]
        return collate(views, len(self._config.labels.boxes), self._heads)

    def _view(self, number: int) -> Sample:
        config = self._config
        rng = np.random.default_rng([config.seed, 0, number])
        place, index = self._draws[number]
        source = self._sources[place]
        sample = random_view(source[index], rng, config)
        if config.augment.mosaic > 0 and rng.random() < config.augment.mosaic:
            others = rng.integers(len(source), size=3)
            sample = mosaic([sample, *(random_view(source[int(i)], rng, config) for i in others)])
        return replace(sample, image=recolour(sample.image, rng, config.augment))


def random_view(sample: Sample, rng: np.random.Generator, config: Config) -> Sample:
    """Cut a random window, scale it to the view's size, and perhaps mirror it."""
    augment = config.augment
    width, height = sample.size
    # Scales are relative to the one that letterboxes this image at test time.
    fit = min(config.width / width, config.height / height)
    scale = fit * _log_uniform(rng, augment)
    window_w = max(round(augment.width / scale), 8)
    window_h = max(round(augment.height / scale), 8)
    # An image smaller than the window lies anywhere inside it, as letterboxing leaves it.
    left = int(rng.integers(min(0, width - window_w), max(0, width - window_w) + 1))
    top = int(rng.integers(min(0, height - window_h), max(0, height - window_h) + 1))
    view = cut(sample, (left, top, window_w, window_h), augment.width, augment.height)
    return mirror(view) if rng.random() < augment.flip else view


def made_ahead(stream: Stream, config: Config, pinned: bool) -> Iterator[Batch]:
    """
    Give the batches of a stream, made ahead in worker processes.

    :raises PerceptionError: what went wrong in a worker, in its own words.
    """
    workers = config.data.workers
    if workers:
        # Threads of OpenCV do not survive in the processes, which would wait for them for ever;
        # and processes that use all cores have no need of them.
        cv2.setNumThreads(1)
    try:
        yield from DataLoader(
            stream, batch_size=None, num_workers=workers, pin_memory=pinned,
            prefetch_factor=config.data.prefetch if workers else None,
            worker_init_fn=_outlive_requests)
    except PerceptionError as error:
        raise _as_it_was_said(error) from None


def _as_it_was_said(error: PerceptionError) -> PerceptionError:
    """Take away the traceback that torch puts before what a worker said."""
    kind = type(error)
    text = str(error).partition(f'\n{kind.__module__}.{kind.__qualname__}: ')[2].strip()
    return kind(text) if text else error


def _outlive_requests(worker: int) -> None:
    """
    Let a process that makes batches live on while the step that needs them is finished.

    Terminals and schedulers ask all processes of a run at once to end. This one ends with the
    process that it works for, and if that hangs, by itself.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(LONGEST_S))


def _log_uniform(rng: np.random.Generator, augment: AugmentConfig) -> float:
    return float(np.exp(rng.uniform(np.log(augment.scale_min), np.log(augment.scale_max))))
