"""Intersection over union of semantic masks, from one confusion matrix over all images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perception_ros.core.types import UNLABELLED
from perception_ros.evaluation.classes import CommonClasses


@dataclass(frozen=True, slots=True)
class ClassOverlap:
    """Overlap of one class."""

    pixels: int
    """So many are labelled as it."""
    iou: float | None
    """Intersection over union; None where it is neither labelled nor found."""


@dataclass(frozen=True, slots=True)
class MaskAccuracy:
    """Overlap of true and found masks, by class."""

    classes: Mapping[str, ClassOverlap]
    pixel_accuracy: float | None
    """Share of the pixels labelled as one of the classes that are right; None without any."""

    @property
    def miou(self) -> float | None:
        """Mean IoU over the classes that are labelled or found."""
        known = [item.iou for item in self.classes.values() if item.iou is not None]
        return sum(known) / len(known) if known else None


class MaskScorer:
    """Counts pixels image by image; those that nobody labelled do not count.

    A pixel labelled as a class that the model does not know counts as a false one of whatever
    class the model gave it.
    """

    def __init__(self, common: CommonClasses) -> None:
        self._common = common
        self._confusion = np.zeros((len(common.names) + 1,) * 2, np.int64)

    def add(self, truth: NDArray[np.uint8], found: NDArray[np.uint8]) -> None:
        """Add class ids [H, W] of one image, those of the data and those of the model."""
        known = truth != UNLABELLED
        # OTHER is -1: the last row and column.
        rows = self._common.of_data[truth[known]] % len(self._confusion)
        columns = self._common.of_model[found[known]] % len(self._confusion)
        cells = np.bincount(
            rows * len(self._confusion) + columns, minlength=self._confusion.size
        )
        self._confusion += cells.reshape(self._confusion.shape)

    def result(self) -> MaskAccuracy:
        """Measure what was added."""
        count = len(self._common.names)
        inner = np.diag(self._confusion)[:count]
        labelled, found = self._confusion.sum(axis=1)[:count], self._confusion.sum(axis=0)[:count]
        return MaskAccuracy(
            {
                name: ClassOverlap(int(labelled[i]), _share(
                    int(inner[i]), int(labelled[i] + found[i] - inner[i])
                ))
                for i, name in enumerate(self._common.names)
            },
            _share(int(inner.sum()), int(labelled.sum())),
        )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
