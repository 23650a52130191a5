"""YOLO text: beside each image a file with a line `class cx cy w h` for each box."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml

from perception_ros.core.errors import DatasetError
from perception_ros.evaluation.datasets.base import BoxDataset, Size, TrueBoxes
from perception_ros.evaluation.datasets.folders import class_names, image_files, label_of


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
    classes = _from_yaml(root / 'data.yaml') or class_names(root) or tuple(labels or ())
    if not classes:
        raise DatasetError(
            f'{root}: nothing says what the class ids mean; expected data.yaml with names or '
            'classes.txt in it, or --labels'
        )

    def truth(image: Path, size: Size) -> TrueBoxes:
        return _read(label_of(image, '.txt'), len(classes), size)

    return BoxDataset(str(root), classes, images, truth)


def _read(path: Path, classes: int, size: Size) -> TrueBoxes:
    rows = []
    lines = path.read_text(encoding='utf-8').splitlines() if path.is_file() else []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = [float(part) for part in line.split()]
        except ValueError:
            row = []
        if len(row) != 5 or not np.isfinite(row).all() or row[0] not in range(classes):
            raise DatasetError(
                f'{path}:{number}: expected "class cx cy w h" with a class of 0..{classes - 1} '
                f'and shares of the image, got {line!r}'
            )
        rows.append(row)
    table = np.array(rows, np.float64).reshape(-1, 5)
    centre, extent = table[:, 1:3], table[:, 3:5]
    boxes = np.hstack((centre - extent / 2, centre + extent / 2)) * (*size, *size)
    return TrueBoxes(boxes, table[:, 0].astype(np.int64), np.zeros(len(table), bool))


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
