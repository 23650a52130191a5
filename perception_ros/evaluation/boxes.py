"""Average precision of boxes, by COCO's rules and through a library that keeps to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import contextlib
from dataclasses import dataclass, field
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perception_ros.core.errors import DatasetError
from perception_ros.evaluation.confusion import Confusion
from perception_ros.evaluation.matching import (
    confused,
    FoundSide,
    judged,
    NEUTRAL,
    partners,
    TrueSide,
    Verdict,
)
from perception_ros.evaluation.operating import Operating, OperatingPoint

SIZES = ('small', 'medium', 'large')
"""COCO's: below 32x32 px of the source image, below 96x96 px, and above."""
BACKGROUND = 'background'
"""Last row of a confusion matrix: what is nothing; last column: what was not found."""
_AREAS = ((0.0, 1e10), (0.0, 32.0**2), (32.0**2, 96.0**2), (96.0**2, 1e10))
"""Least and greatest area of all boxes, and of each of `SIZES`, in square pixels."""


@dataclass(frozen=True, slots=True)
class Precision:
    """Average precision of some boxes; None where nothing is labelled."""

    count: int
    """True boxes, without crowds."""
    ap50: float | None
    """At an IoU of 0.5."""
    ap: float | None
    """Mean over the IoUs 0.5, 0.55, ... 0.95."""

    def as_json(self) -> dict[str, Any]:
        """Return it, ready for JSON."""
        return {'n': self.count, 'ap50': self.ap50, 'ap': self.ap}


@dataclass(frozen=True, slots=True)
class ClassPrecision(Precision):
    """Average precision of one class."""

    sizes: Mapping[str, Precision] = field(default_factory=dict)
    """The same of the true boxes of each of `SIZES`; empty without any label."""
    curve: tuple[float, ...] = ()
    """Precision at an IoU of 0.5 and recalls 0, 0.01, ... 1: the highest at that or more."""
    operating: Operating | None = None
    """Right and false boxes by score, at an IoU of 0.5."""

    @property
    def found(self) -> int:
        """True boxes that were found, whatever the score."""
        return self.operating.found if self.operating else 0

    @property
    def recall(self) -> float | None:
        """Their share; None where nothing is labelled."""
        return self.found / self.count if self.count else None

    @property
    def best(self) -> OperatingPoint | None:
        """The score threshold that gives the highest F1."""
        return self.operating.best if self.operating else None

    def as_json(self) -> dict[str, Any]:
        """Return it without the curves, ready for JSON."""
        best = self.best
        return {
            **Precision.as_json(self),
            'sizes': {size: item.as_json() for size, item in self.sizes.items()},
            'best_f1': {'f1': best.f1, 'score': best.score, 'precision': best.precision,
                        'recall': best.recall} if best else None,
        }


@dataclass(frozen=True, slots=True)
class BoxAccuracy:
    """Average precision of boxes or of instance masks, by class; 100 an image count."""

    classes: Mapping[str, ClassPrecision]
    confusion: Confusion | None = None
    """Of boxes from `score` on, at an IoU of 0.5."""
    score: float = 0.0

    @property
    def count(self) -> int:
        """True boxes of all classes."""
        return sum(item.count for item in self.classes.values())

    @property
    def recall(self) -> float | None:
        """Share of the true boxes of all classes that were found, whatever the score."""
        found = sum(item.found for item in self.classes.values())
        return found / self.count if self.count else None

    @property
    def map50(self) -> float | None:
        """Mean of AP50 over the classes of which something is labelled."""
        return _mean([item.ap50 for item in self.classes.values()])

    @property
    def map(self) -> float | None:
        """Mean of AP50-95 over the classes of which something is labelled."""
        return _mean([item.ap for item in self.classes.values()])

    def as_json(self) -> dict[str, Any]:
        """Return it without the curves, ready for JSON."""
        answer: dict[str, Any] = {
            'classes': {name: item.as_json() for name, item in self.classes.items()}
        }
        if self.confusion:
            answer['confusion'] = {'score': self.score, **self.confusion.as_json()}
        return answer


class PrecisionScorer:
    """What boxes and masks have in common: gathered image by image, then measured all at once.

    :raises DatasetError: the library is not installed.
    """

    kind: str
    """What is compared, as the library calls it."""

    def __init__(self, classes: Sequence[str]) -> None:
        self._library = library()
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
        precision, counts = self._precision(), self._counts()
        classes = {}
        for i, name in enumerate(self._classes):
            whole, *sizes = (
                Precision(
                    counts[i][area],
                    float(precision[0, :, i, area].mean()) if counts[i][area] else None,
                    float(precision[:, :, i, area].mean()) if counts[i][area] else None,
                )
                for area in range(1 + len(SIZES))
            )
            classes[name] = ClassPrecision(
                whole.count, whole.ap50, whole.ap,
                dict(zip(SIZES, sizes, strict=True)) if whole.count else {},
                tuple(precision[0, :, i, 0].tolist()) if whole.count else (),
                self._operating(i, whole.count),
            )
        return self._accuracy(classes)

    def _operating(self, label: int, count: int) -> Operating | None:
        return None

    def _accuracy(self, classes: Mapping[str, ClassPrecision]) -> BoxAccuracy:
        return BoxAccuracy(classes)

    def _counts(self) -> list[list[int]]:
        """Return true boxes by class, of all sizes and of each: [classes, 4]."""
        counts = np.zeros((len(self._classes), 1 + len(SIZES)), np.int64)
        for item in self._truth:
            if not item['iscrowd']:
                # Both of COCO's bounds belong to either size: such a box is to be found in both.
                fits = [low <= item['area'] <= high for low, high in _AREAS]
                counts[item['category_id'] - 1] += fits
        counted: list[list[int]] = counts.tolist()
        return counted

    def _precision(self) -> NDArray[np.float64]:
        """Return precision by IoU, recall, class and size: [10, 101, classes, 4]; 0 without."""
        if not self._found or not self._truth:
            return np.zeros((10, 101, len(self._classes), 1 + len(SIZES)))
        categories = [{'id': i, 'name': name} for i, name in enumerate(self._classes, 1)]
        with contextlib.redirect_stdout(io.StringIO()):  # the library prints as it goes
            # It also writes into what it is given: there may be a next time.
            truth = self._library.COCO({
                'images': self._images, 'annotations': [dict(item) for item in self._truth],
                'categories': categories,
            })
            found = truth.loadRes([dict(item) for item in self._found])
            judge = self._library.COCOeval_faster(truth, found, self.kind)
            judge.evaluate()
            judge.accumulate()
        # [IoU, recall, class, area, detections]: most detections.
        return np.asarray(judge.eval['precision'][..., -1], np.float64)


class BoxScorer(PrecisionScorer):
    """Gathers true and found boxes image by image, then measures all at once.

    Average precision is the library's; right and false boxes by score, and what was taken for
    what, it does not give.

    :param score: boxes from this score on are in the confusion matrix.
    :raises DatasetError: the library is not installed.
    """

    kind = 'bbox'

    def __init__(self, classes: Sequence[str], score: float = 0.0) -> None:
        super().__init__(classes)
        self._score = score
        self._confusion = np.zeros((len(classes) + 1,) * 2, np.int64)
        self._judged: list[tuple[NDArray[Any], NDArray[Any], NDArray[np.int64]]] = []

    def add(
        self,
        size: tuple[int, int],
        true_boxes: NDArray[np.floating[Any]],
        true_labels: NDArray[np.integer[Any]],
        crowd: NDArray[np.bool_],
        boxes: NDArray[np.floating[Any]],
        labels: NDArray[np.integer[Any]],
        scores: NDArray[np.floating[Any]],
    ) -> Verdict:
        """Add one image; return what is wrong with it at the confusion matrix's score.

        :param size: its width and height in pixels.
        :param true_boxes: [N, 4] (x1, y1, x2, y2) in pixels; `true_labels` [N] and `crowd` [N]
            belong to them. Labels are indices into the classes; others do not count.
        :param boxes: [M, 4], as found, with `labels` [M] and `scores` [M].
        """
        self._add(
            size, [_place(box) for box in true_boxes], true_labels, crowd,
            [_place(box) for box in boxes], labels, scores,
        )
        ours, theirs = true_labels >= 0, labels >= 0
        # In the library's own precision: an overlap of exactly a half counts.
        return self._judge(
            TrueSide(true_boxes[ours].astype(np.float64), true_labels[ours], crowd[ours]),
            FoundSide(boxes[theirs].astype(np.float64), labels[theirs], scores[theirs]),
        )

    def _judge(self, true: TrueSide, found: FoundSide) -> Verdict:
        partner = partners(true, found)
        counted = partner != NEUTRAL
        self._judged.append(
            (found.labels[counted], found.scores[counted], partner[counted])
        )
        for pair in confused(true, found, partner, self._score):
            self._confusion[pair] += 1  # -1 is the last row or column
        return judged(true, found, partner, self._score)

    def _operating(self, label: int, count: int) -> Operating | None:
        labels, scores, partner = (
            np.concatenate([np.zeros(0, kind), *(item[i] for item in self._judged)])
            for i, kind in enumerate((np.int64, np.float64, np.int64))
        )
        mine = labels == label
        return Operating.of(scores[mine], partner[mine] >= 0, count)

    def _accuracy(self, classes: Mapping[str, ClassPrecision]) -> BoxAccuracy:
        names = (*self._classes, BACKGROUND)
        return BoxAccuracy(classes, Confusion(names, self._confusion.copy()), self._score)


def library() -> Any:
    """Return the library that keeps to COCO's rules.

    :raises DatasetError: it is not installed.
    """
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
