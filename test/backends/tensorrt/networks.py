"""Bundles of one small network in every precision, as exporters and quantisers write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper, TensorProto

from perception_ros.bundles.bundle import Bundle, write_bundle
from perception_ros.bundles.manifest import GraphInfo
from test.builders import manifest

WIDTH, HEIGHT, CHANNELS = 96, 64, 8


def write_network(
    path: Path, precision: str, *, claims: str = '', extra: list[onnx.NodeProto] | None = None
) -> Bundle:
    """Write a bundle with two convolutions, whose classes are the strongest channels.

    :param precision: 'fp32', 'fp16', 'int8', or 'int8 weights': weights alone are quantised.
    :param claims: precision that the manifest states; default: the true one.
    :param extra: nodes between 'features' float [B, 4, H, W] and 'logits'.
    """
    net = _Net(precision)
    net.add('Cast', ['images'], 'cast', to=net.floats)
    net.add('Transpose', ['cast'], 'pixels', perm=[0, 3, 1, 2])
    net.convolution('pixels', 'first', 3, CHANNELS)
    net.add('Relu', ['first'], 'relu')
    net.convolution('relu', 'features', CHANNELS, 4)
    net.nodes += extra or [helper.make_node('Identity', ['features'], ['logits'])]
    net.add('ArgMax', ['logits'], 'strongest', axis=1, keepdims=0)
    net.add('Cast', ['strongest'], 'semantic_ground', to=TensorProto.UINT8)
    shape = ['B', HEIGHT, WIDTH]
    graph = helper.make_graph(
        net.nodes,
        'network',
        [helper.make_tensor_value_info('images', TensorProto.UINT8, [*shape, 3])],
        [helper.make_tensor_value_info('semantic_ground', TensorProto.UINT8, shape)],
        [numpy_helper.from_array(array, name) for name, array in net.constants.items()],
    )
    opset = helper.make_opsetid('', 20)
    payload = helper.make_model(graph, opset_imports=[opset], ir_version=9).SerializeToString()
    info = manifest(
        name=path.name,
        detection=None,
        precision=claims or precision.split()[0],
        graph=GraphInfo.of(payload).model_dump(),
    )
    return write_bundle(path, info, payload, 'A network for tests.')


class _Net:
    def __init__(self, precision: str) -> None:
        self.precision = precision
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}
        half = precision == 'fp16'
        self.dtype: Any = np.float16 if half else np.float32
        self.floats = TensorProto.FLOAT16 if half else TensorProto.FLOAT
        self.rng = np.random.default_rng(0)

    def add(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def constant(self, name: str, values: Any, dtype: Any) -> str:
        self.constants[name] = np.asarray(values, dtype)
        return name

    def convolution(self, source: str, name: str, channels: int, maps: int) -> None:
        weights = self.rng.normal(0, 0.3, (maps, channels, 3, 3))
        if self.precision == 'int8':
            source = self.quantized(source, self.constant(f'{source}_scale', 0.05, np.float32), [])
        if self.precision.startswith('int8'):
            scales = np.abs(weights).max(axis=(1, 2, 3)) / 127
            stored = np.rint(weights / scales[:, None, None, None])
            self.constant(f'{name}_scale', scales, np.float32)
            self.constant(f'{name}_zero', np.zeros(maps), np.int8)
            inputs = [
                self.constant(f'{name}_int8', stored, np.int8), f'{name}_scale', f'{name}_zero'
            ]
            kernel = self.add('DequantizeLinear', inputs, f'{name}_kernel', axis=0)
        else:
            kernel = self.constant(f'{name}_kernel', weights, self.dtype)
        bias = self.constant(f'{name}_bias', self.rng.normal(0, 1, maps), self.dtype)
        self.add('Conv', [source, kernel, bias], name, pads=[1, 1, 1, 1])

    def quantized(self, source: str, scale: str, zero: list[str]) -> str:
        zero = [self.constant(f'{source}_zero', 0, np.int8)]
        stored = self.add('QuantizeLinear', [source, scale, *zero], f'{source}_int8')
        return self.add('DequantizeLinear', [stored, scale, *zero], f'{source}_back')
