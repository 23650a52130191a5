"""Average precision of boxes, by COCO's rules and through a library that keeps to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import contextlib
from dataclasses import dataclass
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perception_ros.core.errors import DatasetError


@dataclass(frozen=True, slots=True)
class ClassPrecision:
    """Average precision of one class; None where nothing of it is labelled."""

    count: int
    """True boxes, without crowds."""
    ap50: float | None
    """At an IoU of 0.5."""
    ap: float | None
    """Mean over the IoUs 0.5, 0.55, ... 0.95."""


@dataclass(frozen=True, slots=True)
class BoxAccuracy:
    """Average precision of boxes or of instance masks, by class; 100 an image count."""

    classes: Mapping[str, ClassPrecision]

    @property
    def map50(self) -> float | None:
        """Mean of AP50 over the classes of which something is labelled."""
        return _mean([item.ap50 for item in self.classes.values()])

    @property
    def map(self) -> float | None:
        """Mean of AP50-95 over the classes of which something is labelled."""
        return _mean([item.ap for item in self.classes.values()])


class PrecisionScorer:
    """What boxes and masks have in common: gathered image by image, then measured all at once.

    :raises DatasetError: the library is not installed.
    """

    kind: str
    """What is compared, as the library calls it."""

    def __init__(self, classes: Sequence[str]) -> None:
        self._library = _library()
        self._classes = tuple(classes)
        self._images: list[dict[str, int]] = []
        self._truth: list[dict[str, Any]] = []
        self._found: list[dict[str, Any]] = []

    def _add(
        self,
        size: tuple[int, int],
        truth: Sequence[Mapping[str, Any]],
        true_labels: NDArray[np.integer[Any]],
        crowd: NDArray[np.bool_],
        found: Sequence[Mapping[str, Any]],
        labels: NDArray[np.integer[Any]],
        scores: NDArray[np.floating[Any]],
    ) -> None:
        """Add an image with the places of what is true and found, in COCO's own words."""
        image_id = len(self._images) + 1
        self._images.append({'id': image_id, 'width': size[0], 'height': size[1]})
        for place, label, is_crowd in zip(truth, true_labels, crowd, strict=True):
            if label >= 0:
                self._truth.append({
                    'id': len(self._truth) + 1, 'image_id': image_id,
                    'category_id': int(label) + 1, 'iscrowd': int(is_crowd), **place,
                })
        for place, label, score in zip(found, labels, scores, strict=True):
            if label >= 0:
                self._found.append({
                    'image_id': image_id, 'category_id': int(label) + 1, 'score': float(score),
                    **place,
                })

    def result(self) -> BoxAccuracy:
        """Measure what was added."""
        precision = self._precision()
        counts = [0] * len(self._classes)
        for item in self._truth:
            counts[item['category_id'] - 1] += not item['iscrowd']
        return BoxAccuracy({
            name: ClassPrecision(
                counts[i],
                float(precision[0, :, i].mean()) if counts[i] else None,
                float(precision[:, :, i].mean()) if counts[i] else None,
            )
            for i, name in enumerate(self._classes)
        })

    def _precision(self) -> NDArray[np.float64]:
        """Return precision by IoU, recall and class: [10, 101, classes]."""
        if not self._found or not self._truth:
            return np.zeros((10, 101, len(self._classes)))
        categories = [{'id': i, 'name': name} for i, name in enumerate(self._classes, 1)]
        with contextlib.redirect_stdout(io.StringIO()):  # the library prints as it goes
            truth = self._library.COCO({
                'images': self._images, 'annotations': self._truth, 'categories': categories
            })
            judge = self._library.COCOeval_faster(truth, truth.loadRes(self._found), self.kind)
            judge.evaluate()
            judge.accumulate()
        # [IoU, recall, class, area, detections]: all areas, most detections.
        return np.asarray(judge.eval['precision'][:, :, :, 0, -1], np.float64)


class BoxScorer(PrecisionScorer):
    """Gathers true and found boxes image by image, then measures all at once.

    :raises DatasetError: the library is not installed.
    """

    kind = 'bbox'

    def add(
        self,
        size: tuple[int, int],
        true_boxes: NDArray[np.floating[Any]],
        true_labels: NDArray[np.integer[Any]],
        crowd: NDArray[np.bool_],
        boxes: NDArray[np.floating[Any]],
        labels: NDArray[np.integer[Any]],
        scores: NDArray[np.floating[Any]],
    ) -> None:
        """Add one image.

        :param size: its width and height in pixels.
        :param true_boxes: [N, 4] (x1, y1, x2, y2) in pixels; `true_labels` [N] and `crowd` [N]
            belong to them. Labels are indices into the classes; others do not count.
        :param boxes: [M, 4], as found, with `labels` [M] and `scores` [M].
        """
        self._add(
            size, [_place(box) for box in true_boxes], true_labels, crowd,
            [_place(box) for box in boxes], labels, scores,
        )


def _library() -> Any:
    try:
        import faster_coco_eval
    except ImportError as error:
        raise DatasetError(
            f'boxes and masks cannot be measured here: {error}; pip install faster-coco-eval, or '
            'the extra perception_ros[evaluation]'
        ) from error
    return faster_coco_eval


def _place(box: NDArray[np.floating[Any]]) -> dict[str, Any]:
    x1, y1, x2, y2 = (float(side) for side in box)
    return {'bbox': [x1, y1, x2 - x1, y2 - y1], 'area': (x2 - x1) * (y2 - y1)}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
