"""Which part of a bundle's graph is the network: all between its first and its last weights.

What lies before it (cast, layout, normalisation) and behind it (decoding, suppression, argmax) is
cheap and exact, and stays so whatever the precision of the network.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import onnx
from onnx import helper

from perception_ros.bundles.graph.foreign import raised
from perception_ros.core.errors import BundleError

CONVOLUTIONS = ('Conv', 'ConvTranspose')
_WEIGHTED = (*CONVOLUTIONS, 'Gemm', 'MatMul')


@dataclass(frozen=True)
class Network:
    """A graph whose nodes all have names of their own, and what of it is the network."""

    model: onnx.ModelProto
    """Do not change: take a copy (`copy`)."""
    weighted: tuple[str, ...]
    """Names of the nodes with weights, in the order of the graph."""
    inside: frozenset[str]
    """Names of these nodes and of all between them."""
    results: tuple[str, ...]
    """Tensors that the network hands to what lies behind it."""

    @property
    def convolutions(self) -> tuple[str, ...]:
        """Names of the convolutions among the nodes with weights."""
        kinds = {node.name: node.op_type for node in self.model.graph.node}
        return tuple(name for name in self.weighted if kinds[name] in CONVOLUTIONS)

    def copy(self) -> onnx.ModelProto:
        """Return the graph, to be changed."""
        return _copied(self.model)


def find_network(original: onnx.ModelProto) -> Network:
    """Return the network of a bundle's graph, in an opset of at least 17.

    :raises BundleError: it has no weights, or has them in a loop.
    """
    model = raised(original)
    _name_nodes(model.graph)
    _constants_to_initializers(model.graph)
    stored = {tensor.name for tensor in model.graph.initializer}
    nodes = list(model.graph.node)
    weighted = [node for node in nodes if _has_weights(node, stored)]
    if not weighted:
        raise BundleError(
            f'expected a network with weights in {", ".join(_WEIGHTED)}, got none outside of '
            'loops; a model that runs image by image keeps its precision, unless it can be '
            'imported with --batch dynamic'
        )
    names = {node.name for node in weighted}
    after = _reached(nodes, names)
    before = _reaching(nodes, names)
    inside = names | (after & before)
    taken_inside = {x for node in nodes if node.name in inside for x in node.input}
    made_inside = {x: node for node in nodes if node.name in inside for x in node.output}
    taken_behind = {x for node in nodes if node.name not in inside for x in node.input}
    taken_behind |= {output.name for output in model.graph.output}
    results = tuple(
        name for name in made_inside if name in taken_behind or name not in taken_inside
    )
    return Network(model, tuple(node.name for node in weighted), frozenset(inside), results)


def cut_out(model: onnx.ModelProto, results: Sequence[str]) -> onnx.ModelProto:
    """Return the part of a graph that makes these float32 tensors, which become its outputs."""
    part = _copied(model)
    makers = {name: node for node in model.graph.node for name in node.output}
    needed: set[str] = set()
    waiting = list(results)
    while waiting:
        node = makers.get(waiting.pop())
        if node is not None and node.name not in needed:
            needed.add(node.name)
            waiting += taken(node)
    graph = part.graph
    _replace(graph.node, [node for node in graph.node if node.name in needed])
    _replace(graph.output, [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in results
    ])
    drop_unused_initializers(graph)
    return part


def drop_unused_initializers(graph: onnx.GraphProto) -> None:
    """Leave out constants that no node takes."""
    used = {name for node in graph.node for name in taken(node)}
    _replace(graph.initializer, [item for item in graph.initializer if item.name in used])


def taken(node: onnx.NodeProto) -> set[str]:
    """Return the tensors that a node takes, those that its subgraphs take from outside too."""
    names = {name for name in node.input if name}
    for attribute in node.attribute:
        for graph in ((attribute.g,) if attribute.HasField('g') else attribute.graphs):
            for inner in graph.node:
                names |= taken(inner)
            names |= {output.name for output in graph.output}
    return names


def _has_weights(node: onnx.NodeProto, stored: set[str]) -> bool:
    if node.op_type == 'MatMul':
        return any(name in stored for name in node.input)
    return node.op_type in _WEIGHTED and node.input[1] in stored


def _reached(nodes: Sequence[onnx.NodeProto], start: set[str]) -> set[str]:
    """Return the names of all nodes behind those of `start`."""
    reached: set[str] = set()
    tensors: set[str] = set()
    for node in nodes:  # a graph's nodes are in an order in which they can run
        if taken(node) & tensors:
            reached.add(node.name)
        if node.name in start or node.name in reached:
            tensors |= set(node.output)
    return reached


def _reaching(nodes: Sequence[onnx.NodeProto], goal: set[str]) -> set[str]:
    """Return the names of all nodes before those of `goal`."""
    reaching: set[str] = set()
    tensors: set[str] = set()
    for node in reversed(nodes):
        if set(node.output) & tensors:
            reaching.add(node.name)
        if node.name in goal or node.name in reaching:
            tensors |= taken(node)
    return reaching


def _name_nodes(graph: onnx.GraphProto) -> None:
    """Give each node a name that no other has."""
    taken: set[str] = set()
    for i, node in enumerate(graph.node):
        if not node.name or node.name in taken:
            node.name = f'{node.name or node.op_type}#{i}'
        taken.add(node.name)


def _constants_to_initializers(graph: onnx.GraphProto) -> None:
    kept = []
    for node in graph.node:
        value = next((a for a in node.attribute if a.name == 'value'), None)
        if node.op_type != 'Constant' or value is None:
            kept.append(node)
            continue
        tensor = onnx.TensorProto()
        tensor.CopyFrom(value.t)
        tensor.name = node.output[0]
        graph.initializer.append(tensor)
    _replace(graph.node, kept)


def _replace(field: object, items: Iterable[object]) -> None:
    """Put other items into a repeated field."""
    items = list(items)
    del field[:]  # type: ignore[attr-defined]
    field.extend(items)  # type: ignore[attr-defined]


def _copied(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy
