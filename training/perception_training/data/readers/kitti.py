"""KITTI object detection (Geiger et al. 2012): boxes of left colour images."""

from pathlib import Path

from perception_ros.evaluation.datasets.kitti import CLASSES, DONT_CARE, read_object
from perception_training.config.labels import LabelsConfig
from perception_training.config.sources import KittiConfig
from perception_training.data.classes import box_map
from perception_training.data.files import folder_of, read_lines
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
from perception_training.errors import DataError


class Kitti(PairedFiles):
    """Training's images; there are no others with labels."""

    def __init__(self, config: KittiConfig, labels: LabelsConfig, root: Path) -> None:
        """
        Look what is there.

        :raises DataError: files are missing, or a class leads nowhere.
        """
        if config.drives is not None and config.mapping is None:
            raise DataError('kitti: expected mapping, which tells the drive of an image, beside '
                            'drives; or frames with a list of images')
        self.tells_drives = config.mapping is not None
        folder = folder_of(root / config.folder, 'kitti')
        self._recordings = [] if config.mapping is None else _recordings(root / config.mapping)
        super().__init__(
            'kitti', config, by_name((folder / 'image_2').glob('*'), folder / 'image_2'))
        self.texts = folder / 'label_2', '.txt'
        self._map = box_map('kitti', CLASSES, config, labels)
        if self._map is not None:
            self.labelled = self._map.labelled

    def drive(self, name: str) -> str:
        """
        Give the recording of an image, such as 2011_09_26_drive_0005_sync.

        :raises DataError: the mapping does not say it.
        """
        if not name.isdigit() or int(name) >= len(self._recordings):
            raise DataError(f'kitti: expected the image {name!r} in the mapping, which has '
                            f'{len(self._recordings)}')
        return self._recordings[int(name)]

    def labels(self, index: int, size: Size, report: Report) -> Labels:
        """Read the boxes; DontCare is a region that may hold something."""
        found = Labels()
        path, = self.files(index)
        if self._map is None:
            return found
        with reported(report):
            for where, line in read_lines(path):
                with reported(report):
                    item = read_object(line, where)
                    label = UNKNOWN_BOX if item.name == DONT_CARE else \
                        self._map.named(item.name, where)
                    if label is not None:
                        found.things.append(Thing(where, item.box, label))
        return found


def _recordings(folder: Path) -> list[str]:
    """Give the recording of each image: line `rand[i]` of the mapping, counted from 1, is of i."""
    lines = [line.split() for _, line in read_lines(folder / 'train_mapping.txt')]
    path = folder / 'train_rand.txt'
    try:
        order = [int(word) for _, line in read_lines(path) for word in line.split(',') if word]
        return [lines[place - 1][1] for place in order]
    except (IndexError, ValueError) as error:
        raise DataError(f'{path}: expected line numbers of train_mapping.txt, with date, drive '
                        f'and frame in each; {error}') from error
