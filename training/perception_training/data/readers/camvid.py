"""CamVid (Brostow et al. 2009): frames of driving videos with label maps."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from perception_training.config.data import CamVidConfig
from perception_training.config.labels import LabelsConfig
from perception_training.data.classes import ClassMap
from perception_training.data.files import folder_of, read_ids, read_rgb
from perception_training.data.sample import Sample, UNKNOWN_BOX

CLASSES = ('sky', 'building', 'pole', 'road', 'pavement', 'tree', 'sign', 'fence', 'car',
           'pedestrian', 'cyclist')
VOID = 11
COUNTABLE = ('car', 'pedestrian')
LEAST_AREA_PX = 50


class CamVid:
    """One split; label maps for one head, and on demand regions that stand for instances."""

    def __init__(self, config: CamVidConfig, labels: LabelsConfig, root: Path) -> None:
        """
        Look what is there.

        :raises DataError: the folder is missing, or a class leads nowhere.
        """
        self.name = f'camvid {config.split}'
        self._head = config.head
        folder = folder_of(root / 'camvid' / config.split, self.name)
        self._images = sorted((folder / 'images').glob('*.jpg'))
        self._labels = folder / 'labels'
        self._map = None
        if config.head in labels.semantic:
            self._map = ClassMap(self.name, CLASSES, labels.semantic[config.head],
                                 config.semantic_classes)
        self._boxes = ClassMap(self.name, COUNTABLE, labels.boxes, config.classes) \
            if config.instances else None

    @property
    def names(self) -> tuple[str, ...]:
        """Stems of the files: sequence and frame number."""
        return tuple(path.stem for path in self._images)

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Sample:
        path = self._images[index]
        image = read_rgb(path)
        label = self._labels / f'{path.stem}.png'
        ids = read_ids(label, (image.shape[1], image.shape[0]))
        semantic = {}
        if self._map is not None:
            semantic[self._head] = self._map.ids(ids, (VOID,), str(label))
        if self._boxes is None:
            return Sample(path.stem, image, semantic=semantic)
        boxes, labels, masks = regions(ids, self._boxes)
        return Sample(path.stem, image, boxes, labels, self._boxes.labelled, masks, semantic)


def regions(ids: NDArray[np.uint8], classes: ClassMap) -> tuple[
        NDArray[np.float32], NDArray[np.int64], NDArray[np.uint8]]:
    """
    Give boxes `[N, 4]`, labels `[N]` and masks `[N, H, W]` of connected regions of one class.

    CamVid labels no instances. Cars that touch come out as one, a car behind a pole as two; a
    region of a few pixels is unknown.
    """
    boxes, labels, masks = [], [], []
    for place, name in enumerate(COUNTABLE):
        whole = (ids == CLASSES.index(name)).astype(np.uint8)
        count, parts, stats, _ = cv2.connectedComponentsWithStats(whole, connectivity=8)
        for part in range(1, count):
            x, y, width, height, area = stats[part]
            boxes.append((x, y, x + width, y + height))
            large = area >= LEAST_AREA_PX
            labels.append(classes.label(place, name) if large else UNKNOWN_BOX)
            masks.append((parts == part).astype(np.uint8))
    return (np.array(boxes, np.float32).reshape(-1, 4), np.array(labels, np.int64),
            np.array(masks, np.uint8).reshape(-1, *ids.shape))
