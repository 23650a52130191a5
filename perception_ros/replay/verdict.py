"""A run against what is true: boxes and masks, by model, class and camera.

What is measured is what was published, at the thresholds of the configuration. A labelled frame
that got no result counts as one in which nothing was found, unless it was left out on purpose.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from perception_ros.bags.bag import open_bag
from perception_ros.bags.labelled import BOXES, read_label_map, SEMANTIC
from perception_ros.bundles.bundle import Bundle
from perception_ros.bundles.manifest import Manifest
from perception_ros.core.config import load_config, PerceptionConfig
from perception_ros.core.errors import DatasetError
from perception_ros.core.types import UNLABELLED
from perception_ros.evaluation.boxes import BoxAccuracy, BoxScorer
from perception_ros.evaluation.classes import match_classes, OTHER
from perception_ros.evaluation.datasets import BoxDataset, MaskDataset
from perception_ros.evaluation.masks import MaskAccuracy, MaskScorer
from perception_ros.evaluation.matching import Verdict
from perception_ros.replay.answers import answers, Key
from perception_ros.replay.labels import Labels, LabelSource, open_labels, OWN_LABELS
from perception_ros.replay.parts import RunFolder
from perception_ros.replay.results import RESULTS, ResultTopics
from perception_ros.replay.worst import Worst
from perception_ros.ros.cdr import read_header

DISTANCES_M = {
    '0-20_m': (0.0, 20.0), '20-40_m': (20.0, 40.0), '40-80_m': (40.0, 80.0),
    'from_80_m': (80.0, np.inf),
}
"""From the camera to the middle of an object; the farther end belongs to the next one."""

_OTHER_PIXELS = UNLABELLED - 1
"""Id of what only one side has a class for: it is of no class, and not unknown."""

LEVELS = tuple(level / 100 for level in range(101))
"""Recalls and score thresholds of the curves."""

Accuracy = TypeVar('Accuracy', BoxAccuracy, MaskAccuracy)


@dataclass(slots=True)
class ModelVerdict:
    """How well a model did; `boxes` and `masks` have '' for all cameras, and each by its name."""

    boxes: dict[str, BoxAccuracy] = field(default_factory=dict)
    distances: dict[str, BoxAccuracy] = field(default_factory=dict)
    """Of all cameras, by those of `DISTANCES_M` that hold true boxes. What is farther or nearer is
    neither to be found nor wrong; a false box, whose distance nobody knows, is false in all."""
    masks: dict[str, dict[str, MaskAccuracy]] = field(default_factory=dict)
    """By head, then as `boxes`."""
    images: int = 0
    """That are labelled, and were to be looked at."""
    not_measured: list[str] = field(default_factory=list)
    """Classes of one side alone, and heads without labels."""

    worst: Worst = field(default_factory=Worst)
    """The frames to look at first."""

    def as_json(self) -> dict[str, Any]:
        """Return it, ready for JSON."""
        whole = self._figures('')
        cameras = sorted({*self.boxes, *(c for head in self.masks.values() for c in head)} - {''})
        boxes = self.boxes.get('')
        return {
            'images': self.images,
            **whole,
            'classes': {
                name: {
                    'AP50': item.ap50, 'AP': item.ap, 'n': item.count, 'found': item.found,
                    'false': item.operating.false if item.operating else 0,
                }
                for name, item in boxes.classes.items()
            } if boxes else {},
            'heads': {
                head: {
                    'mIoU': cameras_of[''].miou,
                    'classes': {
                        name: {'IoU': item.iou, 'pixels': item.pixels}
                        for name, item in cameras_of[''].classes.items()
                    },
                }
                for head, cameras_of in self.masks.items()
            },
            'distances': {
                name: {
                    'n': item.count, 'recall': item.recall, 'mAP50': item.map50,
                    'classes': {
                        label: {'n': part.count, 'recall': part.recall, 'AP50': part.ap50}
                        for label, part in item.classes.items() if part.count
                    },
                }
                for name, item in self.distances.items()
            },
            'cameras': {camera: self._figures(camera) for camera in cameras},
            'not_measured': self.not_measured,
        }

    def details(self) -> dict[str, Any]:
        """Return what a report draws: curves by class, and the worst frames; ready for JSON."""
        boxes = self.boxes.get('')
        return {
            'curves': {
                name: {
                    'precision': item.curve,
                    'f1': [item.operating.at(score).f1 for score in LEVELS],
                }
                for name, item in boxes.classes.items() if item.operating and item.curve
            } if boxes else {},
            'worst': self.worst.as_json(),
        }

    def _figures(self, camera: str) -> dict[str, float | None]:
        boxes = self.boxes.get(camera)
        known = [
            value for head in self.masks.values()
            if camera in head and (value := head[camera].miou) is not None
        ]
        return {
            'mAP50': boxes.map50 if boxes else None,
            'mAP': boxes.map if boxes else None,
            'mIoU': sum(known) / len(known) if known else None,
        }


def mean_figures(accuracy: Mapping[str, Mapping[str, Any]]) -> dict[str, float | None]:
    """Return mAP50, mAP and mIoU, each the mean of the models that have it.

    :param accuracy: by model, what its verdict is as JSON.
    """
    means = {}
    for name in ('mAP50', 'mAP', 'mIoU'):
        known = [item[name] for item in accuracy.values() if item[name] is not None]
        means[name] = sum(known) / len(known) if known else None
    return means


def judge(
    runs: Mapping[Path, Path], source: LabelSource = OWN_LABELS
) -> dict[str, ModelVerdict]:
    """Measure finished runs by the labels of their bags, or of files; without any say nothing.

    Several runs are measured as one: what counts is each detection, not the mean of figures.

    :param runs: bag -> folder of its run; all of the same models.
    :returns: by model.
    :raises PerceptionError: labels or results are damaged, or the labels are of other frames.
    """
    about = RunFolder(next(iter(runs.values()))).read_about()
    config = load_config(about['config'])
    manifests = {
        name: Bundle.load(model.bundle or name).manifest for name, model in config.models.items()
    }
    heads = {head for manifest in manifests.values() for head in manifest.semantic}
    judges = {name: _Judge(name, config, manifests) for name in config.models}
    labelled: set[Key] = set()
    is_labelled = False
    for bag, folder in runs.items():
        cameras = RunFolder(folder).read_about()['cameras']
        with open_labels(bag, cameras, heads, source) as known:
            is_labelled |= bool(known)
            for labels in known:
                labelled |= labels.images.keys() if source.references else set()
                for each in judges.values():
                    each.add(labels, folder)
    verdicts = {name: each.verdict() for name, each in judges.items()}
    if source.references and not any(verdict.images for verdict in verdicts.values()):
        frames = {
            answer.key for folder in runs.values() for name in verdicts
            for answer in answers(folder, name)
        }
        raise DatasetError(
            f'labels {", ".join(source.references)}: none is of a frame of this run; they are of '
            f'{_named(labelled)}, the frames are {_named(frames)}'
        )
    return verdicts if is_labelled else {}


def _named(keys: Collection[Key]) -> str:
    first = ', '.join(f'{camera}/{stamp_ns}' for camera, stamp_ns in sorted(keys)[:2])
    return f'{first} and others' if len(keys) > 2 else first or 'nothing'


class _Judge:
    """Gathers what a model did in all runs; its classes are counted as the model counts them."""

    def __init__(
        self, model: str, config: PerceptionConfig, manifests: Mapping[str, Manifest]
    ) -> None:
        self._model = model
        self._config = config
        self._manifests = manifests
        self._manifest = manifests[model]
        self._images: set[tuple[Path, Key]] = set()
        self._not_measured: dict[str, None] = {}
        self._boxes: dict[str, BoxScorer] = {}
        self._distances: dict[str, BoxScorer] = {}
        self._masks: dict[str, dict[str, MaskScorer]] = {}
        self._worst = Worst()
        self._measured: dict[str, set[str]] = {}
        """Kind -> classes that both sides have."""

    def add(self, labels: Labels, folder: Path) -> None:
        """Measure a run by one kind of labels."""
        head = labels.kind.removeprefix(SEMANTIC)
        if labels.kind == BOXES and self._manifest.detection:
            self._add_boxes(labels, folder)
        elif head not in self._manifest.semantic:
            self._not_measured[labels.kind] = None
        elif (folder / RESULTS).is_file():
            self._add_masks(labels, folder, head)
        else:
            self._not_measured[f'{labels.kind} (the run has no {RESULTS})'] = None

    def verdict(self) -> ModelVerdict:
        """Return what all that was added comes to."""
        distances = {
            name: self._of_common(BOXES, self._distances[name].result())
            for name in DISTANCES_M if name in self._distances
        }
        return ModelVerdict(
            {
                camera: self._of_common(BOXES, scorer.result())
                for camera, scorer in self._boxes.items()
            },
            {name: accuracy for name, accuracy in distances.items() if accuracy.count},
            {
                head: {
                    camera: self._of_common(SEMANTIC + head, scorer.result())
                    for camera, scorer in cameras.items()
                }
                for head, cameras in self._masks.items()
            },
            len(self._images),
            [*self._not_measured],
            self._worst,
        )

    def _of_common(self, kind: str, accuracy: Accuracy) -> Accuracy:
        """Return it without the classes that only one side has."""
        kept = self._measured[kind]
        return replace(
            accuracy, classes={n: item for n, item in accuracy.classes.items() if n in kept}
        )

    def _classes(
        self, labels: Labels, names: Sequence[str], unknown: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
        """Return for ids of the labels and of the model the model's own; None: none in common.

        :param unknown: what stands for classes of one side alone.
        """
        common = match_classes(labels.data.classes, names)
        self._not_measured |= dict.fromkeys((*common.only_data, *common.only_model))
        self._measured.setdefault(labels.kind, set()).update(common.names)
        if not common.names:
            return None
        own = np.array([*map(names.index, common.names), unknown])  # `OTHER` is -1: the last one
        return own[common.of_data], own[common.of_model]

    def _add_boxes(self, labels: Labels, folder: Path) -> None:
        detection = self._manifest.detection
        assert detection is not None and isinstance(labels.data, BoxDataset), 'it says boxes'
        names = [item.name for item in detection.classes]
        if (classes := self._classes(labels, names, OTHER)) is None:
            return
        of_data, of_model = classes

        def add(to: dict[str, BoxScorer], key: str, crowd: NDArray[np.bool_]) -> Verdict:
            if key not in to:
                to[key] = BoxScorer(names, detection.score_threshold)
            return to[key].add(
                answer.size, truth.boxes, true_ids, crowd, answer.boxes, found_ids, answer.scores
            )

        for answer in answers(folder, self._model):
            if answer.key not in labels.images:
                continue
            self._images.add((folder, answer.key))
            truth = labels.data.truth(labels.images[answer.key], answer.size)
            true_ids = of_data[truth.labels]
            found_ids = of_model[np.array([*map(names.index, answer.classes)], np.int64)]
            add(self._boxes, answer.key[0], truth.crowd)
            self._worst.add_boxes(
                answer.key, add(self._boxes, '', truth.crowd), truth, labels.data.classes
            )
            if truth.distances_m is not None:
                for name, (least_m, most_m) in DISTANCES_M.items():
                    is_here = (least_m <= truth.distances_m) & (truth.distances_m < most_m)
                    add(self._distances, name, truth.crowd | ~is_here)

    def _add_masks(self, labels: Labels, folder: Path, head: str) -> None:
        assert isinstance(labels.data, MaskDataset), 'it says label maps'
        masks = labels.data
        names = [item.name for item in self._manifest.semantic[head].classes]
        if (classes := self._classes(labels, names, _OTHER_PIXELS)) is None:
            return
        of_data, of_model = classes
        of_data[UNLABELLED] = UNLABELLED
        topics = {
            topic: key[0]
            for topic, key in ResultTopics(self._config, self._manifests).masks().items()
            if key[1:] == (self._model, head)
        }
        owed = {
            answer.key: None for answer in answers(folder, self._model)
            if answer.key in labels.images
        }
        self._images |= {(folder, key) for key in owed}
        scorers = self._masks.setdefault(head, {})

        def add(key: Key, found: NDArray[np.uint8] | None) -> None:
            truth = masks.truth(labels.images[key])
            if found is None:
                found = np.full_like(truth, UNLABELLED)
            if truth.shape != found.shape:
                raise DatasetError(
                    f'{labels.kind} of {key[0]} at {key[1] / 1e9:.6f} s: expected a label as '
                    f'large as the image, {found.shape[1]}x{found.shape[0]} px, got '
                    f'{truth.shape[1]}x{truth.shape[0]} px'
                )
            true_ids, found_ids = of_data[truth].astype(np.uint8), of_model[found].astype(np.uint8)
            for camera in (key[0], ''):
                if camera not in scorers:
                    scorers[camera] = MaskScorer(match_classes(names, names))
                alone = scorers[camera].add(true_ids, found_ids)
            self._worst.add_mask(
                key, labels.kind, alone.miou, (truth, masks.classes), (found, names)
            )

        with open_bag(folder / RESULTS) as results:
            there = [topic for topic in topics if topic in results.topics]
            for message in results.messages(there) if there else ():
                key = topics[message.topic], read_header(message.data, message.type).stamp_ns
                if key in owed:
                    del owed[key]
                    add(key, read_label_map(message))
        for key in owed:
            add(key, None)
