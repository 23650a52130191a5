"""YOLO text of any set, and the India Driving Dataset."""

from pathlib import Path
import re

from perception_ros.evaluation.datasets.folders import image_files, label_of
from perception_ros.evaluation.datasets.yolo import names_of, read_line
from perception_training.config.labels import LabelsConfig
from perception_training.config.sources import YoloTextConfig
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
from perception_training.errors import DataError


class YoloText(PairedFiles):
    """Images with boxes."""

    def __init__(self, config: YoloTextConfig, labels: LabelsConfig, root: Path) -> None:
        """
        Look what is there.

        :raises DataError: files are missing, nobody names the classes, or one leads nowhere.
        """
        name = f'{config.folder} {config.split}'.rstrip()
        folder = folder_of(root / config.folder, name)
        paths = image_files(folder, config.split)
        super().__init__(name, config, by_name(paths, paths[0].parent))
        self._theirs = names_of(folder, config.class_names)
        if config.class_names not in ((), self._theirs):
            raise DataError(f'{folder}: expected the class_names of the settings, '
                            f'{list(config.class_names)}, got {list(self._theirs)}; leave '
                            'class_names out where the folder names its classes')
        self._empty = config.empty
        self.texts = label_of(paths[0], '.txt').parent, '.txt'
        self._map = box_map(name, self._theirs, config, labels)
        if self._map is not None:
            self.labelled = self._map.labelled

    def files(self, index: int) -> tuple[Path, ...]:
        """Give the text beside the image; none, where that means that there is no box."""
        path = label_of(self.images[index], '.txt')
        return () if self._empty and not path.is_file() else (path,)

    def labels(self, index: int, size: Size, report: Report) -> Labels:
        """Read the boxes of an image."""
        found = Labels()
        if self._map is None:
            return found
        for path in self.files(index):
            with reported(report):
                for where, line in read_lines(path):
                    with reported(report):
                        theirs, box = read_line(line, where, len(self._theirs))
                        label = self._map.label(theirs, where)
                        if label is not None:
                            x1, y1, x2, y2 = (
                                v * side for v, side in zip(box, size * 2, strict=True))
                            found.things.append(Thing(where, (x1, y1, x2, y2), label))
        return found


class Idd(YoloText):
    """The India Driving Dataset."""

    def drive(self, name: str) -> str:
        """Give the recording date, the unit that is held out as a whole."""
        return recording_date(name)


def recording_date(name: str) -> str:
    """
    Give the recording date in the name of an IDD image.

    File names hold camera, date and time in several layouts, and one ride is cut into files that
    start minutes apart; the date is what all layouts have and never splits a ride.

    :raises DataError: the name holds no date, or several.
    """
    dates = set(re.findall(r'20\d\d-\d\d-\d\d', name))
    if len(dates) != 1:
        raise DataError(f'expected one recording date in {name!r}, got {sorted(dates)}')
    return dates.pop()
