"""Small networks that are easy, or hard, to put into lower precision, and images for them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
import onnx
from onnx import helper, numpy_helper, TensorProto

from perception_ros.bundles import Bundle, write_bundle
from perception_ros.bundles.manifest import GraphInfo
from test.builders import manifest
from test.evaluation.data import write_masks

WIDTH, HEIGHT = 96, 64
NAMES = ['red', 'green', 'blue']


def network_model(loud: float = 1.0) -> onnx.ModelProto:
    """Return a graph that says which colour is strongest at each pixel, by three convolutions.

    :param loud: one channel between them carries so many times the others' values, and is not
        used in the end: a great one leaves int8 no steps for the others, or overflows fp16.
    """
    first = np.array([[loud, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
    last = np.array([[0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], np.float32)
    weights = {
        'first.weight': first.reshape(4, 3, 1, 1),
        'depthwise.weight': np.ones((4, 1, 1, 1), np.float32),
        'depthwise.bias': np.zeros(4, np.float32),
        'last.weight': last.reshape(3, 4, 1, 1),
        'white': np.float32(255),
    }
    nodes = [
        helper.make_node('Cast', ['images'], ['cast'], 'cast', to=TensorProto.FLOAT),
        helper.make_node('Transpose', ['cast'], ['nchw'], 'nchw', perm=[0, 3, 1, 2]),
        helper.make_node('Div', ['nchw', 'white'], ['pixels'], 'scaled'),
        helper.make_node('Conv', ['pixels', 'first.weight'], ['a'], 'first'),
        helper.make_node('Relu', ['a'], ['b'], 'relu'),
        helper.make_node(
            'Conv', ['b', 'depthwise.weight', 'depthwise.bias'], ['c'], 'depthwise', group=4
        ),
        helper.make_node('Conv', ['c', 'last.weight'], ['logits'], 'last'),
        helper.make_node('Sigmoid', ['logits'], ['shares'], 'shares'),
        helper.make_node('ArgMax', ['shares'], ['strongest'], 'strongest', axis=1, keepdims=0),
        helper.make_node('Cast', ['strongest'], ['semantic_ground'], 'ids', to=TensorProto.UINT8),
    ]
    graph = helper.make_graph(
        nodes,
        'colours',
        [helper.make_tensor_value_info('images', TensorProto.UINT8, ['B', HEIGHT, WIDTH, 3])],
        [helper.make_tensor_value_info('semantic_ground', TensorProto.UINT8,
                                       ['B', HEIGHT, WIDTH])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8
    )


def write_colours(path: Path, loud: float = 1.0, **changes: object) -> Bundle:
    """Write it as a bundle."""
    payload = network_model(loud).SerializeToString()
    info = manifest(
        name=path.name, detection=None, graph=GraphInfo.of(payload).model_dump(), **changes
    )
    return write_bundle(path, info, payload, '# colours\n\nA network for tests.\n')


def patches(seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return an image of coloured patches and its strongest channel at each pixel."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (8, 12, 3)).astype(np.uint8)
    # The strongest by a margin that eight bits can tell.
    strongest = small.argmax(axis=2)
    rows, columns = np.indices(strongest.shape)
    small = (small // 2).astype(np.uint8)
    small[rows, columns, strongest] += 64
    rgb = np.repeat(np.repeat(small, 8, axis=0), 8, axis=1)
    return rgb, np.repeat(np.repeat(strongest, 8, axis=0), 8, axis=1).astype(np.uint8)


def write_pictures(folder: Path, count: int, first: int = 0) -> Path:
    """Write images `drive_<n>.png` without labels."""
    folder.mkdir(parents=True)
    for seed in range(first, first + count):
        bgr = cv2.cvtColor(patches(seed)[0], cv2.COLOR_RGB2BGR)
        assert cv2.imwrite(str(folder / f'calibration_{seed}.png'), bgr)
    return folder


def write_labelled(root: Path, count: int = 3, first: int = 100) -> Path:
    """Write labelled images `measured_<n>.png`."""
    images, ids = {}, {}
    for seed in range(first, first + count):
        images[f'measured_{seed}'], ids[f'measured_{seed}'] = patches(seed)
    return write_masks(root, images, ids, NAMES)


def untracked(items: Sequence[Any], description: str) -> Iterable[Any]:
    """Stand for a progress bar."""
    return items
