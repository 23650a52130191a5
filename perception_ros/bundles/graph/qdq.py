"""INT8 convolutions, as Q/DQ pairs that TensorRT, OpenVINO and ONNX Runtime take.

Symmetric int8 everywhere, weights per channel, activations per tensor, biases as they are. A pair
stands before the input of a convolution and none behind it: what follows, such as an activation,
wants the exact sum, and runtimes fuse it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
import onnx
from onnx import helper, numpy_helper

from perception_ros.bundles.graph.network import drop_unused_initializers, Network

LEVELS = 127
"""Steps of a symmetric int8 on either side of zero; -128 is not used."""


def to_int8(
    network: Network, limits: Mapping[str, float], chosen: Collection[str]
) -> onnx.ModelProto:
    """Return the graph with the chosen convolutions in int8.

    :param limits: tensor -> the greatest magnitude that is kept; greater ones are cut to it. Each
        input of a chosen convolution has one.
    :param chosen: names of convolutions.
    """
    model = network.copy()
    graph = model.graph
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    nodes: list[onnx.NodeProto] = []
    made: set[str] = set()
    for node in graph.node:
        if node.name in chosen:
            activation, weights = node.input[0], node.input[1]
            if activation not in made:
                made.add(activation)
                nodes += _pair(graph, activation, limits[activation])
            if weights not in made:
                made.add(weights)
                axis = 0 if node.op_type == 'Conv' else 1
                nodes.append(_stored_int8(graph, weights, stored[weights], axis))
            node.input[0], node.input[1] = f'{activation}/int8', f'{weights}/int8'
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.value_info[:]
    drop_unused_initializers(graph)
    return model


def channel_scales(weights: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """Return the step of each channel along `axis`: float32 [channels], above 0."""
    others = tuple(i for i in range(weights.ndim) if i != axis)
    greatest = np.abs(weights).max(axis=others)
    # Channels of zeros take any step.
    return np.where(greatest > 0, greatest / LEVELS, 1).astype(np.float32)


def _pair(graph: onnx.GraphProto, name: str, limit: float) -> list[onnx.NodeProto]:
    """Return the pair behind an activation, whose scale and zero point go into the graph."""
    scale, zero = f'{name}/scale', f'{name}/zero'
    step = np.float32(limit / LEVELS) if limit > 0 else np.float32(1)
    graph.initializer.append(numpy_helper.from_array(np.asarray(step), scale))
    graph.initializer.append(numpy_helper.from_array(np.asarray(np.int8(0)), zero))
    return [
        helper.make_node('QuantizeLinear', [name, scale, zero], [f'{name}/q'], f'{name}/Q'),
        helper.make_node(
            'DequantizeLinear', [f'{name}/q', scale, zero], [f'{name}/int8'], f'{name}/DQ'
        ),
    ]


def _stored_int8(
    graph: onnx.GraphProto, name: str, weights: NDArray[np.float32], axis: int
) -> onnx.NodeProto:
    """Store weights as int8 and return the node that makes them float again."""
    scales = channel_scales(weights, axis)
    shape = [1] * weights.ndim
    shape[axis] = -1
    steps = np.round(weights / scales.reshape(shape)).clip(-LEVELS, LEVELS).astype(np.int8)
    parts: dict[str, NDArray[Any]] = {
        'q': steps, 'scale': scales, 'zero': np.zeros(len(scales), np.int8)
    }
    for part, values in parts.items():
        graph.initializer.append(numpy_helper.from_array(values, f'{name}/{part}'))
    return helper.make_node(
        'DequantizeLinear', [f'{name}/{part}' for part in parts], [f'{name}/int8'],
        f'{name}/DQ', axis=axis,
    )
