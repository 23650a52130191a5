"""Bundles in other precisions, without calibration: enough for a parser, useless on the road."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper, TensorProto

from perception_ros.bundles import Bundle
from perception_ros.bundles.bundle import write_bundle
from perception_ros.bundles.manifest import GraphInfo

CHANNEL_AXIS = {'Conv': 0, 'ConvTranspose': 1}


def converted(bundle: Bundle, folder: Path, precision: str) -> Bundle:
    """Write a bundle whose convolutions are 'fp16' or 'int8' and all else what it was."""
    if precision == bundle.manifest.precision:
        return bundle
    model = onnx.load(bundle.graph_path)
    graph = _Graph(model.graph)
    convert = {'fp16': graph.halve, 'int8': graph.quantize}[precision]
    nodes = [
        new
        for node in list(model.graph.node)
        for new in (convert(node) if graph.is_convolution(node) else [node])
    ]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    payload = model.SerializeToString()
    changes = {'precision': precision, 'graph': GraphInfo.of(payload)}
    manifest = bundle.manifest.model_copy(update=changes)
    return write_bundle(folder / precision, manifest, payload, 'For tests of the parser.')


class _Graph:
    def __init__(self, graph: onnx.GraphProto) -> None:
        self._graph = graph
        self._stored = {tensor.name: tensor for tensor in graph.initializer}
        self._zero = self._store('test_zero', np.int8(0))
        self._scale = self._store('test_scale', np.float32(0.05))

    def is_convolution(self, node: onnx.NodeProto) -> bool:
        return node.op_type in CHANNEL_AXIS and node.input[1] in self._stored

    def halve(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        """Return a convolution in half precision between two casts."""
        source, result = node.input[0], node.output[0]
        half, back = f'{result}/half_in', f'{result}/half_out'
        for index, name in enumerate(node.input[1:], 1):
            values = numpy_helper.to_array(self._stored[name])
            node.input[index] = self._store(f'{name}/half', values.astype(np.float16))
        node.input[0], node.output[0] = half, back
        return [
            helper.make_node('Cast', [source], [half], to=TensorProto.FLOAT16),
            node,
            helper.make_node('Cast', [back], [result], to=TensorProto.FLOAT),
        ]

    def quantize(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        """Return a convolution behind the pairs that TensorRT fuses with it."""
        source, result = node.input[0], node.output[0]
        axis = CHANNEL_AXIS[node.op_type]
        weights = numpy_helper.to_array(self._stored[node.input[1]])
        others = tuple(n for n in range(weights.ndim) if n != axis)
        scales = np.maximum(np.abs(weights).max(axis=others, keepdims=True) / 127, 1e-9)
        kernel = [
            self._store(f'{result}/kernel', np.rint(weights / scales).astype(np.int8)),
            self._store(f'{result}/scales', scales.astype(np.float32).reshape(-1)),
            self._store(f'{result}/zeros', np.zeros(weights.shape[axis], np.int8)),
        ]
        pair = [self._scale, self._zero]
        stored, seen = f'{result}/stored', f'{result}/seen'
        node.input[0], node.input[1] = seen, f'{result}/weights'
        return [
            helper.make_node('QuantizeLinear', [source, *pair], [stored]),
            helper.make_node('DequantizeLinear', [stored, *pair], [seen]),
            helper.make_node('DequantizeLinear', kernel, [f'{result}/weights'], axis=axis),
            node,
        ]

    def _store(self, name: str, values: np.ndarray) -> str:
        if name not in self._stored:
            tensor = numpy_helper.from_array(np.asarray(values), name)
            self._graph.initializer.append(tensor)
            self._stored[name] = tensor
        return name
