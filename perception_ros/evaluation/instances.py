"""Average precision of instance masks, by COCO's rules and through the library of the boxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perception_ros.evaluation.boxes import PrecisionScorer
from perception_ros.evaluation.datasets.base import Rle

Masks = NDArray[np.bool_] | NDArray[np.uint8] | Sequence[Rle]
"""[N, H, W], not 0 where an instance is; or N compressed ones."""


class InstanceScorer(PrecisionScorer):
    """Gathers true and found masks image by image, then measures all at once.

    :raises DatasetError: the library is not installed.
    """

    kind = 'segm'

    def add(
        self,
        size: tuple[int, int],
        true_masks: Masks,
        true_labels: NDArray[np.integer[Any]],
        crowd: NDArray[np.bool_],
        masks: Masks,
        labels: NDArray[np.integer[Any]],
        scores: NDArray[np.floating[Any]],
    ) -> None:
        """Add one image.

        :param size: its width and height in pixels, which are those of all masks.
        :param true_masks: N; `true_labels` [N] and `crowd` [N] belong to them. Labels are indices
            into the classes; others do not count.
        :param masks: M as found, which may overlap, with `labels` [M] and `scores` [M].
        """
        truth = [{'segmentation': rle, 'area': self._area(rle)} for rle in self._rles(true_masks)]
        found = [{'segmentation': rle} for rle in self._rles(masks)]
        self._add(size, truth, true_labels, crowd, found, labels, scores)

    def _rles(self, masks: Masks) -> list[Rle]:
        if not isinstance(masks, np.ndarray):
            return list(masks)
        if not len(masks):
            return []
        columns_first = np.asfortranarray(masks.transpose(1, 2, 0).astype(np.uint8))
        return list(self._library.mask.encode(columns_first))

    def _area(self, rle: Rle) -> float:
        return float(self._library.mask.area(rle))
