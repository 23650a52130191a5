"""
Labels from teachers for what a data set does not label.

Everything that a teacher is not sure of is marked as unknown. Teachers see training images only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from perception_training.config import Config
from perception_training.config.labels import LabelsConfig
from perception_training.config.sources import Pseudo
from perception_training.data.readers import Kept, Source
from perception_training.data.sample import EXCLUDED, Sample, UNKNOWN, UNKNOWN_BOX
from perception_training.data.teachers import BoxTeacher, Found, iou, RoadTeacher
from perception_training.errors import DataError

SURE = 0.45
# Of each class of boxes, the classes of a label map that must lie in its box.
AGREEING = {'car': ('car',), 'truck': ('car',), 'bus': ('car',),
            'person': ('pedestrian', 'cyclist'), 'bicycle': ('cyclist',)}
VEHICLES = ('car', 'truck', 'bus')


class Rules:
    """How teachers' finds become labels, for one choice of classes."""

    def __init__(self, labels: LabelsConfig, head: str, weight: float) -> None:
        """
        Look up the classes.

        :param head: semantic head that learns from the road teacher and confirms boxes.
        :param weight: what a pixel that a teacher labelled counts.
        :raises DataError: the rules do not know these classes.
        """
        names, scene = labels.boxes, labels.semantic.get(head, ())
        needed = {'road', *(name for group in AGREEING.values() for name in group)}
        if set(names) - set(AGREEING) or needed - set(scene):
            raise DataError(
                f'pseudo: expected boxes of {sorted(AGREEING)} and a head {head!r} with '
                f'{sorted(needed)}, got {list(names)} and {list(scene)}')
        self._head, self._weight = head, weight
        self._road, self._car = scene.index('road'), scene.index('car')
        self._agreeing = [[scene.index(n) for n in AGREEING[name]] for name in names]
        self._riders = [scene.index('cyclist')]
        self._people = [scene.index(n) for n in AGREEING['person']]
        self._vehicles = [names.index(n) for n in VEHICLES if n in names]
        self._labelled = np.ones(len(names), np.bool_)

    def confirm(self, sample: Sample, found: Found) -> Sample:
        """Add boxes that the label map confirms; other finds and boxless cars are unknown."""
        scene = sample.semantic[self._head]
        boxes: list[Any] = []
        labels: list[int] = []
        claimed = np.zeros(scene.shape, bool)
        for box, label, score in zip(found.boxes, found.labels, found.scores, strict=True):
            x0, y0, x1, y1 = box.round().astype(int)
            inside = scene[y0:y1, x0:x1]
            wanted = self._agreeing[label] if label >= 0 else self._riders
            agreeing = np.isin(inside, wanted).mean() if inside.size else 0.0
            if agreeing < 0.05 and score < SURE:
                continue
            sure = label >= 0 and ((score >= 0.2 and agreeing >= 0.4) or
                                   (score >= SURE and agreeing >= 0.2))
            boxes.append(box)
            labels.append(int(label) if sure else UNKNOWN_BOX)
            claimed[y0:y1, x0:x1] = True
        for classes in ([self._car], self._people):
            missed = (np.isin(scene, classes) & ~claimed).astype(np.uint8)
            for x, y, w, h, area in cv2.connectedComponentsWithStats(missed)[2][1:]:
                if area >= 20:
                    boxes.append((x, y, x + w, y + h))
                    labels.append(UNKNOWN_BOX)
        return replace(sample.with_boxes(boxes, labels), labelled=self._labelled)

    def complete(self, sample: Sample, found: Found, road: NDArray[np.float32]) -> Sample:
        """Keep the labelled boxes, mark what else may be there as unknown, add sure road."""
        extra = found.boxes[iou(found.boxes, sample.boxes).max(1, initial=0) < 0.3]
        sample = sample.with_boxes(
            [*sample.boxes, *extra], [*sample.labels, *[UNKNOWN_BOX] * len(extra)])
        return self._with_road(sample, road)

    def label(self, sample: Sample, found: Found, road: NDArray[np.float32]) -> Sample:
        """Add confident boxes and confident road; possible boxes are unknown."""
        sure = (found.scores >= SURE) & (found.labels >= 0)
        labels = np.where(sure, found.labels, UNKNOWN_BOX)
        sample = sample.with_boxes(list(found.boxes), list(labels))
        return self._with_road(replace(sample, labelled=self._labelled), road)

    def _with_road(self, sample: Sample, road: NDArray[np.float32]) -> Sample:
        scene = np.full(road.shape, UNKNOWN, np.uint8)
        sure = road > 0.9
        boxes = [box.round().astype(int) for box in sample.boxes]
        if sure.mean() > 0.02:
            # The teacher may leave out lanes and shoulders, but no road lies above its highest
            # row. Nor does a car that is in no box: told of road and cars alone, a network would
            # call the sky a car, as it is no road.
            top = int(np.flatnonzero(sure.any(1))[0])
            scene[:max(0, top - round(0.06 * len(scene)))] = EXCLUDED
            for x0, y0, x1, y1 in boxes:
                scene[y0:y1, x0:x1] = UNKNOWN
        scene[sure] = self._road
        for box, label in zip(sample.boxes, sample.labels, strict=True):
            if label in self._vehicles:
                # The corners of a vehicle's box show what is behind it, its core does not.
                margin = (box[2:] - box[:2]) * 0.2
                core = np.concatenate((box[:2] + margin, box[2:] - margin)).round().astype(int)
                scene[core[1]:core[3], core[0]:core[2]] = self._car
        for (x0, y0, x1, y1), label in zip(boxes, sample.labels, strict=True):
            if label >= 0 and label not in self._vehicles:
                scene[y0:y1, x0:x1] = UNKNOWN
        return replace(sample, semantic={**sample.semantic, self._head: scene},
                       semantic_weight=self._weight)


def teach(sources: Sequence[Source], config: Config) -> list[Source]:
    """
    Let teachers label the sets that ask for it; the others stay as they are.

    About 0.4 s an image on two cores. The answers lie in `run_dir/teachers.npz`, so that a
    resumed run learns from the same labels and does not ask again.

    :raises DataError: a teacher is missing, or the rules do not fit the classes.
    """
    kinds = [source.pseudo for source in config.data.train]
    if all(kind == 'none' for kind in kinds):
        return list(sources)
    taught = [i for i, kind in enumerate(kinds) if kind != 'none']
    bare = {i: Kept.all_of(sources[i]) for i in taught}
    path = config.run_dir / 'teachers.npz'
    if not path.exists():
        samples = {str(i): _asked(bare[i], kinds[i], config) for i in taught}
        save(samples, path)
    labelled = restore({str(i): list(bare[i]) for i in taught}, path)
    return [Kept(source.name, labelled[str(i)]) if i in taught else source
            for i, source in enumerate(sources)]


def _asked(source: Source, kind: Pseudo, config: Config) -> list[Sample]:
    settings = config.data.teachers
    rules = Rules(config.labels, settings.head, settings.weight)
    boxes = BoxTeacher(config.data.root / settings.boxes, config.labels.boxes)
    samples = [source[i] for i in range(len(source))]
    if kind == 'confirm':
        return [rules.confirm(s, boxes(s.image)) for s in samples]
    road = RoadTeacher(config.data.root / settings.road)
    change = rules.complete if kind == 'complete' else rules.label
    return [change(s, boxes(s.image), road(s.image)) for s in samples]


def save(sources: Mapping[str, Sequence[Sample]], path: Path) -> None:
    """Keep what the teachers said."""
    arrays: dict[str, Any] = {}
    for source, samples in sources.items():
        for sample in samples:
            key = f'{source}/{sample.name}'
            arrays |= {f'{key}/boxes': sample.boxes, f'{key}/labels': sample.labels,
                       f'{key}/labelled': sample.labelled,
                       f'{key}/weight': np.array(sample.semantic_weight)}
            arrays |= {f'{key}/semantic/{h}': ids for h, ids in sample.semantic.items()}
    part = path.with_suffix('.part.npz')
    np.savez_compressed(part, **arrays)
    os.replace(part, path)


def restore(sources: Mapping[str, Sequence[Sample]], path: Path) -> dict[str, list[Sample]]:
    """
    Put saved labels on freshly read images.

    :raises DataError: the file holds the labels of other images.
    """
    with np.load(path, allow_pickle=False) as file:
        try:
            return {source: [_restored(s, file, f'{source}/{s.name}') for s in samples]
                    for source, samples in sources.items()}
        except KeyError as error:
            raise DataError(f'{path}: expected labels for {error}; the data have changed since '
                            'they were made: delete the file') from error


def _restored(sample: Sample, file: Mapping[str, NDArray], key: str) -> Sample:
    heads = [name.rpartition('/')[2] for name in file if name.startswith(f'{key}/semantic/')]
    return replace(sample, boxes=file[f'{key}/boxes'], labels=file[f'{key}/labels'],
                   labelled=file[f'{key}/labelled'], masks=None,
                   semantic={head: file[f'{key}/semantic/{head}'] for head in heads},
                   semantic_weight=float(file[f'{key}/weight']))
