"""Small foreign networks for tests, in the shapes that exporters give them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper, TensorProto

WIDTH, HEIGHT, STRIDE = 32, 16, 4
CELLS = (WIDTH // STRIDE) * (HEIGHT // STRIDE)
CLASSES = 3


def _weights(*shape: int, scale: float = 0.3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, scale, shape).astype(np.float32)


def write(
    path: Path,
    nodes: list[onnx.NodeProto],
    outputs: dict[str, list[Any]],
    constants: dict[str, np.ndarray],
    *,
    opset: int = 12,
    batch: Any = 1,
    size: tuple[Any, Any] = (HEIGHT, WIDTH),
    dtype: int = TensorProto.FLOAT,
) -> Path:
    """Write a graph with the input `images`, [batch, 3, *size]."""
    graph = helper.make_graph(
        nodes,
        'foreign',
        [helper.make_tensor_value_info('images', dtype, [batch, 3, *size])],
        [helper.make_tensor_value_info(n, dtype, shape) for n, shape in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', opset)], ir_version=8)
    onnx.save(model, str(path))
    return path


def two_heads(path: Path, **options: Any) -> Path:
    """Write a family-`decoded` network: boxes and scores by cell, and logits at stride 4.

    Its batch of one is also written into Reshape, as exporters do.
    """
    half = options.get('dtype') == TensorProto.FLOAT16
    batch = options.get('batch', 1)
    kind = np.float16 if half else np.float32
    rows, columns = np.mgrid[: HEIGHT // STRIDE, : WIDTH // STRIDE]
    corner = np.stack((columns, rows), -1).reshape(1, -1, 2) * STRIDE
    anchors = np.concatenate((corner - 4, corner + 8), -1)
    conv = {'kernel_shape': [STRIDE, STRIDE], 'strides': [STRIDE, STRIDE]}
    nodes = [
        helper.make_node('Conv', ['images', 'w_box'], ['box_map'], **conv),
        helper.make_node('Reshape', ['box_map', 'to_boxes'], ['box_rows']),
        helper.make_node('Transpose', ['box_rows'], ['shift'], perm=[0, 2, 1]),
        helper.make_node('Add', ['shift', 'anchors'], ['boxes']),
        helper.make_node('Conv', ['images', 'w_score'], ['score_map'], **conv),
        helper.make_node('Reshape', ['score_map', 'to_scores'], ['score_rows']),
        helper.make_node('Transpose', ['score_rows'], ['score_logits'], perm=[0, 2, 1]),
        helper.make_node('Sigmoid', ['score_logits'], ['scores']),
        helper.make_node('Conv', ['images', 'w_scene'], ['scene'], **conv),
    ]
    free = batch if batch == 1 else -1
    constants = {
        'w_box': _weights(4, 3, STRIDE, STRIDE, seed=1),
        'w_score': _weights(CLASSES, 3, STRIDE, STRIDE, scale=1.0, seed=2),
        'w_scene': _weights(5, 3, STRIDE, STRIDE, seed=3),
        'anchors': anchors,
    }
    constants = {name: value.astype(kind) for name, value in constants.items()}
    constants['to_boxes'] = np.array([free, 4, CELLS], np.int64)
    constants['to_scores'] = np.array([free, CLASSES, -1 if free == 1 else CELLS], np.int64)
    outputs = {
        'boxes': [batch, CELLS, 4],
        'scores': [batch, CELLS, CLASSES],
        'scene': [batch, 5, HEIGHT // STRIDE, WIDTH // STRIDE],
    }
    return write(path, nodes, outputs, constants, **options)


def segmenter(path: Path, classes: int = 4) -> Path:
    """Write a family-`semantic` network, enlarged to full size by Resize with fixed sizes."""
    conv = {'kernel_shape': [2, 2], 'strides': [2, 2]}
    nodes = [
        helper.make_node('Conv', ['images', 'w'], ['half'], **conv),
        helper.make_node(
            'Resize', ['half', '', '', 'sizes'], ['Logits'], mode='linear',
            coordinate_transformation_mode='half_pixel',
        ),
    ]
    constants = {
        'w': _weights(classes, 3, 2, 2),
        'sizes': np.array([1, classes, HEIGHT, WIDTH], np.int64),
    }
    return write(path, nodes, {'Logits': [1, classes, HEIGHT, WIDTH]}, constants, opset=13)


def batch_mixer(path: Path) -> Path:
    """Write a network whose answer for an image depends on its neighbours in the batch."""
    nodes = [
        helper.make_node('ReduceMean', ['images'], ['mean'], axes=[0], keepdims=1),
        helper.make_node('Sub', ['images', 'mean'], ['centred']),
        helper.make_node('Conv', ['centred', 'w'], ['logits'], kernel_shape=[1, 1]),
    ]
    constants = {'w': _weights(3, 3, 1, 1)}
    return write(path, nodes, {'logits': [1, 3, HEIGHT, WIDTH]}, constants, opset=13)
