"""CamVid (Brostow et al. 2009): frames of driving videos with label maps."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from perception_training.config.labels import LabelsConfig
from perception_training.config.sources import CamVidConfig
from perception_training.data.classes import box_map, ClassMap, pixel_map
from perception_training.data.files import folder_of, read_ids
from perception_training.data.readers.images import (
    by_name,
    Labels,
    PairedFiles,
    Report,
    reported,
    Size,
    Thing,
)
from perception_training.data.sample import UNKNOWN_BOX

CLASSES = ('sky', 'building', 'pole', 'road', 'pavement', 'tree', 'sign', 'fence', 'car',
           'pedestrian', 'cyclist')
VOID = 11
COUNTABLE = ('car', 'pedestrian')
LEAST_AREA_PX = 50


class CamVid(PairedFiles):
    """One split; label maps for one head, and on demand regions that stand for instances."""

    def __init__(self, config: CamVidConfig, labels: LabelsConfig, root: Path) -> None:
        """
        Look what is there.

        :raises DataError: the folder is missing, or a class leads nowhere.
        """
        name = f'camvid {config.split}'
        folder = folder_of(root / 'camvid' / config.split, name)
        super().__init__(name, config, by_name((folder / 'images').glob('*'), folder / 'images'))
        self._head = config.head
        self.texts = folder / 'labels', '.png'
        self._map = pixel_map(name, CLASSES, config, labels, config.head)
        self._boxes = box_map(name, COUNTABLE, config, labels) if config.instances else None
        if self._boxes is not None:
            self.labelled, self.outlined = self._boxes.labelled, True

    def labels(self, index: int, size: Size, report: Report) -> Labels:
        """Read the label map; an id that there is not makes all of it unknown."""
        found = Labels()
        path, = self.files(index)
        with reported(report):
            ids = read_ids(path, size)
            if self._map is not None:
                found.maps[self._head] = self._map.ids(ids, (VOID,), str(path))
            if self._boxes is not None:
                found.things.extend(regions(ids, self._boxes, str(path)))
        return found


def regions(ids: NDArray[np.uint8], classes: ClassMap, where: str) -> list[Thing]:
    """
    Give connected regions of one class as objects with outlines.

    CamVid labels no instances. Cars that touch come out as one, a car behind a pole as two; a
    region of a few pixels is unknown.
    """
    things = []
    for place, name in enumerate(COUNTABLE):
        label = classes.label(place, where)
        if label is None:
            continue
        whole = (ids == CLASSES.index(name)).astype(np.uint8)
        count, parts, stats, _ = cv2.connectedComponentsWithStats(whole, connectivity=8)
        for region in range(1, count):
            x, y, width, height, area = (int(value) for value in stats[region])
            things.append(Thing(
                f'{where}: {name} at ({x}, {y})', (x, y, x + width, y + height),
                label if area >= LEAST_AREA_PX else UNKNOWN_BOX,
                (parts == region).astype(np.uint8)))
    return things
