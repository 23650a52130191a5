"""What is wrong with the images and labels of a run: all of it, before training begins."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
import itertools
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from perception_ros.core.errors import PerceptionError
from perception_training.config import Config
from perception_training.config.sources import SourceConfig
from perception_training.data.ahead import ahead
from perception_training.data.files import read_rgb
from perception_training.data.readers import read_source, Source
from perception_training.data.readers.images import ImageFiles, Thing
from perception_training.data.sample import Sample
from perception_training.data.twins import bits, digest, NEAR, nearest
from perception_training.errors import DataError

Side = Literal['train', 'val']
Kind = Literal['set', 'image', 'label', 'box', 'class', 'split', 'duplicate', 'look-alike']
OUTSIDE_PX = 1.0
"""A box may reach so far beyond its image: labels are rounded."""
LEAST_SIDE_PX = 1.0


class Problem(NamedTuple):
    """Something that is wrong, or, where it is no error, that one should know."""

    kind: Kind
    text: str
    """With file and line."""
    error: bool = True


@dataclass
class Tally:
    """What there is of one set."""

    side: Side
    name: str
    boxes: NDArray[np.int64]
    """`[C]` of each class."""
    pixels: dict[str, NDArray[np.int64]]
    """Head -> `[K]` of each class."""
    images: int = 0
    unknown: int = 0
    """Boxes of regions that may hold something."""


@dataclass
class Findings:
    """All that a check found."""

    tallies: list[Tally] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    @property
    def errors(self) -> int:
        """How many problems are errors."""
        return sum(problem.error for problem in self.problems)


@dataclass(frozen=True)
class Look:
    """What is compared and counted of one image and its labels; a set need not lie in memory."""

    name: str
    path: Path | None
    problems: list[Problem]
    digest: bytes = b''
    bits: NDArray[np.uint64] | None = None
    labels: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    pixels: dict[str, NDArray[np.int64]] = field(default_factory=dict)


class _Seen(NamedTuple):
    """An image that could be read, of all sets."""

    side: Side
    where: str
    path: Path | None
    digest: bytes
    bits: NDArray[np.uint64]


Watch = Callable[[Iterable[Look], str, int], Iterable[Look]]


def check(config: Config, watch: Watch = lambda looks, name, count: looks) -> Findings:
    """
    Decode every image, read every label, and compare training with validation.

    :param watch: passes the images of a set on, with its name and their number, to show progress.
    """
    found = Findings()
    seen: list[_Seen] = []
    drives: Counter[tuple[Side, str, str]] = Counter()
    for side, source_config in _sources(config):
        try:
            source = read_source(source_config, config.labels, config.data.root)
        except PerceptionError as error:
            found.problems.append(Problem('set', str(error)))
            continue
        tally = Tally(side, source.name, np.zeros(len(config.labels.boxes), np.int64), {})
        found.tallies.append(tally)
        for look in watch(_looks(source, config), f'{side}: {source.name}', len(source)):
            _count(tally, look)
            found.problems += look.problems
            if look.bits is not None:
                where = str(look.path or f'{source.name}: {look.name}')
                seen.append(_Seen(side, where, look.path, look.digest, look.bits))
        if isinstance(source, ImageFiles):
            found.problems += [Problem('label', f'{path}: a label without an image')
                               for path in source.unpaired()]
            if source.tells_drives:
                drives.update((side, source_config.reader, source.drive(n)) for n in source.names)
    found.problems += [*_empty_classes(found.tallies, config), *_twins(seen),
                       *_shared_drives(drives)]
    return found


def brief(train: Sequence[Source], val: Sequence[Source]) -> list[str]:
    """
    Look at what costs no decoding, and give what one should know.

    :raises DataError: images or labels of training are missing.
    """
    missing = sorted(path for source in train if isinstance(source, ImageFiles)
                     for path in _needed(source) if not path.is_file())
    if missing:
        raise DataError(f'{missing[0]}: there is no such file, and {len(missing) - 1} others are '
                        'missing too; `perception_train check` lists all')
    theirs, ours = (
        {path.resolve() for source in sources if isinstance(source, ImageFiles)
         for path in source.images} for sources in (train, val))
    both = sorted(theirs & ours)
    return [f'{both[0]} and {len(both) - 1} other images are in both training and validation: '
            'what is measured on them is no accuracy'] if both else []


def _needed(source: ImageFiles) -> set[Path]:
    return {*source.images, *(p for i in range(len(source)) for p in source.files(i))}


def _sources(config: Config) -> Iterable[tuple[Side, SourceConfig]]:
    return itertools.chain((('train', s) for s in config.data.train),
                           (('val', s) for s in config.data.val))


def _looks(source: Source, config: Config) -> Iterable[Look]:
    if isinstance(source, ImageFiles):
        return ahead(lambda index: _look_at_file(source, index, config), len(source))
    # Whether any other source may be read by several threads is not known.
    return (_look_at(source, index, config) for index in range(len(source)))


def _look_at_file(source: ImageFiles, index: int, config: Config) -> Look:
    path, name = source.images[index], source.names[index]
    try:
        image = read_rgb(path)
    except DataError as error:
        return Look(name, path, [Problem('image', str(error))])
    problems: list[Problem] = []
    size = (image.shape[1], image.shape[0])
    labels = source.labels(
        index, size, lambda error: problems.append(Problem('label', str(error))))
    problems += [p for thing in labels.things for p in _of_box(thing, size)]
    return _look(source.sample(index, image, labels), path, problems, config)


def _look_at(source: Source, index: int, config: Config) -> Look:
    try:
        sample = source[index]
    except PerceptionError as error:
        return Look(source.names[index], None, [Problem('image', str(error))])
    things = [Thing(f'{source.name}: {sample.name}, box {i}', tuple(box.tolist()), int(label))
              for i, (box, label) in enumerate(zip(sample.boxes, sample.labels, strict=True))]
    problems = [p for thing in things for p in _of_box(thing, sample.size)]
    return _look(sample, None, problems, config)


def _look(sample: Sample, path: Path | None, problems: list[Problem], config: Config) -> Look:
    pixels = {head: np.bincount(ids.ravel(), minlength=256)[:len(config.labels.semantic[head])]
              for head, ids in sample.semantic.items()}
    return Look(sample.name, path, problems, digest(sample.image), bits(sample.image),
                sample.labels, pixels)


def _count(tally: Tally, look: Look) -> None:
    tally.images += 1
    tally.boxes += np.bincount(look.labels[look.labels >= 0], minlength=len(tally.boxes))
    tally.unknown += int((look.labels < 0).sum())
    for head, counts in look.pixels.items():
        tally.pixels[head] = tally.pixels.get(head, 0) + counts


def _of_box(thing: Thing, size: tuple[int, int]) -> Iterable[Problem]:
    x1, y1, x2, y2 = thing.box
    width, height = size
    text = f'{thing.where}: box ({x1:g}, {y1:g}, {x2:g}, {y2:g})'
    if x2 <= x1 or y2 <= y1:
        yield Problem('box', f'{text} is empty or inside out')
    elif x2 - x1 < LEAST_SIDE_PX or y2 - y1 < LEAST_SIDE_PX:
        yield Problem('box', f'{text} is thinner than a pixel', error=False)
    if min(x1, y1) < -OUTSIDE_PX or x2 > width + OUTSIDE_PX or y2 > height + OUTSIDE_PX:
        yield Problem('box', f'{text} reaches beyond the image of {width}x{height} px')


def _empty_classes(tallies: Sequence[Tally], config: Config) -> Iterable[Problem]:
    """Tell of classes that no training set shows, and of those that cannot be measured."""
    taught = any(source.pseudo != 'none' for source in config.data.train)
    for side in ('train', 'val'):
        sets = [tally for tally in tallies if tally.side == side]
        if not sets:
            continue
        # Teachers may add what no set labels, and what is not measured may still be learnt.
        error = side == 'train' and not taught
        boxes = sum(tally.boxes for tally in sets)
        for name, count in zip(config.labels.boxes, boxes, strict=True):
            if count == 0:
                yield Problem('class', f'labels.boxes: {side} has no box of {name!r}', error)
        for head, names in config.labels.semantic.items():
            pixels = sum((t.pixels[head] for t in sets if head in t.pixels),
                         np.zeros(len(names), np.int64))
            for name, count in zip(names, pixels, strict=True):
                if count == 0:
                    yield Problem('class', f'labels.semantic.{head}: {side} has no pixel of '
                                  f'{name!r}', error)


def _shared_drives(images: Counter[tuple[Side, str, str]]) -> Iterable[Problem]:
    """Tell of recordings of which both training and validation have images."""
    drives = Counter(reader for _, reader, _ in images)
    for (side, reader, drive), count in sorted(images.items()):
        other = images['val', reader, drive]
        # Where all names are of one drive on both sides, they tell of none.
        if side == 'train' and other and count + other > 2 and drives[reader] > 2:
            yield Problem('split', f'{reader}: {count} images of train and {other} of val are of '
                          f'one recording, {drive!r}', error=False)


def _twins(seen: Sequence[_Seen]) -> Iterable[Problem]:
    """Tell of images that there are twice: an error where training and validation share them."""
    first: dict[bytes, _Seen] = {}
    for image in sorted(seen, key=lambda image: image.side):
        other = first.setdefault(image.digest, image)
        if other is image:
            continue
        across = other.side != image.side
        if image.path is not None and _same(image.path, other.path):
            # Two sources of one side may well read one image for different labels.
            if across:
                yield Problem('split', f'{image.where}: this image is in both train and val')
        else:
            yield Problem('duplicate', f'{image.where} ({image.side}): the same pixels as '
                          f'{other.where} ({other.side})', across)
    train, val = ([image for image in first.values() if image.side == side]
                  for side in ('train', 'val'))
    pairs = nearest([image.bits for image in val], [image.bits for image in train])
    for image, (place, differ) in zip(val, pairs, strict=bool(train)):
        if differ <= NEAR:
            yield Problem('look-alike', f'{image.where} (val): looks like {train[place].where} '
                          f'(train), {differ} of 256 bits differ', error=False)


def _same(path: Path, other: Path | None) -> bool:
    return other is not None and path.resolve() == other.resolve()
