"""YOLO text: beside each image a file with a line `class cx cy w h` for each box."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml

from perception_ros.core.errors import DatasetError
from perception_ros.evaluation.datasets.base import BoxDataset, Size, TrueBoxes
from perception_ros.evaluation.datasets.folders import class_names, image_files, label_of

Corners = tuple[float, float, float, float]


def read_yolo(root: Path, split: str, labels: Sequence[str] | None) -> BoxDataset:
    """Return the data in a folder with `images` and `labels`; an image without a file has no box.

    :param labels: class names, for a folder that has neither data.yaml nor classes.txt.
    :raises DatasetError: there are no images, no labels, or nobody names the classes.
    """
    images = image_files(root, split)
    if not any(label_of(image, '.txt').is_file() for image in images):
        raise DatasetError(
            f'{root}: expected labels such as {label_of(images[0], ".txt")}, got none'
        )
    classes = names_of(root, labels or ())

    def truth(image: Path, size: Size) -> TrueBoxes:
        return _read(label_of(image, '.txt'), len(classes), size)

    return BoxDataset(str(root), classes, images, truth)


def names_of(root: Path, given: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the class names in ROOT/data.yaml or ROOT/classes.txt, else those given.

    :raises DatasetError: there are none, or data.yaml is damaged.
    """
    names = _from_yaml(root / 'data.yaml') or class_names(root) or tuple(given)
    if not names:
        raise DatasetError(
            f'{root}: nothing says what the class ids mean; expected data.yaml with names or '
            'classes.txt in it, or --labels (class_names in settings of a training)'
        )
    return names


def read_line(line: str, where: str, classes: int) -> tuple[int, Corners]:
    """Return the class and the corners of `class cx cy w h`, as shares of the image.

    :param where: file and line, for the error.
    :raises DatasetError: the line is something else, or has no class below `classes`.
    """
    try:
        row = [float(part) for part in line.split()]
    except ValueError:
        row = []
    if len(row) != 5 or not np.isfinite(row).all() or row[0] not in range(classes):
        raise DatasetError(
            f'{where}: expected "class cx cy w h" with a class of 0..{classes - 1} and shares of '
            f'the image, got {line!r}'
        )
    _, x, y, width, height = row
    return int(row[0]), (x - width / 2, y - height / 2, x + width / 2, y + height / 2)


def _read(path: Path, classes: int, size: Size) -> TrueBoxes:
    lines = path.read_text(encoding='utf-8').splitlines() if path.is_file() else []
    rows = [read_line(line, f'{path}:{number}', classes)
            for number, line in enumerate(lines, 1) if line.strip()]
    boxes = np.array([corners for _, corners in rows], np.float64).reshape(-1, 4)
    labels = np.array([label for label, _ in rows], np.int64)
    return TrueBoxes(boxes * (*size, *size), labels, np.zeros(len(rows), bool))


def _from_yaml(path: Path) -> tuple[str, ...]:
    """Return the names in a data.yaml, a list or a mapping from ids; none where it is missing."""
    if not path.is_file():
        return ()
    try:
        names = yaml.safe_load(path.read_text(encoding='utf-8'))['names']
        ids = range(len(names))
        return tuple(str(names[i]) for i in ids)
    except (yaml.YAMLError, UnicodeDecodeError, TypeError, KeyError) as error:
        raise DatasetError(
            f'{path}: expected `names`, a list or a mapping from 0, 1, ...; {error}'
        ) from error
