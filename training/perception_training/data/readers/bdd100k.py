"""BDD100K (Yu et al. 2020): boxes, drivable area and lane marks of single frames."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perception_ros.evaluation.datasets.places import JsonEntry, JsonFile
from perception_training.config.labels import LabelsConfig
from perception_training.config.sources import Bdd100kConfig
from perception_training.data.classes import box_map, ClassMap, OTHERS
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
from perception_training.data.sample import UNKNOWN_BOX
from perception_training.errors import DataError

CLASSES = ('pedestrian', 'rider', 'car', 'truck', 'bus', 'train', 'motorcycle', 'bicycle',
           'traffic light', 'traffic sign')
NAMES_OF_2018 = {'person': 'pedestrian', 'bike': 'bicycle', 'motor': 'motorcycle'}
UNCOUNTED = ('other person', 'other vehicle', 'trailer')
"""Labelled in 2020, but neither to be found nor wrong."""
DRIVABLE = ('direct', 'alternative', 'background')
LANE = ('crosswalk', 'double other', 'double white', 'double yellow', 'road curb', 'single other',
        'single white', 'single yellow', 'background')
BOX_FILES = ('labels/det_20/det_{split}.json', 'labels/bdd100k_labels_images_{split}.json')
"""Of 2020, and of 2018."""
BOX_FOLDER = 'labels/100k/{split}'
"""Of 2018 too, a file for each image."""


class Bdd100k(ImageFiles):
    """One split of the 100K images."""

    tells_drives = False

    def __init__(self, config: Bdd100kConfig, labels: LabelsConfig, root: Path) -> None:
        """
        Look what is there, and read the boxes' file where boxes are learnt.

        :raises DataError: files are missing or damaged, or a class leads nowhere.
        """
        name = f'bdd100k {config.split}'
        top = root / config.folder
        folder = folder_of(top / 'images/100k' / config.split, name)
        images = by_name(folder.glob('*'), folder)
        self._map = box_map(name, CLASSES, config, labels)
        if self._map is not None:
            self.labelled = self._map.labelled
            self._boxes = _boxes(top, config.split)
            # The newer file leaves out frames that nobody labelled: these are not without objects.
            images = {n: images.get(n, folder / f'{n}.jpg') for n in self._boxes}
        super().__init__(name, config, images)
        if unknown := sorted(set(config.semantic_classes) - {*DRIVABLE, *LANE, OTHERS}):
            raise DataError(f'{name}: expected semantic_classes to name some of '
                            f'{[*DRIVABLE, *LANE]}, got {unknown}')
        self._maps: dict[str, tuple[Path, ClassMap]] = {}
        self._lane = config.lane
        for head, kind, theirs in ((config.drivable, 'drivable', DRIVABLE),
                                   (config.lane, 'lane', LANE)):
            if head in labels.semantic:
                given = {n: ours for n, ours in config.semantic_classes.items()
                         if n in (*theirs, OTHERS)}
                self._maps[head] = (top / 'labels' / kind / 'masks' / config.split, ClassMap(
                    f'{name} {kind}', theirs, labels.semantic[head], given))

    def files(self, index: int) -> tuple[Path, ...]:
        """Give the file of boxes and the label maps, as far as they are read."""
        boxes = [self._boxes[self.names[index]].file.path] if self._map is not None else []
        return (*boxes, *(f / f'{self.names[index]}.png' for f, _ in self._maps.values()))

    def labels(self, index: int, size: Size, report: Report) -> Labels:
        """Read boxes and label maps."""
        found = Labels()
        if self._map is not None:
            with reported(report):
                for where, entry in self._boxes[self.names[index]].entries():
                    with reported(report):
                        thing = _thing(entry, self._map, where)
                        if thing is not None:
                            found.things.append(thing)
        for head, (folder, classes) in self._maps.items():
            with reported(report):
                path = folder / f'{self.names[index]}.png'
                ids = read_ids(path, size)
                ids = lane_ids(ids) if head == self._lane else ids
                found.maps[head] = classes.ids(ids, (255,), str(path))
        return found


def lane_ids(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Turn bytes of a lane mask into places in LANE: bits 0 to 2 are the kind, 3 background."""
    return np.where(values & 8, LANE.index('background'), values & 7).astype(np.uint8)


def _thing(entry: Mapping[str, Any], classes: ClassMap, where: JsonEntry) -> Thing | None:
    """Read one label; none for what has no box (lanes, areas) or is background to us."""
    try:
        name = entry['category']
        box = entry.get('box2d')
        if box is None:
            return None
        corners = tuple(float(box[key]) for key in ('x1', 'y1', 'x2', 'y2'))
        crowd = bool((entry.get('attributes') or {}).get('crowd', False))
        if not np.isfinite(corners).all():
            raise ValueError(f'box2d {box}')
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(f'{where}: expected category and box2d with x1, y1, x2 and y2; '
                        f'{type(error).__name__}: {error}') from error
    if name in UNCOUNTED:
        return Thing(where, corners, UNKNOWN_BOX)
    label = classes.named(NAMES_OF_2018.get(name, name), where)
    return None if label is None else Thing(where, corners, UNKNOWN_BOX if crowd else label)


@dataclass(frozen=True)
class _Frame:
    """Where the labels of an image are."""

    file: JsonFile
    keys: tuple[str | int, ...] = ()
    """Of the frame in a file of many; none = the file is of this image alone."""
    labels: Sequence[Any] | None = None

    def entries(self) -> list[tuple[JsonEntry, Any]]:
        """Give each label with its place."""
        if self.keys:
            return [(self.file.entry(*self.keys, 'labels', i), entry)
                    for i, entry in enumerate(self.labels or ())]
        content = _json(self.file.path)
        try:
            return [(self.file.entry('frames', 0, 'objects', i), entry)
                    for i, entry in enumerate(content['frames'][0]['objects'])]
        except (IndexError, KeyError, TypeError) as error:
            raise DataError(f'{self.file.path}: expected one frame with objects; '
                            f'{type(error).__name__}: {error}') from error


def _boxes(top: Path, split: str) -> dict[str, _Frame]:
    """Find the labels of each image, by its name without .jpg."""
    whole = [top / name.format(split=split) for name in BOX_FILES]
    single = top / BOX_FOLDER.format(split=split)
    for path in whole:
        if path.is_file():
            content, file = _json(path), JsonFile(path)
            above = ('frames',) if isinstance(content, dict) else ()
            try:
                frames = content['frames'] if above else content
                return {Path(frame['name']).stem: _Frame(file, (*above, i), frame.get('labels'))
                        for i, frame in enumerate(frames)}
            except (AttributeError, KeyError, TypeError) as error:
                raise DataError(f'{path}: expected a list of frames with their names; '
                                f'{type(error).__name__}: {error}') from error
    if single.is_dir():
        return {path.stem: _Frame(JsonFile(path)) for path in single.glob('*.json')}
    raise DataError(f'bdd100k {split}: expected boxes in {whole[0]}, in {whole[1]}, or a file for '
                    f'each image in {single}; there is neither')


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding='utf-8'))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(f'{path}: expected a readable JSON file; {error}') from error
