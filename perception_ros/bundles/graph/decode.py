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


def corners(g: GraphBuilder, centred: str) -> str:
    """Turn boxes [B, A, 4] from cx, cy, w, h into x1, y1, x2, y2."""
    centre, size = g.slice(centred, 0, 2, axis=2), g.slice(centred, 2, 4, axis=2)
    half = g.op('Mul', size, g.scalar(0.5))
    return g.op('Concat', g.op('Sub', centre, half), g.op('Add', centre, half), axis=2)


def in_pixels(g: GraphBuilder, boxes: str, size: tuple[int, int]) -> str:
    """Scale boxes [B, A, 4] whose sides are relative to the input to its width and height."""
    return g.op('Mul', boxes, g.constant(np.array([[[*size, *size]]]), np.float32))


def label_column(g: GraphBuilder, rows: str, column: int) -> str:
    """Return a column of [B, A, n] that holds class ids as numbers: int32 [B, A]."""
    ids = g.squeeze(g.slice(rows, column, column + 1, axis=2), 2)
    # A network's ids are whole, but half precision or an engine may leave 2.9999 of a 3.
    return g.cast(g.op('Floor', g.op('Add', ids, g.scalar(0.5))), onnx.TensorProto.INT32)


def best_pairs(
    g: GraphBuilder, boxes: str, probabilities: str, classes: int, count: int
) -> tuple[str, str, str]:
    """Return the best `count` pairs of box and class, for heads that let a box speak twice.

    :param probabilities: [B, A, C]
    :returns: boxes [B, K, 4], scores [B, K], labels int32 [B, K], best first.
    """
    flat = g.op('Flatten', probabilities, axis=1)
    best, index = g.ops(
        'TopK', flat, g.constant([count], np.int64), outputs=2, axis=1, largest=1, sorted=1
    )
    number = g.constant(classes, np.int64)
    row = g.op('Div', index, number)
    label = g.op('Sub', index, g.op('Mul', row, number))
    boxes = g.op('GatherND', boxes, g.unsqueeze(row, 2), batch_dims=1)
    return boxes, best, g.cast(label, onnx.TensorProto.INT32)


def decode_nanodet(
    g: GraphBuilder,
    distances: str,
    bins: int,
    centres: NDArray[np.float32],
    strides: NDArray[np.float32],
) -> str:
    """Decode distributions of distances from a point to the four sides of its box.

    A distance is the expectation over 0, 1, ..., bins - 1 strides ("Generalized Focal Loss", Li et
    al., 2020).

    :param distances: logits [B, A, 4 * bins]: left, top, right, bottom.
    :param centres: points in input pixels [A, 2].
    :param strides: [A, 1].
    :returns: boxes [B, A, 4] in input pixels.
    """
    shape = g.constant([0, len(centres), 4, bins], np.int64)
    shares = g.op('Softmax', g.op('Reshape', distances, shape), axis=3)
    steps = g.constant(np.arange(bins).reshape(bins, 1), np.float32)
    sides = g.op('Mul', g.squeeze(g.op('MatMul', shares, steps), 3),
                 g.constant(strides[None], np.float32))
    points = g.constant(centres[None], np.float32)
    low = g.op('Sub', points, g.slice(sides, 0, 2, axis=2))
    return g.op('Concat', low, g.op('Add', points, g.slice(sides, 2, 4, axis=2)), axis=2)


def decode_binary(g: GraphBuilder, logits: str, enlarge: float, limit: float) -> str:
    """Turn one channel [B, 1, h, w] into class ids: 1 where it is above `limit`."""
    logits = _enlarged(g, logits, enlarge)
    ids = g.squeeze(g.op('Greater', logits, g.scalar(limit)), 1)
    return g.cast(g.cast(ids, onnx.TensorProto.FLOAT), onnx.TensorProto.UINT8)


def decode_semantic(g: GraphBuilder, logits: str, enlarge: float) -> str:
    """Turn logits [B, C, h, w] into class ids uint8 [B, h * enlarge, w * enlarge].

    Logits are enlarged bilinearly before the best class is chosen: class borders come out
    smooth, where enlarging the ids would show the cells.
    """
    logits = _enlarged(g, logits, enlarge)
    ids = g.op('ArgMax', logits, axis=1, keepdims=0)
    # By way of float: TensorRT converts to UINT8 from floating point only.
    return g.cast(g.cast(ids, onnx.TensorProto.FLOAT), onnx.TensorProto.UINT8)


def _enlarged(g: GraphBuilder, logits: str, enlarge: float) -> str:
    if enlarge == 1:
        return logits
    scales = g.constant([1, 1, enlarge, enlarge], np.float32)
    return g.op('Resize', logits, '', scales, mode='linear',
                coordinate_transformation_mode='half_pixel')
