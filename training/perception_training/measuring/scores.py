"""The runtime's own scorers, fed with samples: what a set does not label has no part in them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perception_ros.evaluation.boxes import BoxScorer, PrecisionScorer
from perception_ros.evaluation.classes import match_classes
from perception_ros.evaluation.instances import InstanceScorer
from perception_ros.evaluation.masks import MaskScorer
from perception_training.data.sample import Sample, UNKNOWN
from perception_training.measuring.predict import Prediction


class _Precision:
    """Average precision; classes that no image labels are left out."""

    _scorer: PrecisionScorer

    def __init__(self, classes: Sequence[str]) -> None:
        self._labelled = np.zeros(len(classes), bool)
        self._images = 0

    def __len__(self) -> int:
        return self._images

    def _note(self, sample: Sample) -> NDArray[np.bool_]:
        """Count an image, and say which of its objects are crowds: none."""
        self._images += 1
        self._labelled |= sample.labelled
        return np.zeros(len(sample.boxes), bool)

    def metrics(self) -> dict[str, Any]:
        """Give AP50 and AP50:95 per class with the number of true boxes n, and their means."""
        found = self._scorer.result()
        classes = {
            name: {'n': item.count, 'ap50': _rounded(item.ap50), 'ap': _rounded(item.ap)}
            for (name, item), labelled in zip(found.classes.items(), self._labelled, strict=True)
            if labelled}
        return {'images': self._images, 'classes': classes, 'map50': _rounded(found.map50),
                'map': _rounded(found.map)}


class BoxScores(_Precision):
    """Average precision of boxes."""

    def __init__(self, classes: Sequence[str]) -> None:
        super().__init__(classes)
        self._scorer: BoxScorer = BoxScorer(classes)

    def add(self, sample: Sample, guess: Prediction) -> None:
        """Add an image; unknown regions are no true boxes."""
        self._scorer.add(sample.size, sample.boxes, sample.labels, self._note(sample),
                         guess.boxes, guess.labels, guess.scores)


class InstanceScores(_Precision):
    """Average precision of the boxes' masks, by their pixels."""

    def __init__(self, classes: Sequence[str]) -> None:
        super().__init__(classes)
        self._scorer: InstanceScorer = InstanceScorer(classes)

    def add(self, sample: Sample, guess: Prediction) -> None:
        """Add an image that has outlines; unknown regions are no true ones."""
        assert sample.masks is not None and guess.masks is not None
        self._scorer.add(sample.size, sample.masks, sample.labels, self._note(sample),
                         guess.masks, guess.labels, guess.scores)


class SemanticScores:
    """Overlap of label maps over all images together."""

    def __init__(self, classes: Sequence[str]) -> None:
        self._scorer = MaskScorer(match_classes(classes, classes))
        self._count = len(classes)
        self._images = 0

    def __len__(self) -> int:
        return self._images

    def add(self, truth: NDArray[np.uint8], guess: NDArray[np.uint8]) -> None:
        """Add true ids `[H, W]`, of which those that are no class do not count, and our answer."""
        self._images += 1
        self._scorer.add(np.where(truth < self._count, truth, np.uint8(UNKNOWN)), guess)

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


def _rounded(value: float | None) -> float:
    return round(value or 0.0, 4)
