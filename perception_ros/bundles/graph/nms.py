"""Non-maximum suppression of a fixed shape, made of plain operators that every runtime has.

Greedy suppression walks through the boxes from best to worst and keeps one if no better box *that
was itself kept* overlaps it. Written over all boxes at once, that is the fixed point of

    keep[i] = no j with keep[j] and suppresses[j, i]

where `suppresses` holds only pairs of one class, j better than i, IoU above the limit. Starting
from "all are kept", each round settles every box whose better overlapping boxes are settled, or
one of them is settled and kept; so the result is greedy suppression exactly once the rounds reach
the longest chain of boxes that *alternate* between kept and suppressed. Detectors' boxes lie in
tight clusters, which settle in a few rounds whatever their size; `rounds` has ample margin.

The idea of iterating over the whole matrix is "Cluster NMS" (Zheng et al., "Enhancing Geometric
Factors in Model Learning and Inference for Object Detection and Instance Segmentation", 2020).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx

from perception_ros.bundles.contract import LEAST_SCORE
from perception_ros.bundles.graph.builder import GraphBuilder
from perception_ros.bundles.graph.masks import MaskHead
from perception_ros.core.errors import ImportModelError

MOST_CANDIDATES = 3840
"""Greatest K of TensorRT's TopK."""


@dataclass(frozen=True, slots=True)
class Selection:
    """How the best boxes of an image are chosen."""

    max_detections: int = 300
    """N: boxes that come out; the rest is padding with score 0."""
    nms_iou: float | None = 0.45
    """Boxes of one class that overlap a better one by more are dropped; None: none are."""
    candidates: int = 512
    """K: boxes, best first, that take part; those beyond are lost."""
    rounds: int = 16
    """Chains of alternately kept and suppressed boxes up to this length are exact."""

    def __post_init__(self) -> None:
        """Raise ImportModelError for numbers that cannot be meant."""
        for name in ('max_detections', 'candidates'):
            value = getattr(self, name)
            if not 1 <= value <= MOST_CANDIDATES:
                raise ImportModelError(
                    f'{name}: expected 1 to {MOST_CANDIDATES} (the greatest K of '
                    f"TensorRT's TopK), got {value}"
                )
        if self.nms_iou is not None and not 0 < self.nms_iou <= 1:
            raise ImportModelError(f'nms_iou: expected a number in (0, 1], got {self.nms_iou}')
        if self.rounds < 1:
            raise ImportModelError(f'rounds: expected 1 or more, got {self.rounds}')

    def sizes(self, anchors: int) -> tuple[int, int]:
        """Return K and N for a head with this many boxes: never more than there are."""
        k = min(self.candidates, anchors)
        if self.nms_iou is None:
            k = min(self.max_detections, anchors)
        return k, min(self.max_detections, k)


def select(
    g: GraphBuilder,
    boxes: str,
    scores: str,
    labels: str,
    anchors: int,
    selection: Selection,
    masks: MaskHead | None = None,
) -> None:
    """Choose the best boxes and name them as the bundle's outputs.

    boxes float32 [B, A, 4], scores float32 [B, A], labels int32 [B, A] become `boxes` [B, N, 4],
    `scores` [B, N] and `labels` [B, N], best first, padded with zeros; with `masks` there is
    `masks` [B, N, h, w] too, 0 in the padding.
    """
    k, n = selection.sizes(anchors)
    extra = masks.rows if masks else None
    scores, boxes, labels, extra = _best(g, boxes, scores, labels, k, extra)
    alive = g.op('GreaterOrEqual', scores, g.scalar(LEAST_SCORE))
    if selection.nms_iou is not None:
        overlaps = _suppresses(g, boxes, labels, k, selection.nms_iou)
        alive = g.op('And', alive, _settle(g, alive, overlaps, selection.rounds))
    scores = g.op('Where', alive, scores, g.scalar(0))
    if n < k or selection.nms_iou is not None:
        scores, boxes, labels, extra = _best(g, boxes, scores, labels, n, extra)
    filled = g.op('Greater', scores, g.scalar(0))
    g.name(g.op('Where', g.unsqueeze(filled, 2), boxes, g.scalar(0)), 'boxes')
    g.name(g.op('Where', filled, scores, g.scalar(0)), 'scores')
    g.name(g.op('Where', filled, labels, g.constant(0, np.int32)), 'labels')
    if masks and extra:
        shown = g.unsqueeze(g.unsqueeze(filled, 2), 3)
        answer = masks.answer(g, boxes, extra)
        g.name(g.op('Where', shown, answer, g.scalar(0)), 'masks')


def _best(
    g: GraphBuilder, boxes: str, scores: str, labels: str, count: int, extra: str | None
) -> tuple[str, str, str, str | None]:
    """Return the `count` best, sorted: scores [B, K], boxes [B, K, 4], labels [B, K], extra."""
    limit = g.constant([count], np.int64)
    best, index = g.ops('TopK', scores, limit, outputs=2, axis=1, largest=1, sorted=1)
    rows = g.unsqueeze(index, 2)
    boxes = g.op('GatherND', boxes, rows, batch_dims=1)
    if extra:
        extra = g.op('GatherND', extra, rows, batch_dims=1)
    return best, boxes, g.op('GatherElements', labels, index, axis=1), extra


def _suppresses(g: GraphBuilder, boxes: str, labels: str, k: int, limit: float) -> str:
    """Return float32 [B, K, K]: 1 where box j (row) suppresses box i (column) if j is kept."""
    columns = g.split(boxes, 4, axis=2)
    rows = [g.op('Transpose', side, perm=[0, 2, 1]) for side in columns]

    def extent(low: int, high: int) -> str:
        start = g.op('Max', columns[low], rows[low])
        return g.op('Relu', g.op('Sub', g.op('Min', columns[high], rows[high]), start))

    def area(sides: list[str]) -> str:
        return g.op('Mul', g.op('Sub', sides[2], sides[0]), g.op('Sub', sides[3], sides[1]))

    inter = g.op('Mul', extent(0, 2), extent(1, 3))
    union = g.op('Sub', g.op('Add', area(columns), area(rows)), inter)
    # Multiplied out: an empty box would divide zero by zero.
    overlap = g.op('Greater', inter, g.op('Mul', union, g.scalar(limit)))
    same = g.op('Equal', g.unsqueeze(labels, 2), g.unsqueeze(labels, 1))
    rank = np.arange(k, dtype=np.int32)
    better = g.op('Less', g.constant(rank.reshape(1, k, 1), np.int32),
                  g.constant(rank.reshape(1, 1, k), np.int32))
    return g.cast(g.op('And', g.op('And', overlap, same), better), onnx.TensorProto.FLOAT)


def _settle(g: GraphBuilder, alive: str, suppresses: str, rounds: int) -> str:
    """Return bool [B, K]: which boxes greedy suppression keeps."""
    half = g.scalar(0.5)
    keep = g.cast(g.unsqueeze(alive, 1), onnx.TensorProto.FLOAT)
    free = ''
    for _ in range(rounds):
        free = g.op('Less', g.op('MatMul', keep, suppresses), half)
        keep = g.cast(free, onnx.TensorProto.FLOAT)
    return g.squeeze(free, 1)
