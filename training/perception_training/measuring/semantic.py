"""Overlap of label maps."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


class SemanticScorer:
    """Counts pixels image by image; those that nobody labelled do not count."""

    def __init__(self, classes: Sequence[str]) -> None:
        self._classes = classes
        self._images = 0
        self._confusion = np.zeros((len(classes), len(classes)), np.int64)

    def __len__(self) -> int:
        return self._images

    def add(self, truth: NDArray[np.uint8], guess: NDArray[np.uint8]) -> None:
        """Add true ids `[H, W]`, 255 = unknown, and predicted ids."""
        count = len(self._classes)
        self._images += 1
        known = truth < count
        self._confusion += np.bincount(
            truth[known].astype(np.int64) * count + guess[known],
            minlength=count ** 2).reshape(count, count)

    def metrics(self) -> dict[str, Any]:
        """
        Give mIoU, pixel accuracy and each class's IoU.

        A class that is in neither the truth nor the answers has no IoU, and no part in the mean.
        """
        inner = np.diag(self._confusion)
        union = self._confusion.sum(0) + self._confusion.sum(1) - inner
        each = inner / np.maximum(union, 1)
        there = union > 0
        return {
            'images': self._images,
            'miou': round(float(each[there].mean()), 4) if there.any() else 0.0,
            'pixel_accuracy': round(float(inner.sum() / max(self._confusion.sum(), 1)), 4),
            'iou': {n: round(float(v), 4)
                    for n, v, seen in zip(self._classes, each, there, strict=True) if seen}}
