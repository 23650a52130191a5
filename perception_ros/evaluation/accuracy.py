"""A model's answers to labelled images, measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perception_ros.backends.base import Engine
from perception_ros.bundles.manifest import ClassInfo, Manifest
from perception_ros.core.errors import DatasetError, ImageError
from perception_ros.core.instances import whole_masks
from perception_ros.core.model import Model
from perception_ros.core.types import Frame, Result
from perception_ros.evaluation.boxes import BoxAccuracy, BoxScorer
from perception_ros.evaluation.classes import CommonClasses, match_classes
from perception_ros.evaluation.datasets.base import BoxDataset, Dataset, MaskDataset
from perception_ros.evaluation.instances import InstanceScorer
from perception_ros.evaluation.masks import MaskAccuracy, MaskScorer

Track = Callable[[Sequence[Any]], Iterable[Any]]
"""Hands on what it is given, perhaps with a progress bar."""


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How well a model does on one data set: `boxes`, or `masks` by semantic head.

    `instances` are the masks of the boxes, where model and data have them.
    """

    dataset: str
    images: int
    boxes: BoxAccuracy | None = None
    masks: Mapping[str, MaskAccuracy] = field(default_factory=dict)
    only_data: tuple[str, ...] = ()
    """Classes of the data that the model does not know, and that do not count."""
    only_model: tuple[str, ...] = ()
    """Classes of the model that nothing is labelled as, and that do not count."""
    instances: BoxAccuracy | None = None

    @property
    def figures(self) -> dict[str, float | None]:
        """The numbers to compare models by: map50 and map, or miou (mean over the heads).

        With instance masks also mask_map50 and mask_map.
        """
        if self.boxes:
            masks = {'mask_map50': self.instances.map50, 'mask_map': self.instances.map} \
                if self.instances else {}
            return {'map50': self.boxes.map50, 'map': self.boxes.map, **masks}
        known = [m for head in self.masks.values() if (m := head.miou) is not None]
        return {'miou': sum(known) / len(known) if known else None}

    def as_json(self) -> dict[str, Any]:
        """Return all of it, ready for JSON."""
        answer: dict[str, Any] = {
            'dataset': self.dataset, 'images': self.images, **self.figures,
            'only_data': list(self.only_data), 'only_model': list(self.only_model),
        }
        if self.boxes:
            answer |= self.boxes.as_json()
        if self.instances:
            answer['instances'] = self.instances.as_json()
        if self.masks:
            answer['heads'] = {head: mask.as_json() for head, mask in self.masks.items()}
        return answer


def evaluate(
    manifest: Manifest, engine: Engine, dataset: Dataset, track: Track = iter
) -> Accuracy:
    """Run a model on labelled images, as camera frames are run, and measure its answers.

    Only classes that the model and the data both have count.

    :param manifest: of the bundle that `engine` has opened.
    :param track: what the batches of images are drawn through, such as a progress bar.
    :raises DatasetError: labels are damaged, or no class is common.
    :raises ImageError: an image cannot be read.
    :raises BackendError: the engine failed.
    """
    # Average precision needs the boxes of all scores.
    model = Model(manifest.name, manifest, engine, score_threshold=lambda camera: 0.0)
    dataset.check()
    if isinstance(dataset, BoxDataset):
        return _measure_boxes(model, dataset, track)
    if isinstance(dataset, MaskDataset):
        return _measure_masks(model, dataset, track)
    raise TypeError(f'expected a data set of boxes or masks, got {type(dataset).__name__}')


def common_classes(manifest: Manifest, dataset: Dataset) -> dict[str, CommonClasses]:
    """Return what the data can measure: '' for boxes, or the head -> the classes that count.

    :raises DatasetError: nothing.
    """
    offers = {head: info.classes for head, info in manifest.semantic.items()}
    if isinstance(dataset, BoxDataset):
        offers = {'': manifest.detection.classes} if manifest.detection else {}
    common = {part: match_classes(dataset.classes, _names(offers[part])) for part in offers}
    common = {part: found for part, found in common.items() if found.names}
    if not common:
        what = 'boxes' if isinstance(dataset, BoxDataset) else 'masks'
        known = '; '.join(', '.join(_names(classes)) for classes in offers.values())
        raise DatasetError(
            f'{dataset.title}: expected {what} of a class that {manifest.name} knows '
            f'({known or f"it gives no {what}"}), got {", ".join(dataset.classes)}; take other '
            'data, or rename their classes'
        )
    return common


def _measure_boxes(model: Model, dataset: BoxDataset, track: Track) -> Accuracy:
    common = common_classes(model.manifest, dataset)['']
    assert model.manifest.detection is not None, 'classes of boxes are in common'
    scorer = BoxScorer(common.names, model.manifest.detection.score_threshold)
    outlines = dataset.outlines if model.manifest.detection.masks else None
    masks = InstanceScorer(common.names) if outlines else None
    for path, result in _results(model, dataset, track):
        size = (result.frame.image.width, result.frame.image.height)
        truth, found = dataset.truth(path, size), result.detections
        assert found is not None, 'a model with boxes in its manifest gives boxes'
        scorer.add(
            size,
            truth.boxes, common.of_data[truth.labels], truth.crowd,
            found.boxes, common.of_model[found.labels], found.scores,
        )
        if masks and outlines:
            said = result.instances
            assert said is not None, 'a model with masks in its manifest gives masks'
            masks.add(
                size,
                outlines(path, size), common.of_data[truth.labels], truth.crowd,
                whole_masks(said.cells, said.boxes, size), common.of_model[found.labels],
                found.scores,
            )
    return Accuracy(
        dataset.title, len(dataset.images), scorer.result(),
        only_data=common.only_data, only_model=common.only_model,
        instances=masks.result() if masks else None,
    )


def _measure_masks(model: Model, dataset: MaskDataset, track: Track) -> Accuracy:
    heads = common_classes(model.manifest, dataset)
    scorers = {head: MaskScorer(common) for head, common in heads.items()}
    for path, result in _results(model, dataset, track):
        truth = dataset.truth(path)
        for head, scorer in scorers.items():
            found = result.semantic[head].class_ids
            if truth.shape != found.shape:
                raise DatasetError(
                    f'{path}: expected a label of {found.shape[1]}x{found.shape[0]} px, as large '
                    f'as the image, got {truth.shape[1]}x{truth.shape[0]}'
                )
            scorer.add(truth, found)
    nowhere = set.intersection(*(set(common.only_data) for common in heads.values()))
    return Accuracy(
        dataset.title, len(dataset.images),
        masks={head: scorer.result() for head, scorer in scorers.items()},
        only_data=tuple(name for name in dataset.classes if name in nowhere),
        only_model=tuple(name for common in heads.values() for name in common.only_model),
    )


def _results(model: Model, dataset: Dataset, track: Track) -> Iterable[tuple[Path, Result]]:
    step = model.engine.info.max_batch
    batches = [dataset.images[i : i + step] for i in range(0, len(dataset.images), step)]
    for paths in track(batches):
        frames = [_frame(model, dataset, path) for path in paths]
        yield from zip(paths, model.infer(frames), strict=True)


def _frame(model: Model, dataset: Dataset, path: Path) -> Frame:
    """Decode as the node does, and here, where the file's name is known."""
    try:
        frame = Frame(str(path), 1, 1, dataset.read(path))
        model.decode(frame)  # which the frame keeps
    except ImageError as error:
        raise ImageError(f'{path}: {error}') from error
    return frame


def _names(classes: Sequence[ClassInfo]) -> tuple[str, ...]:
    return tuple(item.name for item in classes)
