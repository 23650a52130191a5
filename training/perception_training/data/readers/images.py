"""Images in files with labels beside them: what all readers of such sets share."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
import contextlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from perception_ros.core.errors import PerceptionError
from perception_ros.evaluation.datasets import drive_of
from perception_ros.evaluation.datasets.folders import PICTURES
from perception_ros.evaluation.datasets.places import JsonEntry
from perception_training.config.sources import SourceConfig
from perception_training.data.files import read_lines, read_rgb
from perception_training.data.geometry import shrink
from perception_training.data.sample import Sample
from perception_training.errors import DataError

Size = tuple[int, int]
"""Width and height in pixels."""
Report = Callable[[PerceptionError], None]
"""Is told what is wrong with a label; where it returns, that label is left out."""


@dataclass(frozen=True)
class Thing:
    """One object, as its file says it."""

    where: str | JsonEntry
    """File and line."""
    box: tuple[float, float, float, float]
    """x1 y1 x2 y2 in pixels."""
    label: int
    """Our class, or -1 for a region that may hold something."""
    outline: NDArray[np.uint8] | None = None
    """`[H, W]` 0 or 1, where the set gives outlines."""


@dataclass(frozen=True)
class Labels:
    """What is known of one image."""

    things: list[Thing] = field(default_factory=list)
    maps: dict[str, NDArray[np.uint8]] = field(default_factory=dict)
    """Head -> `[H, W]` our class ids; 255 = unknown."""


def refuse(error: PerceptionError) -> None:
    """
    Let a wrong label end the run.

    :raises DataError: always.
    """
    raise error if isinstance(error, DataError) else DataError(str(error)) from error


@contextlib.contextmanager
def reported(report: Report) -> Iterator[None]:
    """Tell of an error and go on behind the block."""
    try:
        yield
    except PerceptionError as error:
        report(error)


class ImageFiles(ABC):
    """
    A set of image files, or the part of it that a list holds out.

    A reader says which files there are and what their labels mean; how a wrong label is dealt
    with is up to whoever asks: training stops at the first one, the check collects them all.
    """

    labelled: NDArray[np.bool_] = np.zeros(0, np.bool_)
    """`[C]`: of which of our classes every object has its box."""
    outlined = False
    """Whether objects have outlines."""
    tells_drives = True
    """Whether names tell of which recording an image is."""

    def __init__(self, name: str, config: SourceConfig, images: Mapping[str, Path]) -> None:
        """
        Take the images that the settings ask for.

        :param images: name -> file.
        :raises DataError: the list cannot be read, or names what there is not.
        """
        self.name = f'{name} held out' if config.held_out else name
        if not images:
            raise DataError(f'{name}: expected images, got none')
        chosen = sorted(images)
        if config.frames is not None:
            chosen = part(chosen, {n: n for n in chosen}, config.frames, config.held_out)
        elif config.drives is not None:
            drives = {n: self.drive(n) for n in chosen}
            chosen = part(chosen, drives, config.drives, config.held_out)
        self._stems = frozenset(path.stem for path in images.values())
        self._max_side = config.max_side
        self._names = tuple(chosen)
        self.images = tuple(images[n] for n in chosen)
        """The image files, in the order of their names."""

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each image."""
        return self._names

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> Sample:
        image = read_rgb(self.images[index])
        size = (image.shape[1], image.shape[0])
        sample = self.sample(index, image, self.labels(index, size, refuse))
        return sample if self._max_side is None else shrink(sample, self._max_side)

    def sample(self, index: int, image: NDArray[np.uint8], labels: Labels) -> Sample:
        """Put an image and what is known of it together."""
        things = labels.things
        masks = None
        if self.outlined:
            masks = np.zeros((len(things), *image.shape[:2]), np.uint8)
            for mask, thing in zip(masks, things, strict=True):
                mask[:] = thing.outline
        boxes = np.array([thing.box for thing in things], np.float32).reshape(-1, 4)
        ids = np.array([thing.label for thing in things], np.int64)
        return Sample(
            self._names[index], image, boxes, ids, self.labelled, masks, labels.maps)

    def unpaired(self) -> list[Path]:
        """Give label files without an image, where each image has a file of its name."""
        return []

    def drive(self, name: str) -> str:
        """Tell of which recording an image is, which must not be on both sides of a split."""
        return drive_of(Path(name))

    @abstractmethod
    def files(self, index: int) -> tuple[Path, ...]:
        """Give the files that hold the labels of an image."""

    @abstractmethod
    def labels(self, index: int, size: Size, report: Report) -> Labels:
        """
        Read the labels of an image.

        :param size: width and height of the image.
        :param report: is told of each label that is wrong.
        """


class PairedFiles(ImageFiles):
    """A set in which an image's label is a file of the image's name."""

    texts: tuple[Path, str]
    """Folder and suffix of the labels."""

    def files(self, index: int) -> tuple[Path, ...]:
        folder, suffix = self.texts
        return (folder / f'{self.names[index]}{suffix}',)

    def unpaired(self) -> list[Path]:
        folder, suffix = self.texts
        return [path for path in sorted(folder.glob(f'*{suffix}')) if path.stem not in self._stems]


def by_name(paths: Iterable[Path], folder: Path, suffix: str = '') -> dict[str, Path]:
    """
    Name images by their place below a folder, without what all of their names end in.

    :raises DataError: two have the same name.
    """
    named: dict[str, Path] = {}
    for path in sorted(paths):
        if path.suffix.lower() in PICTURES:
            name = path.relative_to(folder).with_suffix('').as_posix().removesuffix(suffix)
            if name in named:
                raise DataError(f'{path}: expected one image of this name, there is also '
                                f'{named[name]}')
            named[name] = path
    return named


def part(names: list[str], keys: Mapping[str, str], listed: Path,
         held_out: bool | None) -> list[str]:
    """
    List the names whose keys a file holds, or all others.

    :raises DataError: the file cannot be read, or holds a key of no name.
    """
    present = set(keys.values())
    wanted: set[str] = set()
    for where, line in read_lines(listed):
        word = line.strip()
        if word not in present:
            raise DataError(f'{where}: no image is of {word!r}; expected some of '
                            f'{sorted(present)[:8]}, ...')
        wanted.add(word)
    return [name for name in names if (keys[name] in wanted) == held_out]
