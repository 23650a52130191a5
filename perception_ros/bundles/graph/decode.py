"""From a head's numbers to boxes, scores and class ids."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
import onnx

from perception_ros.bundles.graph.builder import GraphBuilder


def anchor_points(
    width: int, height: int, strides: Sequence[int]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the cells of a grid head, level after level, row by row.

    :returns: column and row of each cell, float32 [A, 2], and its stride, float32 [A, 1].
    """
    cells, sizes = [], []
    for stride in strides:
        rows, columns = np.mgrid[: height // stride, : width // stride]
        cells.append(np.stack((columns, rows), axis=-1).reshape(-1, 2))
        sizes.append(np.full((cells[-1].shape[0], 1), stride))
    return np.concatenate(cells).astype(np.float32), np.concatenate(sizes).astype(np.float32)


def decode_yolox(
    g: GraphBuilder, raw: str, classes: int, size: tuple[int, int], strides: Sequence[int]
) -> tuple[str, str, str]:
    """Decode YOLOX's head: centre = (xy + cell) * stride, size = exp(wh) * stride.

    :param raw: float32 [B, A, 5 + C]: x, y, w, h, objectness, class probabilities.
    :param size: width and height of the input in pixels.
    :returns: boxes [B, A, 4] in input pixels, scores [B, A], labels int32 [B, A].
    """
    cells, stride = anchor_points(*size, strides)
    steps = g.constant(stride[None], np.float32)
    centre = g.op('Add', g.slice(raw, 0, 2, axis=2), g.constant(cells[None], np.float32))
    centre = g.op('Mul', centre, steps)
    half = g.op('Mul', g.op('Exp', g.slice(raw, 2, 4, axis=2)), steps)
    half = g.op('Mul', half, g.scalar(0.5))
    corners = (g.op('Sub', centre, half), g.op('Add', centre, half))
    boxes = g.op('Concat', *corners, axis=2)
    best, labels = best_class(g, g.slice(raw, 5, 5 + classes, axis=2))
    objectness = g.squeeze(g.slice(raw, 4, 5, axis=2), 2)
    return boxes, g.op('Mul', best, objectness), labels


def best_class(g: GraphBuilder, probabilities: str) -> tuple[str, str]:
    """Return the best class of each box: score float32 [B, A] and label int32 [B, A]."""
    labels = g.op('ArgMax', probabilities, axis=2, keepdims=1)
    # Gathered: ReduceMax takes its axes in one way before opset 18, and in another since.
    best = g.op('GatherElements', probabilities, labels, axis=2)
    return g.squeeze(best, 2), g.cast(g.squeeze(labels, 2), onnx.TensorProto.INT32)


def decode_semantic(g: GraphBuilder, logits: str, enlarge: float) -> str:
    """Turn logits [B, C, h, w] into class ids uint8 [B, h * enlarge, w * enlarge].

    Logits are enlarged bilinearly before the best class is chosen: class borders come out
    smooth, where enlarging the ids would show the cells.
    """
    if enlarge != 1:
        scales = g.constant([1, 1, enlarge, enlarge], np.float32)
        logits = g.op('Resize', logits, '', scales, mode='linear',
                      coordinate_transformation_mode='half_pixel')
    ids = g.op('ArgMax', logits, axis=1, keepdims=0)
    # By way of float: TensorRT converts to UINT8 from floating point only.
    return g.cast(g.cast(ids, onnx.TensorProto.FLOAT), onnx.TensorProto.UINT8)
