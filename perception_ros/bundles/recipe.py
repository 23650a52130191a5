"""What a foreign model's own recipe does with its outputs, in plain NumPy, one image at a time.

Nothing here is fast, and nothing is shared with the graph: it is what the graph is measured by.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perception_ros.bundles.contract import LEAST_SCORE
from perception_ros.bundles.graph.nms import Selection

Raw = Mapping[str, NDArray[np.float32]]
"""Outputs of the network for one image, without the batch."""


Floats = NDArray[np.float32]
MasksOf = Callable[[NDArray[np.intp]], Floats]


@dataclass(frozen=True, slots=True)
class Boxes:
    """Boxes float32 [N, 4] in input pixels, scores float32 [N], labels int32 [N], best first.

    `masks` float32 [N, h, w], 0..1 relative to the box, where the model has them.
    """

    boxes: Floats
    scores: Floats
    labels: NDArray[np.int32]
    masks: Floats | None = None


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


def corners(centred: Floats) -> Floats:
    """Turn boxes [A, 4] from cx, cy, w, h into x1, y1, x2, y2."""
    low = centred[:, :2] - centred[:, 2:4] / 2
    return np.concatenate((low, low + centred[:, 2:4]), axis=1)


def decode_nanodet(
    logits: Floats, size: tuple[int, int], strides: Sequence[int], offset: float
) -> Floats:
    """Return boxes [A, 4] of distance distributions [A, 4 * bins]."""
    logits = logits.reshape(len(logits), 4, -1)
    shares = np.exp(logits - logits.max(axis=2, keepdims=True))
    shares /= shares.sum(axis=2, keepdims=True)
    distances = (shares * np.arange(shares.shape[2])).sum(axis=2)
    boxes = []
    start = 0
    for stride in strides:
        for y in range(-(-size[1] // stride)):
            for x in range(-(-size[0] // stride)):
                left, top, right, bottom = distances[start] * stride
                px, py = (x + offset) * stride, (y + offset) * stride
                boxes.append((px - left, py - top, px + right, py + bottom))
                start += 1
    return np.asarray(boxes, np.float32)


def select(
    boxes: Floats,
    scores: Floats,
    selection: Selection,
    anchors: int,
    labels: NDArray[np.int32] | None = None,
    masks_of: MasksOf | None = None,
) -> Boxes:
    """Choose the best boxes: boxes [A, 4] with class scores [A, C], or scores [A] and labels [A].

    :param masks_of: makes the masks [N, h, w] of the rows that are chosen, in their order.
    """
    candidates, count = selection.sizes(anchors)
    best = scores
    if labels is None:
        labels, best = scores.argmax(axis=1).astype(np.int32), scores.max(axis=1)
    order = np.argsort(-best, kind='stable')[:candidates]
    order = order[best[order] >= LEAST_SCORE]
    if selection.nms_iou is not None:
        order = order[greedy_nms(boxes[order], labels[order], selection.nms_iou)]
    order = order[:count]
    masks = masks_of(order) if masks_of else None
    return Boxes(boxes[order], best[order].astype(np.float32), labels[order], masks)


def best_pairs(boxes: Floats, scores: Floats, selection: Selection) -> Boxes:
    """Choose the best pairs of box and class, of boxes [Q, 4] and class scores [Q, C]."""
    flat = scores.ravel()
    order = np.argsort(-flat, kind='stable')[: selection.max_detections]
    order = order[flat[order] >= LEAST_SCORE]
    rows, labels = np.divmod(order, scores.shape[1])
    return Boxes(boxes[rows], flat[order], labels.astype(np.int32))


def prototype_masks(
    weights: Floats, prototypes: Floats, boxes: Floats, size: tuple[int, int], cells: int
) -> Floats:
    """Return masks [N, cells, cells] of weights [N, P] and prototypes [P, h, w], cut to boxes."""
    whole = np.tensordot(weights, prototypes, 1)
    # Beyond 80 it is 0 or 1, and exp would overflow.
    logits = cut_to_boxes(whole, boxes, size, cells).clip(-80, 80)
    return np.asarray(1 / (1 + np.exp(-logits)), np.float32)


def cut_to_boxes(whole: Floats, boxes: Floats, size: tuple[int, int], cells: int) -> Floats:
    """Sample masks [N, h, w] over the whole input bilinearly in their boxes: [N, cells, cells]."""
    height, width = whole.shape[1:]
    masks = np.empty((len(boxes), cells, cells), np.float32)
    share = (np.arange(cells) + 0.5) / cells
    for mask, values, box in zip(masks, whole, boxes, strict=True):
        x = ((box[0] + share * (box[2] - box[0])) * width / size[0] - 0.5).clip(0, width - 1)
        y = ((box[1] + share * (box[3] - box[1])) * height / size[1] - 0.5).clip(0, height - 1)
        left, top = np.floor(x).astype(int), np.floor(y).astype(int)
        right, below = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
        dx, dy = x - left, (y - top)[:, None]
        upper = values[top][:, left] * (1 - dx) + values[top][:, right] * dx
        lower = values[below][:, left] * (1 - dx) + values[below][:, right] * dx
        mask[...] = upper * (1 - dy) + lower * dy
    return masks


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


def semantic(
    logits: NDArray[np.float32], enlarge: float, limit: float = 0.0
) -> NDArray[np.uint8]:
    """Return class ids [h * enlarge, w * enlarge] of logits [C, h, w].

    A single channel says class 1 where it is above `limit`, and 0 elsewhere.
    """
    if enlarge != 1:
        rows, columns = (_bilinear(n, enlarge) for n in logits.shape[1:])
        logits = np.asarray(rows @ logits @ columns.T, np.float32)
    if len(logits) == 1:
        return np.asarray(logits[0] > limit, np.uint8)
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
