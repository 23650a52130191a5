"""How far the answers of two engines to the same images lie apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from perception_ros.benchmarks.report import Difference
from perception_ros.bundles.manifest import Manifest
from perception_ros.core.boxes import match, overlaps

Answers = Mapping[str, NDArray[np.generic]]
"""Output name of the bundle contract -> array whose first axis is the image."""

LEAST_SCORE = 0.01
"""Below this score the best N of equals are a matter of rounding."""
LEAST_IOU = 0.5
"""Of a box and its partner."""


class _Found(NamedTuple):
    """Boxes of one image that count."""

    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    labels: NDArray[np.int64]


def difference(
    reference: Answers, came: Answers, manifest: Manifest, content: NDArray[np.int64]
) -> Difference:
    """Compare two answers to the same images.

    :param content: int64 [n, 4], where in the input each image lies; the padding around it is
        left out of the comparison.
    """
    box_px: list[float] = []
    scores: list[float] = []
    boxes = lost = gained = 0
    if manifest.detection:
        threshold = max(manifest.detection.score_threshold, LEAST_SCORE)
        for index, inner in enumerate(content):
            left, right = (_found(answers, index, inner) for answers in (reference, came))
            shares = overlaps(left.boxes, right.boxes)
            shares[left.labels[:, None] != right.labels[None, :]] = -1.0
            pairs = match(shares, LEAST_IOU)
            rows, columns = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
            box_px.append(_gap(left.boxes[rows], right.boxes[columns]))
            scores.append(_gap(left.scores[rows], right.scores[columns]))
            boxes += int((left.scores >= threshold).sum())
            lost += _lonely(left.scores, rows, threshold)
            gained += _lonely(right.scores, columns, threshold)
    masks = list(_mask_differences(reference, came, manifest, content))
    return Difference(
        images=len(content),
        box_px=max(box_px, default=None),
        score=max(scores, default=None),
        boxes=boxes,
        lost=lost,
        gained=gained,
        mask_share=float(np.concatenate(masks).mean()) if masks else None,
    )


def _found(answers: Answers, index: int, inner: NDArray[np.int64]) -> _Found:
    boxes = answers['boxes'][index].astype(np.float64)
    scores = answers['scores'][index].astype(np.float64)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    good = (scores >= LEAST_SCORE) & np.isfinite(boxes).all(axis=1)
    good &= ((centres >= inner[:2]) & (centres <= inner[2:])).all(axis=1)
    return _Found(boxes[good], scores[good], answers['labels'][index].astype(np.int64)[good])


def _gap(left: NDArray[np.float64], right: NDArray[np.float64]) -> float:
    return float(np.abs(left - right).max(initial=0.0))


def _lonely(scores: NDArray[np.float64], paired: list[int], threshold: float) -> int:
    """Return how many boxes of at least that score have no partner."""
    alone = np.ones(len(scores), bool)
    alone[paired] = False
    return int((alone & (scores >= threshold)).sum())


def _mask_differences(
    reference: Answers, came: Answers, manifest: Manifest, content: NDArray[np.int64]
) -> Iterator[NDArray[np.bool_]]:
    """Yield, for each image and head, which cells within the image differ."""
    for head, info in manifest.semantic.items():
        name = f'semantic_{head}'
        for index, inner in enumerate(content):
            # cells that hold nothing but the image
            x1, y1 = -(-inner[:2] // info.stride)
            x2, y2 = inner[2:] // info.stride
            left, right = (answers[name][index, y1:y2, x1:x2] for answers in (reference, came))
            yield (left != right).reshape(-1)
