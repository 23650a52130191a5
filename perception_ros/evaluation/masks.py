"""Intersection over union of semantic masks, from one confusion matrix over all images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perception_ros.core.types import UNLABELLED
from perception_ros.evaluation.classes import CommonClasses
from perception_ros.evaluation.confusion import Confusion

OTHERS = 'other'
"""Last row and column of a confusion matrix."""


@dataclass(frozen=True, slots=True)
class ClassOverlap:
    """Overlap of one class."""

    pixels: int
    """So many are labelled as it."""
    iou: float | None
    """Intersection over union; None where it is neither labelled nor found."""
    precision: float | None = None
    """Share of what was found that is right; None where nothing was."""
    recall: float | None = None
    """Share of what is labelled that was found; None where nothing is."""

    @property
    def f1(self) -> float | None:
        """Twice the intersection over the sum of both areas, from the IoU."""
        return None if self.iou is None else 2 * self.iou / (1 + self.iou)

    def as_json(self) -> dict[str, Any]:
        """Return it, ready for JSON."""
        return {'pixels': self.pixels, 'iou': self.iou, 'f1': self.f1,
                'precision': self.precision, 'recall': self.recall}


@dataclass(frozen=True, slots=True)
class MaskAccuracy:
    """Overlap of true and found masks, by class."""

    classes: Mapping[str, ClassOverlap]
    pixel_accuracy: float | None
    """Share of the pixels labelled as one of the classes that are right; None without any."""
    confusion: Confusion | None = None
    """Of pixels; the last row and column are classes that the other side does not know."""

    @property
    def miou(self) -> float | None:
        """Mean IoU over the classes that are labelled or found."""
        known = [item.iou for item in self.classes.values() if item.iou is not None]
        return sum(known) / len(known) if known else None

    def as_json(self) -> dict[str, Any]:
        """Return it, ready for JSON."""
        answer: dict[str, Any] = {
            'miou': self.miou, 'pixel_accuracy': self.pixel_accuracy,
            'classes': {name: item.as_json() for name, item in self.classes.items()},
        }
        if self.confusion:
            answer['confusion'] = self.confusion.as_json()
        return answer


class MaskScorer:
    """Counts pixels image by image; those that nobody labelled do not count.

    A pixel labelled as a class that the model does not know counts as a false one of whatever
    class the model gave it.
    """

    def __init__(self, common: CommonClasses) -> None:
        self._common = common
        self._confusion = np.zeros((len(common.names) + 1,) * 2, np.int64)

    def add(self, truth: NDArray[np.uint8], found: NDArray[np.uint8]) -> MaskAccuracy:
        """Add class ids [H, W] of one image, those of the data and those of the model.

        :returns: the accuracy of this image alone.
        """
        known = truth != UNLABELLED
        # OTHER is -1: the last row and column.
        rows = self._common.of_data[truth[known]] % len(self._confusion)
        columns = self._common.of_model[found[known]] % len(self._confusion)
        cells = np.bincount(
            rows * len(self._confusion) + columns, minlength=self._confusion.size
        )
        image = cells.reshape(self._confusion.shape)
        self._confusion += image
        return self._accuracy(image)

    def result(self) -> MaskAccuracy:
        """Measure what was added."""
        return self._accuracy(self._confusion.copy())

    def _accuracy(self, confusion: NDArray[np.int64]) -> MaskAccuracy:
        names = self._common.names
        right = np.diag(confusion)[: len(names)].tolist()
        labelled, found = (confusion.sum(axis=axis).tolist() for axis in (1, 0))
        return MaskAccuracy(
            {
                name: ClassOverlap(
                    labelled[i],
                    _share(right[i], labelled[i] + found[i] - right[i]),
                    _share(right[i], found[i]),
                    _share(right[i], labelled[i]),
                )
                for i, name in enumerate(names)
            },
            _share(sum(right), sum(labelled[: len(names)])),
            Confusion((*names, OTHERS), confusion),
        )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
