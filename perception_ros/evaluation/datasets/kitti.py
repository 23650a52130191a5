"""KITTI's object labels: a text file in `label_2` beside each image in `image_2`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from perception_ros.core.errors import DatasetError
from perception_ros.evaluation.datasets.base import BoxDataset, Size, TrueBoxes
from perception_ros.evaluation.datasets.folders import PICTURES

CLASSES = (
    'Car', 'Van', 'Truck', 'Pedestrian', 'Person_sitting', 'Cyclist', 'Tram', 'Misc',
)
DONT_CARE = 'DontCare'
_FIELDS = 'type truncated occluded alpha left top right bottom height width length x y z yaw'


class KittiObject(NamedTuple):
    """One line of a label file."""

    name: str
    """One of `CLASSES`, or `DONT_CARE`: a region that nobody has labelled."""
    box: tuple[float, float, float, float]
    """x1, y1, x2, y2 in pixels, as the file has them."""
    size_m: tuple[float, float, float]
    """Height, width, length."""
    place_m: tuple[float, float, float]
    """Middle of its bottom, in the coordinates of the rectified camera 0."""
    yaw_rad: float
    """About the camera's y axis; 0: it looks along x."""
    truncated: float
    """How much of it is outside the image, 0 to 1."""


def read_kitti(root: Path, split: str, labels: Sequence[str] | None) -> BoxDataset:
    """Return the data in a folder with `image_2` and `label_2`.

    DontCare regions are neither to be found nor wrong, of whatever class what is found there is.

    :param split: a folder inside, such as KITTI's own `training`.
    :param labels: not used, KITTI's classes have their own names.
    :raises DatasetError: there are no images, or one has no label.
    """
    folder = root / split

    def truth(image: Path, size: Size) -> TrueBoxes:
        objects = read_objects(folder / 'label_2' / f'{image.stem}.txt')
        named = [item for item in objects if item.name != DONT_CARE]
        # COCO's crowds are of one class each
        regions = [
            (item.box, label)
            for item in objects if item.name == DONT_CARE for label in range(len(CLASSES))
        ]
        boxes = [item.box for item in named] + [box for box, _ in regions]
        ids = [CLASSES.index(item.name) for item in named] + [label for _, label in regions]
        return TrueBoxes(
            np.array(boxes, np.float64).reshape(-1, 4),
            np.array(ids, np.int64),
            np.arange(len(ids)) >= len(named),
        )

    return BoxDataset(str(root), CLASSES, tuple(labelled_images(folder)), truth)


def labelled_images(folder: Path) -> list[Path]:
    """Return the images in a folder's `image_2`, which all have a label.

    :raises DatasetError: there are none, or one has no label.
    """
    found = _images(folder)
    for image in found:
        label = folder / 'label_2' / f'{image.stem}.txt'
        if not label.is_file():
            raise DatasetError(f'{image}: expected its label {label}, got none')
    return found


def read_objects(path: Path) -> list[KittiObject]:
    """Read a label file.

    :raises DatasetError: a line is none of KITTI's.
    """
    try:
        lines = path.read_text(encoding='utf-8').splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f'{path}: expected a label file of KITTI; {error}') from error
    return [read_object(line, f'{path}:{i}') for i, line in enumerate(lines, 1) if line.strip()]


def read_object(line: str, where: str) -> KittiObject:
    """Read a line.

    :param where: file and line, for the error.
    :raises DatasetError: it is none of KITTI's.
    """
    name, *rest = line.split()
    try:
        numbers = [float(number) for number in rest]
    except ValueError:
        numbers = []
    if len(numbers) not in (14, 15) or not np.isfinite(numbers).all():  # results end with a score
        raise DatasetError(f'{where}: expected "{_FIELDS}", got {line!r}')
    if name not in (*CLASSES, DONT_CARE):
        raise DatasetError(
            f'{where}: expected a class of {", ".join(CLASSES)} or {DONT_CARE}, got {name!r}'
        )
    left, top, right, bottom, height, width, length, x, y, z, yaw = numbers[3:14]
    if right <= left or bottom <= top:
        raise DatasetError(
            f'{where}: expected a box with left < right and top < bottom, got {left:g}, {top:g}, '
            f'{right:g}, {bottom:g}'
        )
    return KittiObject(
        name, (left, top, right, bottom), (height, width, length), (x, y, z), yaw,
        numbers[0],
    )


def _images(folder: Path) -> list[Path]:
    images = folder / 'image_2'
    if not images.is_dir():
        splits = sorted(place.parent.name for place in folder.glob('*/image_2'))
        hint = f'; it has the splits {", ".join(splits)}: add @{splits[0]}' if splits else ''
        raise DatasetError(
            f'{folder}: expected a folder image_2 with images and label_2 beside it, got none'
            f'{hint}'
        )
    found = sorted(path for path in images.iterdir() if path.suffix.lower() in PICTURES)
    if not found:
        raise DatasetError(f'{images}: expected images, got none')
    return found
