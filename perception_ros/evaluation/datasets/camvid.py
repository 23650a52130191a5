"""Masks in the manner of CamVid: beside each image a PNG of the same name with class ids."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from perception_ros.core.errors import DatasetError
from perception_ros.core.types import UNLABELLED
from perception_ros.evaluation.datasets.base import MaskDataset
from perception_ros.evaluation.datasets.folders import class_names, image_files, label_of

CAMVID = (
    'sky', 'building', 'pole', 'road', 'pavement', 'tree', 'sign', 'fence', 'car', 'pedestrian',
    'cyclist', 'void',
)
VOID = frozenset({'void', 'ignore', 'unlabelled', 'unlabeled'})
"""Names of classes that say that nothing is known."""


def read_camvid(root: Path, split: str, labels: Sequence[str] | None) -> MaskDataset:
    """Return the data in a folder with `images` and `labels`.

    :param labels: not used, class names are in classes.txt, or CamVid's own.
    :raises DatasetError: there are no images, or one has no label.
    """
    images = image_files(root, split)
    for image in images:
        if not label_of(image, '.png').is_file():
            raise DatasetError(f'{image}: expected its label {label_of(image, ".png")}, got none')
    names = class_names(root) or CAMVID
    classes = tuple(name for name in names if name.lower() not in VOID)
    index = np.full(256, UNLABELLED, np.uint8)
    for i, name in enumerate(names):
        if name in classes:
            index[i] = classes.index(name)

    def truth(image: Path) -> NDArray[np.uint8]:
        path = label_of(image, '.png')
        ids = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if ids is None or ids.ndim != 2 or ids.dtype != np.uint8:
            raise DatasetError(f'{path}: expected a PNG with one channel of 8 bits')
        unknown = ids[(ids >= len(names)) & (ids != UNLABELLED)]
        if unknown.size:
            raise DatasetError(
                f'{path}: expected class ids 0..{len(names) - 1}, or {UNLABELLED} where nothing '
                f'is known, got {unknown[0]}; name its class in {root / "classes.txt"}'
            )
        return np.asarray(index[ids], np.uint8)

    return MaskDataset(str(root), classes, images, truth)
