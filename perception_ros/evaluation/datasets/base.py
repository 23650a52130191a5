"""What labelled data are: image files, each with true boxes or a true mask."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from perception_ros.core.errors import DatasetError
from perception_ros.core.image import Image
from perception_ros.core.image_file import read_image

Size = tuple[int, int]
"""Width and height in pixels."""
Rle = Mapping[str, Any]
"""A mask as COCO compresses it: `size` [H, W] and `counts`."""


@dataclass(frozen=True, slots=True, eq=False)
class TrueBoxes:
    """What is to be found in one image.

    boxes: float64 [N, 4] (x1, y1, x2, y2) in pixels; labels: int64 [N], index into the data's
    classes; crowd: bool [N], regions with many objects that are neither to be found nor wrong;
    distances_m: float64 [N], from the camera, NaN where nobody knows; None in data without.
    """

    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]
    crowd: NDArray[np.bool_]
    distances_m: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Dataset(ABC):
    """Image files and what is true of them; images are read when they are asked for."""

    title: str
    """What to call it in tables."""
    classes: tuple[str, ...]
    """Names of the classes, as labels count them; two ids may share a name."""
    images: tuple[Path, ...]
    """Files, or names that `read` understands."""
    read: Callable[[Path], Image] = field(default=read_image, kw_only=True)
    """Returns an image, and raises ImageError where it cannot."""

    def of_drives(self, drives: Iterable[str]) -> Self:
        """Return the images of these drives alone.

        :raises DatasetError: a drive has no image.
        """
        wanted = set(drives)
        present = {drive_of(path) for path in self.images}
        if missing := sorted(wanted - present):
            raise DatasetError(
                f'{self.title}: no image of the drives {", ".join(missing)}; expected some of '
                f'{", ".join(sorted(present))}'
            )
        return replace(self, images=tuple(p for p in self.images if drive_of(p) in wanted))

    def renamed(self, names: Mapping[str, str]) -> Self:
        """Return the same with some classes under other names, even of another class."""
        return replace(self, classes=tuple(names.get(name, name) for name in self.classes))

    @abstractmethod
    def check(self) -> None:
        """Raise DatasetError for the first label that is damaged, before minutes of work."""


@dataclass(frozen=True)
class BoxDataset(Dataset):
    """Images with true boxes."""

    truth: Callable[[Path, Size], TrueBoxes]
    """What is in an image of this size."""
    outlines: Callable[[Path, Size], Sequence[Rle]] | None = None
    """The masks of the same objects, in data that have them of all."""

    def check(self) -> None:
        """Read every label once."""
        for path in self.images:
            self.truth(path, (1, 1))


@dataclass(frozen=True)
class MaskDataset(Dataset):
    """Images with a class for each pixel."""

    truth: Callable[[Path], NDArray[np.uint8]]
    """Class ids of an image, uint8 [H, W]; 255 = not known."""

    def check(self) -> None:
        """Do nothing: masks are as large as images, and read with them."""


def drive_of(path: Path) -> str:
    """Return what tells one drive from another, so that no drive is on both sides of a split.

    The recording date where the file name has one, else the name without the number of the frame;
    for names that are nothing but a number, the folder.
    """
    if date := re.search(r'20\d\d-\d\d-\d\d', path.stem):
        return date.group()
    return re.sub(r'[\W_]*\d+$', '', path.stem) or str(path.parent)
