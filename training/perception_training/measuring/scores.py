"""The runtime's own scorers, fed with samples: what a set does not label has no part in them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perception_ros.evaluation.boxes import BoxScorer
from perception_ros.evaluation.classes import match_classes
from perception_ros.evaluation.masks import MaskScorer
from perception_training.data.sample import Sample, UNKNOWN
from perception_training.measuring.predict import Prediction


class BoxScores:
    """Average precision of boxes; classes that no image labels are left out."""

    def __init__(self, classes: Sequence[str]) -> None:
        self._scorer = BoxScorer(classes)
        self._labelled = np.zeros(len(classes), bool)
        self._images = 0

    def __len__(self) -> int:
        return self._images

    def add(self, sample: Sample, guess: Prediction) -> None:
        """Add an image; unknown regions are no true boxes."""
        self._images += 1
        self._labelled |= sample.labelled
        crowd = np.zeros(len(sample.boxes), bool)
        self._scorer.add(sample.size, sample.boxes, sample.labels, crowd, guess.boxes,
                         guess.labels, guess.scores)

    def metrics(self) -> dict[str, Any]:
        """Give AP50 and AP50:95 per class with the number of true boxes n, and their means."""
        found = self._scorer.result()
        classes = {
            name: {'n': item.count, 'ap50': _rounded(item.ap50), 'ap': _rounded(item.ap)}
            for (name, item), labelled in zip(found.classes.items(), self._labelled, strict=True)
            if labelled}
        return {'images': self._images, 'classes': classes, 'map50': _rounded(found.map50),
                'map': _rounded(found.map)}


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
