"""The runtime's own scorers, fed with samples: what a set does not label has no part in them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from perception_ros.evaluation.boxes import BoxAccuracy, BoxScorer, PrecisionScorer
from perception_ros.evaluation.classes import match_classes
from perception_ros.evaluation.instances import InstanceScorer
from perception_ros.evaluation.masks import MaskScorer
from perception_training.data.sample import Sample, UNKNOWN, UNKNOWN_BOX
from perception_training.measuring.predict import Prediction

PRINCIPAL = ('map50', 'miou')
"""The number that stands for a head: the first of these that it has."""
CURVE_SCORES = np.linspace(0, 1, 101)
"""Score thresholds that a curve is given at."""


class Verdict(NamedTuple):
    """What is wrong with the answer to one image."""

    cost: float
    """0 is perfect; images are compared by it."""
    said: str


class _Counted(NamedTuple):
    """What counts of an image; where nobody knows what is there lies a crowd of each class."""

    places: NDArray[np.int64]
    """`[T]`, among the sample's boxes."""
    labels: NDArray[np.int64]
    """`[T]`"""
    crowd: NDArray[np.bool_]
    """`[T]`, what is neither to be found nor wrong."""
    guessed: NDArray[np.integer[Any]]
    """`[N]` labels of the guesses; -1 = does not count."""


class _Precision:
    """Average precision; classes that no image labels are left out."""

    _scorer: PrecisionScorer

    def __init__(self, classes: Sequence[str]) -> None:
        self._labelled = np.zeros(len(classes), bool)
        self._images = 0
        self._result: BoxAccuracy | None = None

    def __len__(self) -> int:
        return self._images

    def _measured(self) -> BoxAccuracy:
        """Measure what was added, once: thousands of images take a while."""
        if self._result is None:
            self._result = self._scorer.result()
        return self._result

    def _note(self, sample: Sample, guess: Prediction) -> _Counted:
        """Count an image; say what of it counts."""
        self._images += 1
        self._result = None
        self._labelled |= sample.labelled
        known, unknown = (np.flatnonzero(mine) for mine in (
            sample.labels >= 0, sample.labels == UNKNOWN_BOX))
        # COCO's crowds are of one class each.
        classes = np.arange(len(self._labelled))
        labels = np.concatenate((sample.labels[known], np.tile(classes, len(unknown))))
        return _Counted(
            np.concatenate((known, unknown.repeat(len(classes)))), labels,
            np.arange(len(labels)) >= len(known),
            # A class that this image does not label can be neither right nor wrong in it.
            np.where(sample.labelled[guess.labels], guess.labels, -1))

    def metrics(self) -> dict[str, Any]:
        """Give AP50 and AP50:95 per class with the number of true boxes n, and their means."""
        found = self._measured()
        classes = {
            name: {'n': item.count, 'ap50': _rounded(item.ap50), 'ap': _rounded(item.ap)}
            for (name, item), labelled in zip(found.classes.items(), self._labelled, strict=True)
            if labelled}
        return {'images': self._images, 'classes': classes, 'map50': _rounded(found.map50),
                'map': _rounded(found.map)}

    def details(self) -> dict[str, Any]:
        """Give all of it: sizes, thresholds, curves over recall and score, confusion."""
        found = self._measured()
        details = found.as_json()
        for (name, item), labelled in zip(found.classes.items(), self._labelled, strict=True):
            if not labelled:
                del details['classes'][name]
                continue
            if item.count:
                details['classes'][name]['precision_at_recall'] = _short(item.curve)
            if item.count and item.operating is not None:
                points = [item.operating.at(float(score)) for score in CURVE_SCORES]
                details['classes'][name]['f1_at_score'] = _short([point.f1 for point in points])
        return {'map50': found.map50, 'map': found.map, **details}


class BoxScores(_Precision):
    """Average precision of boxes."""

    def __init__(self, classes: Sequence[str], score: float) -> None:
        """
        Begin.

        :param score: from which boxes are shown, and confused.
        """
        super().__init__(classes)
        self._scorer: BoxScorer = BoxScorer(classes, score)

    def add(self, sample: Sample, guess: Prediction) -> Verdict:
        """Add an image; what is found in an unknown region is neither right nor wrong."""
        counted = self._note(sample, guess)
        found = self._scorer.add(
            sample.size, sample.boxes[counted.places], counted.labels, counted.crowd, guess.boxes,
            counted.guessed, guess.scores)
        return Verdict(found.cost, f'{found.missed} missed, {len(found.false)} false')


class InstanceScores(_Precision):
    """Average precision of the boxes' masks, by their pixels."""

    def __init__(self, classes: Sequence[str]) -> None:
        super().__init__(classes)
        self._scorer: InstanceScorer = InstanceScorer(classes)

    def add(self, sample: Sample, guess: Prediction) -> None:
        """Add an image that has outlines; in unknown ones nothing is right or wrong."""
        assert sample.masks is not None and guess.masks is not None
        counted = self._note(sample, guess)
        self._scorer.add(
            sample.size, sample.masks[counted.places], counted.labels, counted.crowd, guess.masks,
            counted.guessed, guess.scores)


class SemanticScores:
    """Overlap of label maps over all images together."""

    def __init__(self, classes: Sequence[str]) -> None:
        self._scorer = MaskScorer(match_classes(classes, classes))
        self._count = len(classes)
        self._images = 0

    def __len__(self) -> int:
        return self._images

    def add(self, truth: NDArray[np.uint8], guess: NDArray[np.uint8]) -> Verdict:
        """Add true ids `[H, W]`, of which those that are no class do not count, and our answer."""
        self._images += 1
        known = np.where(truth < self._count, truth, np.uint8(UNKNOWN))
        found = self._scorer.add(known, guess)
        if found.miou is None:
            return Verdict(0.0, 'nothing labelled')
        ious = {name: item.iou for name, item in found.classes.items() if item.iou is not None}
        lowest = sorted(ious, key=lambda name: ious[name])[:3]
        return Verdict(1 - found.miou, f'mIoU {found.miou:.2f}; ' + ', '.join(
            f'{name} {ious[name]:.2f}' for name in lowest))

    def metrics(self) -> dict[str, Any]:
        """
        Give mIoU, pixel accuracy and each class's IoU.

        A class that is in neither the truth nor the answers has no IoU, and no part in the mean.
        """
        found = self._scorer.result()
        return {'images': self._images, 'miou': _rounded(found.miou),
                'pixel_accuracy': _rounded(found.pixel_accuracy),
                'iou': {name: round(item.iou, 4) for name, item in found.classes.items()
                        if item.iou is not None}}

    def details(self) -> dict[str, Any]:
        """Give all of it: IoU, F1, precision and recall of each class, confusion of pixels."""
        return self._scorer.result().as_json()


def principal(numbers: dict[str, Any]) -> tuple[str, float]:
    """Give the name and value of the number that stands for a head."""
    name = next(key for key in PRINCIPAL if key in numbers)
    return name, float(numbers[name])


def overall(metrics: dict[str, dict[str, Any]]) -> float:
    """Give one number for all sets and heads: the mean of what stands for each."""
    values = [principal(numbers)[1] for heads in metrics.values() for numbers in heads.values()]
    return sum(values) / len(values) if values else 0.0


def _short(values: Sequence[float]) -> list[float]:
    return [round(value, 4) for value in values]


def _rounded(value: float | None) -> float:
    return round(value or 0.0, 4)
