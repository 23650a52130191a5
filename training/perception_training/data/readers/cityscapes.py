"""Cityscapes (Cordts et al. 2016): label maps, and instances of what can be counted."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from perception_training.config.labels import LabelsConfig
from perception_training.config.sources import CityscapesConfig
from perception_training.data.classes import box_map, ClassMap, pixel_map
from perception_training.data.files import folder_of, read_ids
from perception_training.data.readers.images import (
    by_name,
    ImageFiles,
    Labels,
    Report,
    reported,
    Size,
    Thing,
)
from perception_training.data.sample import UNKNOWN, UNKNOWN_BOX
from perception_training.errors import DataError

TRAINED = {
    7: 'road', 8: 'sidewalk', 11: 'building', 12: 'wall', 13: 'fence', 17: 'pole',
    19: 'traffic light', 20: 'traffic sign', 21: 'vegetation', 22: 'terrain', 23: 'sky',
    24: 'person', 25: 'rider', 26: 'car', 27: 'truck', 28: 'bus', 31: 'train', 32: 'motorcycle',
    33: 'bicycle'}
"""Id in label maps -> class, of the 19 that are evaluated; the others are void."""
CLASSES = tuple(TRAINED.values())
COUNTABLE = tuple(TRAINED[i] for i in (24, 25, 26, 27, 28, 31, 32, 33))
LAST_ID = 33
PER_CLASS = 1000
"""An instance has the id class * 1000 + number; a group that nobody told apart has its class's."""
_TRAIN_IDS = np.full(256, UNKNOWN, np.uint8)
_TRAIN_IDS[list(TRAINED)] = np.arange(len(TRAINED))


class Cityscapes(ImageFiles):
    """One split."""

    def __init__(self, config: CityscapesConfig, labels: LabelsConfig, root: Path) -> None:
        """
        Look what is there.

        :raises DataError: the folder is missing, or a class leads nowhere.
        """
        name = f'cityscapes {config.split}'
        top = root / config.folder
        folder = folder_of(top / 'leftImg8bit' / config.split, name)
        super().__init__(name, config, by_name(folder.glob('*/*'), folder, '_leftImg8bit'))
        self._head, self._truth = config.head, top / 'gtFine' / config.split
        self._map = pixel_map(name, CLASSES, config, labels, config.head)
        self._boxes = box_map(name, COUNTABLE, config, labels)
        if self._boxes is not None:
            self.labelled, self.outlined = self._boxes.labelled, config.outlines

    def files(self, index: int) -> tuple[Path, ...]:
        """Give the label map and the map of instances, as far as they are read."""
        stem = f'{self.names[index]}_gtFine'
        maps = [self._truth / f'{stem}_labelIds.png'] if self._map is not None else []
        things = [self._truth / f'{stem}_instanceIds.png'] if self._boxes is not None else []
        return (*maps, *things)

    def labels(self, index: int, size: Size, report: Report) -> Labels:
        """Read label map and instances; a group is a region that may hold something."""
        found = Labels()
        for path in self.files(index):
            with reported(report):
                if self._map is not None and path.stem.endswith('labelIds'):
                    ids = read_ids(path, size)
                    _require_known(np.unique(ids), path)
                    found.maps[self._head] = self._map.ids(_TRAIN_IDS[ids], (UNKNOWN,), str(path))
                elif self._boxes is not None:
                    ids = read_ids(path, size, np.uint16)
                    found.things.extend(instances(ids, self._boxes, path, self.outlined))
        return found


def instances(ids: NDArray[np.uint16], classes: ClassMap, path: Path,
              outlined: bool) -> list[Thing]:
    """
    Give the instances of a map `[H, W]`, and of each group the connected regions as unknown.

    :raises DataError: an id belongs to no class.
    """
    things = []
    values = np.unique(ids)
    _require_known(values, path)
    for value in values.tolist():
        name = TRAINED.get(value // PER_CLASS or value)
        if name not in COUNTABLE:
            continue
        label = classes.named(name, str(path))
        whole = (ids == value).astype(np.uint8)
        regions = [whole]
        if value < PER_CLASS:
            label = UNKNOWN_BOX if label is not None else None
            count, parts = cv2.connectedComponents(whole, connectivity=8)
            regions = [(parts == i).astype(np.uint8) for i in range(1, count)]
        for region in regions if label is not None else ():
            x, y, width, height = cv2.boundingRect(region)
            things.append(Thing(f'{path}: instance {value}', (x, y, x + width, y + height), label,
                                region if outlined else None))
    return things


def _require_known(values: NDArray[np.unsignedinteger], path: Path) -> None:
    if unknown := [v for v in values.tolist() if (v // PER_CLASS or v) > LAST_ID]:
        raise DataError(f'{path}: expected class ids from 0 to {LAST_ID}, or {PER_CLASS} times '
                        f'these and a number for instances, got {unknown}; is this a map of ids, '
                        'not of train ids or colours?')
