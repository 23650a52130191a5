"""Runs a network that takes one image over a batch, image by image.

For graphs whose batch cannot be made dynamic, and for those whose answers have no batch at all. It
is right at every batch size, and no faster than one image after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx
from onnx import helper

from perception_ros.bundles.graph.batch import BATCH
from perception_ros.bundles.graph.builder import GraphBuilder

OneImage = Callable[[GraphBuilder, Mapping[str, str]], Mapping[str, str]]
"""Network's outputs for one image -> answers without a batch, each of a fixed shape."""


def without_batch(g: GraphBuilder, outputs: Mapping[str, str]) -> Mapping[str, str]:
    """Take the batch of one off each output."""
    return {name: g.squeeze(tensor, 0) for name, tensor in outputs.items()}


def loop_over_images(
    model: onnx.ModelProto,
    answers: OneImage,
    types: Mapping[str, int],
    *,
    batched: bool,
) -> onnx.ModelProto:
    """Return `model`, which takes one image, as one that takes [batch, ...].

    :param answers: adds what stands behind the network inside of the loop.
    :param types: `onnx.TensorProto` element type of each answer.
    :param batched: whether the network's input has a batch, of one.
    """
    network = onnx.ModelProto()
    network.CopyFrom(model)
    image = network.graph.input[0]
    names = {name: f'{name}/one' for name in (image.name, *(o.name for o in network.graph.output))}
    _rename(network.graph, names)
    g = GraphBuilder('loop/')
    counter, go_on = 'loop/counter', 'loop/go_on'
    one = g.op('Gather', image.name, counter, axis=0)
    if batched:
        one = g.unsqueeze(one, 0)
    g.name(one, names[image.name])
    before, g.nodes = g.nodes, []
    inside = answers(g, {o.name: names[o.name] for o in model.graph.output})
    g.op('Identity', go_on)
    body = helper.make_graph(
        [*before, *network.graph.node, *g.nodes],
        'one image',
        [
            helper.make_tensor_value_info(counter, onnx.TensorProto.INT64, []),
            helper.make_tensor_value_info(go_on, onnx.TensorProto.BOOL, []),
        ],
        [
            helper.make_tensor_value_info(g.nodes[-1].output[0], onnx.TensorProto.BOOL, []),
            *(_value(inside[name], types[name]) for name in types),
        ],
    )
    outer = GraphBuilder('loops/')
    count = outer.op('Gather', outer.op('Shape', image.name), outer.constant(0, np.int64), axis=0)
    outer.nodes.append(
        helper.make_node('Loop', [count, ''], list(types), name='loop', body=body)
    )
    batch = onnx.ValueInfoProto()
    batch.CopyFrom(image)
    dims = batch.type.tensor_type.shape.dim
    sizes = [dim.dim_value for dim in dims][1 if batched else 0 :]
    batch = helper.make_tensor_value_info(
        image.name, image.type.tensor_type.elem_type, [BATCH, *sizes]
    )
    graph = helper.make_graph(
        outer.nodes,
        'looped',
        [batch],
        [_value(name, elem) for name, elem in types.items()],
        [*network.graph.initializer, *g.initializers, *outer.initializers],
    )
    graph.sparse_initializer.extend(network.graph.sparse_initializer)
    looped = helper.make_model(graph, opset_imports=network.opset_import)
    looped.ir_version = network.ir_version
    looped.functions.extend(network.functions)
    return looped


def _rename(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    """Rename tensors wherever nodes read or write them, in subgraphs too."""
    for node in graph.node:
        for side in (node.input, node.output):
            for i, name in enumerate(side):
                side[i] = names.get(name, name)
        for attribute in node.attribute:
            for inner in ((attribute.g,) if attribute.HasField('g') else attribute.graphs):
                _rename(inner, names)
    for value in graph.output:
        value.name = names.get(value.name, value.name)


def _value(name: str, elem: int) -> onnx.ValueInfoProto:
    value = onnx.ValueInfoProto(name=name)
    value.type.tensor_type.elem_type = elem
    return value
