"""A run against what is true: boxes and masks, by model, class and camera.

What is measured is what was published, at the thresholds of the configuration. A labelled frame
that got no result counts as one in which nothing was found, unless it was left out on purpose.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
from perception_ros.evaluation.classes import match_classes
from perception_ros.evaluation.datasets import BoxDataset, MaskDataset
from perception_ros.evaluation.masks import MaskAccuracy, MaskScorer
from perception_ros.replay.answers import Answer, answers, Key
from perception_ros.replay.labels import Labels, LabelSource, open_labels, OWN_LABELS
from perception_ros.replay.parts import RunFolder
from perception_ros.replay.results import ResultTopics
from perception_ros.replay.run import RESULTS
from perception_ros.ros.cdr import read_header

DISTANCES_M = {
    '0-20_m': (0.0, 20.0), '20-40_m': (20.0, 40.0), '40-80_m': (40.0, 80.0),
    'from_80_m': (80.0, np.inf),
}
"""From the camera to the middle of an object; the farther end belongs to the next one."""


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


def judge(
    bag: Path, folder: Path, source: LabelSource = OWN_LABELS
) -> dict[str, ModelVerdict]:
    """Measure a finished run by the labels in its bag or in files; nothing where there are none.

    :param folder: of the run.
    :returns: by model.
    :raises PerceptionError: labels or results are damaged, or the labels are of other frames.
    """
    about = RunFolder(folder).read_about()
    config = load_config(about['config'])
    manifests = {
        name: Bundle.load(model.bundle or name).manifest for name, model in config.models.items()
    }
    verdicts = {name: ModelVerdict() for name in config.models}
    heads = {head for manifest in manifests.values() for head in manifest.semantic}
    with open_labels(bag, about['cameras'], heads, source) as known:
        for labels in known:
            for name, verdict in verdicts.items():
                if labels.kind == BOXES and manifests[name].detection:
                    _judge_boxes(verdict, labels, name, manifests[name], folder)
                elif (head := labels.kind.removeprefix(SEMANTIC)) in manifests[name].semantic:
                    if (folder / RESULTS).is_file():
                        _judge_masks(verdict, labels, (name, head), config, manifests, folder)
                    else:
                        verdict.not_measured.append(f'{labels.kind} (the run has no {RESULTS})')
                else:
                    verdict.not_measured.append(labels.kind)
        if source.references and not any(verdict.images for verdict in verdicts.values()):
            frames = {frame for name in verdicts for frame in _frames(folder, name)}
            raise DatasetError(
                f'labels {", ".join(source.references)}: none is of a frame of this run; they are '
                f'of {_named({key for labels in known for key in labels.images})}, the frames are '
                f'{_named(frames)}'
            )
    return verdicts if known else {}


def _frames(folder: Path, model: str) -> Iterator[Key]:
    return (answer.key for answer in answers(folder, model))


def _named(keys: Collection[Key]) -> str:
    first = ', '.join(f'{camera}/{stamp_ns}' for camera, stamp_ns in sorted(keys)[:2])
    return f'{first} and others' if len(keys) > 2 else first or 'nothing'


def _judge_boxes(
    verdict: ModelVerdict, labels: Labels, model: str, manifest: Manifest, folder: Path
) -> None:
    assert manifest.detection is not None and isinstance(labels.data, BoxDataset), 'it says boxes'
    names = [item.name for item in manifest.detection.classes]
    common = match_classes(labels.data.classes, names)
    verdict.not_measured += [*common.only_data, *common.only_model]
    if not common.names:
        return
    threshold = manifest.detection.score_threshold
    scorers: dict[str, BoxScorer] = {}
    distances: dict[str, BoxScorer] = {}

    def add(to: dict[str, BoxScorer], name: str, answer: Answer, crowd: NDArray[np.bool_]) -> None:
        ids = np.array([names.index(name) for name in answer.classes], np.int64)
        if name not in to:
            to[name] = BoxScorer(common.names, threshold)
        to[name].add(
            answer.size, truth.boxes, common.of_data[truth.labels], crowd,
            answer.boxes, common.of_model[ids], answer.scores,
        )

    for answer in answers(folder, model):
        if answer.key not in labels.images:
            continue
        verdict.images += 1
        truth = labels.data.truth(labels.images[answer.key], answer.size)
        for camera in ('', answer.key[0]):
            add(scorers, camera, answer, truth.crowd)
        if truth.distances_m is not None:
            for name, (least_m, most_m) in DISTANCES_M.items():
                is_here = (least_m <= truth.distances_m) & (truth.distances_m < most_m)
                add(distances, name, answer, truth.crowd | ~is_here)
    verdict.boxes = {camera: scorer.result() for camera, scorer in scorers.items()}
    measured = {name: scorer.result() for name, scorer in distances.items()}
    verdict.distances = {name: item for name, item in measured.items() if item.count}


def _judge_masks(
    verdict: ModelVerdict,
    labels: Labels,
    output: tuple[str, str],
    config: PerceptionConfig,
    manifests: Mapping[str, Manifest],
    folder: Path,
) -> None:
    model, head = output
    assert isinstance(labels.data, MaskDataset), 'it says label maps'
    masks = labels.data
    names = [item.name for item in manifests[model].semantic[head].classes]
    common = match_classes(masks.classes, names)
    verdict.not_measured += [*common.only_data, *common.only_model]
    if not common.names:
        return
    topics = {
        topic: key[0] for topic, key in ResultTopics(config, manifests).masks().items()
        if key[1:] == output
    }
    owed = {
        answer.key: None for answer in answers(folder, model) if answer.key in labels.images
    }
    verdict.images = max(verdict.images, len(owed))
    scorers: dict[str, MaskScorer] = {}

    def add(key: Key, found: NDArray[np.uint8] | None) -> None:
        truth = masks.truth(labels.images[key])
        if found is None:
            found = np.full_like(truth, UNLABELLED)
        if truth.shape != found.shape:
            raise DatasetError(
                f'{labels.kind} of {key[0]} at {key[1] / 1e9:.6f} s: expected a label as large as '
                f'the image, {found.shape[1]}x{found.shape[0]} px, got '
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
                add(key, read_label_map(message))
    for key in owed:
        add(key, None)
    verdict.masks[head] = {camera: scorer.result() for camera, scorer in scorers.items()}
