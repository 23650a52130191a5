"""India Driving Dataset: YOLO text, and a split by recording date."""

from pathlib import Path
import re

import numpy as np
from numpy.typing import NDArray

from perception_training.config.data import IddConfig
from perception_training.config.labels import LabelsConfig
from perception_training.data.classes import ClassMap
from perception_training.data.files import folder_of, read_rgb
from perception_training.data.sample import Sample
from perception_training.errors import DataError

CLASSES = ('car', 'bus', 'truck', 'person', 'motorbike', 'bicycle')


class Idd:
    """Images of the held-out drives, or of all others, with boxes."""

    def __init__(self, config: IddConfig, labels: LabelsConfig, root: Path) -> None:
        """
        Look what is there.

        :raises DataError: files are missing, or a class leads nowhere.
        """
        self.name = 'idd held out' if config.held_out else 'idd'
        self._root = folder_of(root / 'idd', self.name)
        self._map = ClassMap(self.name, CLASSES, labels.boxes, config.classes)
        stems = sorted(p.stem for p in (self._root / 'images').glob('*.jpg'))
        self._stems = split(stems, config.drives, config.held_out)

    @property
    def names(self) -> tuple[str, ...]:
        """Stems of the files."""
        return tuple(self._stems)

    def __len__(self) -> int:
        return len(self._stems)

    def __getitem__(self, index: int) -> Sample:
        stem = self._stems[index]
        image = read_rgb(self._root / 'images' / f'{stem}.jpg')
        path = self._root / 'labels' / f'{stem}.txt'
        boxes, labels = read_yolo(path, (image.shape[1], image.shape[0]), self._map)
        return Sample(stem, image, boxes, labels, self._map.labelled)


def read_yolo(path: Path, size: tuple[int, int], classes: ClassMap) -> tuple[
        NDArray[np.float32], NDArray[np.int64]]:
    """
    Read lines `class cx cy w h`, relative to the image.

    :param size: width and height of the image in pixels.
    :returns: boxes `[N, 4]` in pixels, labels `[N]`.
    :raises DataError: a line is something else, or names a class that there is not.
    """
    if not path.is_file():
        raise DataError(f'{path}: expected YOLO text beside the images, there is no such file')
    boxes, labels = [], []
    for number, line in enumerate(path.read_text(encoding='utf-8').splitlines(), 1):
        if not line.strip():
            continue
        where = f'{path}:{number}'
        try:
            name, *place = line.split()
            x, y, width, height = (float(value) for value in place)
            label = int(name)
        except ValueError as error:
            raise DataError(f'{where}: expected `class cx cy w h`, got {line!r}') from error
        labels.append(classes.label(label, where))
        boxes.append((x - width / 2, y - height / 2, x + width / 2, y + height / 2))
    relative = np.array(boxes, np.float64).reshape(-1, 4)
    return (relative * [*size, *size]).astype(np.float32), np.array(labels, np.int64)


def split(names: list[str], drives: Path, held_out: bool) -> list[str]:
    """
    List the names of the drives that a file holds, or of all others.

    :raises DataError: no image is of a drive that the file names.
    """
    try:
        dates = set(drives.read_text(encoding='utf-8').split())
    except OSError as error:
        raise DataError(f'{drives}: expected a list of recording dates; {error}') from error
    unknown = dates - {drive_of(name) for name in names}
    if unknown:
        raise DataError(f'{drives}: no image has the dates {sorted(unknown)}')
    return [name for name in names if (drive_of(name) in dates) == held_out]


def drive_of(name: str) -> str:
    """
    Give the recording date of an IDD image, the unit that is held out as a whole.

    File names hold camera, date and time in several layouts, and one ride is cut into files that
    start minutes apart; the date is what all layouts have and never splits a ride.

    :raises DataError: the name holds no date, or several.
    """
    dates = set(re.findall(r'20\d\d-\d\d-\d\d', name))
    if len(dates) != 1:
        raise DataError(f'expected one recording date in {name!r}, got {sorted(dates)}')
    return dates.pop()
