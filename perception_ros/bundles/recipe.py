"""What a foreign model's own recipe does with its outputs, in plain NumPy, one image at a time.

Nothing here is fast, and nothing is shared with the graph: it is what the graph is measured by.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perception_ros.bundles.contract import LEAST_SCORE
from perception_ros.bundles.graph.nms import Selection

Raw = Mapping[str, NDArray[np.float32]]
"""Outputs of the network for one image, without the batch."""


@dataclass(frozen=True, slots=True)
class Boxes:
    """Boxes float32 [N, 4] in input pixels, scores float32 [N], labels int32 [N], best first."""

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int32]


def decode_yolox(
    raw: NDArray[np.float32], size: tuple[int, int], strides: Sequence[int]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return boxes [A, 4] and class scores [A, C] of a raw output [A, 5 + C]."""
    boxes = np.empty((len(raw), 4), np.float32)
    start = 0
    for stride in strides:
        columns, rows = size[0] // stride, size[1] // stride
        level = raw[start : start + rows * columns].reshape(rows, columns, -1)
        x = (level[..., 0] + np.arange(columns)) * stride
        y = (level[..., 1] + np.arange(rows)[:, None]) * stride
        width, height = np.exp(level[..., 2]) * stride, np.exp(level[..., 3]) * stride
        corners = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        boxes[start : start + rows * columns] = np.stack(corners, axis=-1).reshape(-1, 4)
        start += rows * columns
    return boxes, raw[:, 5:] * raw[:, 4:5]


def select(
    boxes: NDArray[np.float32], scores: NDArray[np.float32], selection: Selection, anchors: int
) -> Boxes:
    """Choose the best boxes: boxes [A, 4], class scores [A, C]."""
    candidates, count = selection.sizes(anchors)
    labels = scores.argmax(axis=1).astype(np.int32)
    best = scores.max(axis=1)
    order = np.argsort(-best, kind='stable')[:candidates]
    order = order[best[order] >= LEAST_SCORE]
    if selection.nms_iou is not None:
        order = order[greedy_nms(boxes[order], labels[order], selection.nms_iou)]
    order = order[:count]
    return Boxes(boxes[order], best[order].astype(np.float32), labels[order])


def greedy_nms(
    boxes: NDArray[np.float32], labels: NDArray[np.int32], limit: float
) -> NDArray[np.intp]:
    """Return the indices that greedy class-wise suppression keeps; boxes come best first."""
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept: list[int] = []
    for i, box in enumerate(boxes):
        rivals = [j for j in kept if labels[j] == labels[i]]
        sides = np.minimum(boxes[rivals, 2:], box[2:]) - np.maximum(boxes[rivals, :2], box[:2])
        inter = sides.clip(0).prod(axis=1)
        if not (inter > limit * (area[rivals] + area[i] - inter)).any():
            kept.append(i)
    return np.asarray(kept, np.intp)


def semantic(logits: NDArray[np.float32], enlarge: float) -> NDArray[np.uint8]:
    """Return class ids [h * enlarge, w * enlarge] of logits [C, h, w]."""
    if enlarge != 1:
        rows, columns = (_bilinear(n, enlarge) for n in logits.shape[1:])
        logits = np.asarray(rows @ logits @ columns.T, np.float32)
    return np.asarray(logits.argmax(axis=0), np.uint8)


def _bilinear(cells: int, enlarge: float) -> NDArray[np.float32]:
    """Return the matrix that enlarges one axis, cell centres on cell centres."""
    count = round(cells * enlarge)
    place = ((np.arange(count) + 0.5) / enlarge - 0.5).clip(0, cells - 1)
    low = np.floor(place).astype(int)
    matrix = np.zeros((count, cells), np.float32)
    matrix[np.arange(count), low] += 1 - (place - low)
    matrix[np.arange(count), np.minimum(low + 1, cells - 1)] += place - low
    return matrix
