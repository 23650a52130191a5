"""COCO files: boxes, and outlines as polygons or run lengths."""

from pathlib import Path
from typing import Any

from faster_coco_eval.core import mask as runs
import numpy as np
from numpy.typing import NDArray

from perception_ros.evaluation.datasets.coco import compressed, load_coco
from perception_ros.evaluation.datasets.places import JsonEntry
from perception_training.config.labels import LabelsConfig
from perception_training.config.sources import CocoConfig
from perception_training.data.classes import box_map
from perception_training.data.files import folder_of
from perception_training.data.readers.images import (
    ImageFiles,
    Labels,
    Report,
    reported,
    Size,
    Thing,
)
from perception_training.data.sample import UNKNOWN_BOX
from perception_training.errors import DataError


class Coco(ImageFiles):
    """The images of one file."""

    tells_drives = False

    def __init__(self, config: CocoConfig, labels: LabelsConfig, root: Path) -> None:
        """
        Read the file.

        :raises DataError: it is missing or damaged, or a class leads nowhere.
        """
        name = Path(config.annotations).stem
        folder = folder_of(root / config.folder, name)
        self._file = load_coco(root / config.annotations, [folder])
        ids = {path.relative_to(folder).with_suffix('').as_posix(): (key, path)
               for key, path in self._file.images.items()}
        if len(ids) < len(self._file.images):
            raise DataError(f'{self._file.path}: expected file names that differ, got '
                            f'{len(self._file.images)} images of {len(ids)} names')
        super().__init__(name, config, {n: path for n, (_, path) in ids.items()})
        self._ids = [ids[n][0] for n in self.names]
        self._map = box_map(name, self._file.classes, config, labels)
        if self._map is not None:
            self.labelled, self.outlined = self._map.labelled, config.outlines

    def files(self, index: int) -> tuple[Path, ...]:
        """Give the one file."""
        return (self._file.path,)

    def labels(self, index: int, size: Size, report: Report) -> Labels:
        """Read the objects; a crowd is a region that may hold something."""
        found = Labels()
        if self._map is None:
            return found
        for item in self._file.objects(self._ids[index], report):
            with reported(report):
                label = self._map.label(item.label, item.where)
                if label is not None:
                    found.things.append(Thing(
                        item.where, item.box, UNKNOWN_BOX if item.crowd else label,
                        outline(item.outline, size, item.where) if self.outlined else None))
        return found


def outline(given: Any, size: Size, where: JsonEntry) -> NDArray[np.uint8]:
    """
    Draw an outline, uint8 `[H, W]` 0 or 1.

    :param given: polygons, or run lengths as a list or in COCO's compressed text.
    :param size: width and height of the image.
    :raises DatasetError: it is none of these, or of another size.
    """
    mask: NDArray[np.uint8] = runs.decode(compressed(given, size, where))
    return mask
