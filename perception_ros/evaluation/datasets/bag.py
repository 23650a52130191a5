"""A labelled bag, as `perception_ros bag make` writes one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from perception_ros.bags import is_bag
from perception_ros.bags.labelled import BOXES, LabelledBag, LabelledFrame
from perception_ros.core.errors import BagError, DatasetError, ImageError
from perception_ros.core.image import Image
from perception_ros.evaluation.datasets.base import BoxDataset, MaskDataset, Size, TrueBoxes


def read_bag(
    path: Path, split: str, labels: Sequence[str] | None
) -> BoxDataset | MaskDataset:
    """Return the images of a bag that have labels.

    The bag is closed with the last data set that reads from it, or when the process ends.

    Images are named BAG/CAMERA/STAMP; no such files exist.

    :param split: what to measure where a bag has several: 'detections' or 'semantic/<head>'.
    :param labels: not used, a bag names its classes.
    :raises DatasetError: it is no labelled bag, or has nothing of that kind.
    """
    if not is_bag(path):
        raise DatasetError(f'{path}: expected a bag (.mcap, .db3, .bag) or a folder of one')
    try:
        bag = LabelledBag(path)
    except BagError as error:
        raise DatasetError(str(error)) from error
    try:
        bag.check_whole()
        kind = _kind(bag, path, split)
        classes = bag.classes(kind)
    except (BagError, DatasetError) as error:
        bag.close()
        raise DatasetError(str(error)) from error
    return labelled_data(bag, kind, classes)


def labelled_data(
    bag: LabelledBag, kind: str, classes: tuple[str, ...]
) -> BoxDataset | MaskDataset:
    """Return the images of an open bag that have labels of a kind, named BAG/CAMERA/STAMP.

    :param classes: of that kind, as the bag names them.
    """
    frames = {
        bag.path / frame.camera / str(frame.stamp_ns): frame
        for frame in bag.frames if frame.place(kind)
    }

    def image(key: Path) -> Image:
        try:
            return bag.image(frames[key])
        except BagError as error:
            raise ImageError(str(error)) from error

    def boxes(key: Path, size: Size) -> TrueBoxes:
        try:
            return _true_boxes(bag, frames[key], classes)
        except BagError as error:
            raise DatasetError(str(error)) from error

    def mask(key: Path) -> NDArray[np.uint8]:
        try:
            return bag.label_map(frames[key], kind)
        except BagError as error:
            raise DatasetError(str(error)) from error

    if kind == BOXES:
        return BoxDataset(str(bag.path), classes, tuple(frames), boxes, read=image)
    return MaskDataset(str(bag.path), classes, tuple(frames), mask, read=image)


def _kind(bag: LabelledBag, path: Path, split: str) -> str:
    kinds = bag.kinds
    if split and split not in kinds:
        raise DatasetError(f'{path}: it has no {split}; expected @ and one of {", ".join(kinds)}')
    if not split and len(kinds) > 1:
        raise DatasetError(
            f'{path}: it has {", ".join(kinds)}; say which is to be measured, such as @{kinds[0]}'
        )
    return split or kinds[0]


def _true_boxes(bag: LabelledBag, frame: LabelledFrame, classes: Sequence[str]) -> TrueBoxes:
    """Return the true boxes of a frame that has some; what nobody knows is a crowd of each class.

    :param classes: those that the bag lists.
    :raises BagError: they cannot be read.
    :raises DatasetError: one is of another class.
    """
    true = bag.boxes(frame)
    rows: list[tuple[int, int, bool]] = []
    for index, name in enumerate(true.names):
        if name is None:  # nobody knows what is there, of whatever class
            rows += [(index, label, True) for label in range(len(classes))]
        elif name in classes:
            rows.append((index, classes.index(name), False))
        else:
            raise DatasetError(
                f'{frame.name}: a box is of class {name!r}, which the bag does not list; expected '
                f'one of {", ".join(classes)}'
            )
    indices, labels, crowd = (np.array([row[i] for row in rows], int) for i in range(3))
    return TrueBoxes(
        true.boxes[indices], labels, crowd.astype(np.bool_), true.distances_m[indices]
    )
