"""A run against what is true: boxes and masks, by model, class and camera.

What is measured is what was published, at the thresholds of the configuration. A labelled frame
that got no result counts as one in which nothing was found, unless it was left out on purpose.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perception_ros.bags.bag import open_bag
from perception_ros.bags.frames import camera_name, GROUND_TRUTH
from perception_ros.bags.labelled import BOXES, LabelledBag, read_label_map, SEMANTIC
from perception_ros.bundles.bundle import Bundle
from perception_ros.bundles.manifest import Manifest
from perception_ros.core.config import load_config, PerceptionConfig
from perception_ros.core.errors import DatasetError
from perception_ros.core.types import UNLABELLED
from perception_ros.evaluation.boxes import BoxAccuracy, BoxScorer
from perception_ros.evaluation.classes import match_classes
from perception_ros.evaluation.datasets.bag import true_boxes
from perception_ros.evaluation.datasets.base import TrueBoxes
from perception_ros.evaluation.masks import MaskAccuracy, MaskScorer
from perception_ros.replay.answers import answers, Key
from perception_ros.replay.parts import RunFolder
from perception_ros.replay.results import ResultTopics
from perception_ros.replay.run import RESULTS
from perception_ros.ros.cdr import read_header


@dataclass(slots=True)
class ModelVerdict:
    """How well a model did; `boxes` and `masks` have '' for all cameras, and each by its name."""

    boxes: dict[str, BoxAccuracy] = field(default_factory=dict)
    masks: dict[str, dict[str, MaskAccuracy]] = field(default_factory=dict)
    """By head, then as `boxes`."""
    images: int = 0
    """That are labelled, and were to be looked at."""
    not_measured: list[str] = field(default_factory=list)
    """Classes of one side alone, and heads without labels."""

    def as_json(self) -> dict[str, Any]:
        """Return it, ready for JSON."""
        whole = self._figures('')
        cameras = sorted({*self.boxes, *(c for head in self.masks.values() for c in head)} - {''})
        boxes = self.boxes.get('')
        return {
            'images': self.images,
            **whole,
            'classes': {
                name: {'AP50': item.ap50, 'AP': item.ap, 'n': item.count}
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
            'cameras': {camera: self._figures(camera) for camera in cameras},
            'not_measured': self.not_measured,
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


def mean_figures(verdicts: Mapping[str, ModelVerdict]) -> dict[str, float | None]:
    """Return mAP50, mAP and mIoU, each the mean of the models that have it."""
    figures = [verdict.as_json() for verdict in verdicts.values()]
    means = {}
    for name in ('mAP50', 'mAP', 'mIoU'):
        known = [item[name] for item in figures if item[name] is not None]
        means[name] = sum(known) / len(known) if known else None
    return means


def judge(bag: Path, folder: Path) -> dict[str, ModelVerdict]:
    """Measure a finished run by the labels in its bag; nothing where there are none.

    :param folder: of the run.
    :returns: by model.
    :raises PerceptionError: labels or results are damaged.
    """
    about = RunFolder(folder).read_about()
    config = load_config(about['config'])
    manifests = {
        name: Bundle.load(model.bundle or name).manifest for name, model in config.models.items()
    }
    if not _is_labelled(bag):
        return {}
    verdicts = {name: ModelVerdict() for name in config.models}
    with LabelledBag(bag) as labelled:
        labels = _Labels(labelled, about['cameras'])
        for kind in labelled.kinds:
            for name, verdict in verdicts.items():
                if kind == BOXES and manifests[name].detection:
                    _judge_boxes(verdict, labels, name, manifests[name], folder)
                elif (head := kind.removeprefix(SEMANTIC)) in manifests[name].semantic:
                    if (folder / RESULTS).is_file():
                        _judge_masks(verdict, labels, (name, head), config, manifests, folder)
                    else:
                        verdict.not_measured.append(f'{kind} (the run has no {RESULTS})')
                else:
                    verdict.not_measured.append(kind)
    return verdicts


class _Labels:
    """The labels of a bag, by the cameras of the run."""

    def __init__(self, bag: LabelledBag, cameras: Mapping[str, str]) -> None:
        """
        Find them.

        :param cameras: camera -> topic.
        """
        self._bag = bag
        self.classes = {kind: bag.classes(kind) for kind in bag.kinds}
        """Names by id, of each kind."""
        of_bag = {camera_name(topic): camera for camera, topic in cameras.items()}
        self._frames = {
            (of_bag[frame.camera], frame.stamp_ns): frame
            for frame in bag.frames if frame.camera in of_bag
        }

    def has(self, kind: str, key: Key) -> bool:
        """Say whether a frame has labels of a kind."""
        return key in self._frames and self._frames[key].place(kind) is not None

    def boxes(self, key: Key) -> TrueBoxes:
        """Return the true boxes of a frame that has some."""
        return true_boxes(self._bag, self._frames[key], self.classes[BOXES])

    def mask(self, kind: str, key: Key) -> NDArray[np.uint8]:
        """Return the true class ids, [H, W], of a frame that has some."""
        return self._bag.label_map(self._frames[key], kind)


def _is_labelled(bag: Path) -> bool:
    with open_bag(bag) as opened:
        return any(GROUND_TRUTH in topic.split('/') for topic in opened.topics)


def _judge_boxes(
    verdict: ModelVerdict, labels: _Labels, model: str, manifest: Manifest, folder: Path
) -> None:
    assert manifest.detection is not None, 'it says boxes'
    names = [item.name for item in manifest.detection.classes]
    common = match_classes(labels.classes[BOXES], names)
    verdict.not_measured += [*common.only_data, *common.only_model]
    if not common.names:
        return
    scorers: dict[str, BoxScorer] = {}
    for answer in answers(folder, model):
        if not labels.has(BOXES, answer.key):
            continue
        verdict.images += 1
        truth = labels.boxes(answer.key)
        ids = np.array([names.index(name) for name in answer.classes], np.int64)
        for camera in ('', answer.key[0]):
            if camera not in scorers:
                scorers[camera] = BoxScorer(common.names, manifest.detection.score_threshold)
            scorers[camera].add(
                answer.size, truth.boxes, common.of_data[truth.labels], truth.crowd,
                answer.boxes, common.of_model[ids], answer.scores,
            )
    verdict.boxes = {camera: scorer.result() for camera, scorer in scorers.items()}


def _judge_masks(
    verdict: ModelVerdict,
    labels: _Labels,
    output: tuple[str, str],
    config: PerceptionConfig,
    manifests: Mapping[str, Manifest],
    folder: Path,
) -> None:
    model, head = output
    kind = f'{SEMANTIC}{head}'
    names = [item.name for item in manifests[model].semantic[head].classes]
    common = match_classes(labels.classes[kind], names)
    verdict.not_measured += [*common.only_data, *common.only_model]
    if not common.names:
        return
    topics = {
        topic: key[0] for topic, key in ResultTopics(config, manifests).masks().items()
        if key[1:] == output
    }
    owed = {
        answer.key: None for answer in answers(folder, model) if labels.has(kind, answer.key)
    }
    verdict.images = max(verdict.images, len(owed))
    scorers: dict[str, MaskScorer] = {}

    def add(key: Key, truth: NDArray[np.uint8], found: NDArray[np.uint8]) -> None:
        if truth.shape != found.shape:
            raise DatasetError(
                f'{kind} of {key[0]} at {key[1] / 1e9:.6f} s: expected a label as large as the '
                f'image, {found.shape[1]}x{found.shape[0]} px, got '
                f'{truth.shape[1]}x{truth.shape[0]} px'
            )
        for camera in ('', key[0]):
            scorers.setdefault(camera, MaskScorer(common)).add(truth, found)

    with open_bag(folder / RESULTS) as results:
        there = [topic for topic in topics if topic in results.topics]
        for message in results.messages(there) if there else ():
            key = topics[message.topic], read_header(message.data, message.type).stamp_ns
            if key in owed:
                del owed[key]
                add(key, labels.mask(kind, key), read_label_map(message))
    for key in owed:
        truth = labels.mask(kind, key)
        add(key, truth, np.full_like(truth, UNLABELLED))
    verdict.masks[head] = {camera: scorer.result() for camera, scorer in scorers.items()}
