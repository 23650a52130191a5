"""Puts the three parts of a bundle's graph together: before, network, behind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import onnx
from onnx import helper

from perception_ros.bundles.contract import INPUT_NAME, TensorSpec
from perception_ros.bundles.graph.batch import BATCH
from perception_ros.bundles.graph.builder import GraphBuilder
from perception_ros.bundles.graph.foreign import ForeignGraph, opset_of
from perception_ros.bundles.graph.preprocess import PixelFormat, preprocess

PREFIX = 'network/'
"""Before each name of the foreign graph, so that none of them can be one of ours."""

_TYPES = {
    'uint8': onnx.TensorProto.UINT8,
    'int32': onnx.TensorProto.INT32,
    'float32': onnx.TensorProto.FLOAT,
}


def behind(g: GraphBuilder, output: str) -> str:
    """Return an output of the network as the nodes behind it see it: float32."""
    return g.cast(PREFIX + output, onnx.TensorProto.FLOAT)


def integers_behind(g: GraphBuilder, output: str) -> str:
    """Return an output of the network that holds class ids, as int32."""
    return g.cast(PREFIX + output, onnx.TensorProto.INT32)


def assemble(
    foreign: ForeignGraph,
    pixels: PixelFormat,
    answers: GraphBuilder,
    outputs: Mapping[str, TensorSpec],
) -> bytes:
    """Return the serialised graph of a bundle.

    :param answers: the nodes behind the network, which name the bundle's outputs.
    :param outputs: what those outputs are.
    """
    network = onnx.ModelProto()
    network.CopyFrom(foreign.model)
    _add_prefix(network.graph)
    before = GraphBuilder('before/')
    tensor = preprocess(before, INPUT_NAME, pixels, foreign.dtype, foreign.layout)
    before.nodes.append(
        helper.make_node('Identity', [tensor], [PREFIX + foreign.input_name], name='network_input')
    )
    images = _value(INPUT_NAME, TensorSpec('uint8', (None, foreign.height, foreign.width, 3)))
    nodes = [*before.nodes, *network.graph.node, *answers.nodes]
    weights = [*before.initializers, *network.graph.initializer, *answers.initializers]
    graph = helper.make_graph(
        nodes,
        'bundle',
        [images],
        [_value(name, spec) for name, spec in outputs.items()],
        _used(weights, nodes),
    )
    graph.sparse_initializer.extend(network.graph.sparse_initializer)
    graph.quantization_annotation.extend(network.graph.quantization_annotation)
    model = helper.make_model(
        graph, opset_imports=network.opset_import, producer_name='perception_ros'
    )
    model.functions.extend(network.functions)
    # The oldest that carries these operators: old runtimes refuse a newer number outright.
    model.ir_version = max(8, helper.find_min_ir_version_for(list(network.opset_import)))
    assert opset_of(model) == foreign.opset
    payload: bytes = model.SerializeToString(deterministic=True)
    return payload


def _add_prefix(graph: onnx.GraphProto) -> None:
    """Put `PREFIX` before every name, in subgraphs too: those use tensors from outside of them."""

    def prefixed(names: Iterable[str]) -> list[str]:
        return [PREFIX + name if name else '' for name in names]  # '' is an input left out

    for node in graph.node:
        node.name = PREFIX + node.name if node.name else ''
        node.input[:], node.output[:] = prefixed(node.input), prefixed(node.output)
        for attribute in node.attribute:
            for inner in ((attribute.g,) if attribute.HasField('g') else attribute.graphs):
                _add_prefix(inner)
    for named in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        named.name = PREFIX + named.name
    for sparse in graph.sparse_initializer:
        sparse.values.name = PREFIX + sparse.values.name
    for note in graph.quantization_annotation:
        note.tensor_name = PREFIX + note.tensor_name
        for entry in note.quant_parameter_tensor_names:
            entry.value = PREFIX + entry.value


def _value(name: str, spec: TensorSpec) -> onnx.ValueInfoProto:
    shape = [BATCH if size is None else size for size in spec.shape]
    return helper.make_tensor_value_info(name, _TYPES[spec.dtype], shape)


def _used(
    weights: list[onnx.TensorProto], nodes: list[onnx.NodeProto]
) -> list[onnx.TensorProto]:
    """Leave out what the surgery has replaced: runtimes warn about each."""
    if any(a.HasField('g') or a.graphs for node in nodes for a in node.attribute):
        return weights  # subgraphs may use any of them
    used = {name for node in nodes for name in node.input}
    return [tensor for tensor in weights if tensor.name in used]
