"""Half precision for the network of a bundle; all before and behind it stays float32."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import onnx
from onnx import defs, helper, numpy_helper, shape_inference

from perception_ros.bundles.graph.foreign import opset_of
from perception_ros.bundles.graph.network import drop_unused_initializers, Network, taken

GREATEST = 65504.0
"""The greatest finite number in half precision."""
LEAST = 6.2e-5
"""Magnitudes below it lose digits in half precision."""

# Coordinates in pixels: half precision would move them by up to a quarter pixel at 512.
_EXACT = frozenset({'GridSample', 'RoiAlign', 'Range', 'CumSum'})
_FLOAT, _HALF = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16


def to_half(network: Network, keep: Collection[str] = ()) -> onnx.ModelProto:
    """Return the graph with its network in half precision.

    A node is computed in half where its operator knows that type. Weights are stored as half,
    and a Cast stands wherever a tensor leaves or enters what stays float32, so that a runtime
    that keeps to the types of a graph, as TensorRT does, needs nothing else.

    :param keep: names of nodes that stay float32. Those whose constants half cannot hold do so
        anyway.
    """
    model = network.copy()
    graph = model.graph
    floats = _float_tensors(model)
    stored = {tensor.name: tensor for tensor in graph.initializer}
    halves: set[str] = set()
    nodes: list[onnx.NodeProto] = []
    converter = _Converter(graph, stored, nodes)
    for node in list(graph.node):
        slots = () if node.name in keep else _half_inputs(node, floats, opset_of(model))
        if node.name not in network.inside or not slots or not _fits(node, slots, stored):
            converter.float_inputs(node, halves)
            nodes.append(node)
            continue
        for slot in slots:
            node.input[slot] = converter.half(node.input[slot], halves)
        converter.float_inputs(node, halves)
        for i, name in enumerate(node.output):
            if name in floats:
                node.output[i] = f'{name}/half'
                halves.add(name)
        nodes.append(node)
    for output in graph.output:
        converter.float_version(output.name, halves)
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.value_info[:]
    drop_unused_initializers(graph)
    return model


class _Converter:
    """Adds the casts and the constants that a change of type needs, each once."""

    def __init__(
        self,
        graph: onnx.GraphProto,
        stored: dict[str, onnx.TensorProto],
        nodes: list[onnx.NodeProto],
    ) -> None:
        self._graph = graph
        self._stored = stored
        self._nodes = nodes
        self._made: set[str] = set()

    def half(self, name: str, halves: Collection[str]) -> str:
        """Return the half version of a float tensor."""
        version = f'{name}/half'
        if name in halves or version in self._made:
            return version
        self._made.add(version)
        if name in self._stored:
            values = numpy_helper.to_array(self._stored[name]).astype(np.float16)
            self._graph.initializer.append(numpy_helper.from_array(values, version))
        else:
            self._nodes.append(helper.make_node('Cast', [name], [version], version, to=_HALF))
        return version

    def float_version(self, name: str, halves: Collection[str]) -> None:
        """See to it that the float version of a tensor, under its own name, is there."""
        if name in halves and name not in self._made:
            self._made.add(name)
            self._nodes.append(
                helper.make_node('Cast', [f'{name}/half'], [name], f'{name}/float', to=_FLOAT)
            )

    def float_inputs(self, node: onnx.NodeProto, halves: Collection[str]) -> None:
        """Do so for all that a node, or a subgraph of it, takes as float."""
        for name in taken(node):
            self.float_version(name, halves)


def _float_tensors(model: onnx.ModelProto) -> set[str]:
    graph = shape_inference.infer_shapes(model).graph
    values = [*graph.input, *graph.output, *graph.value_info]
    floats = {value.name for value in values if value.type.tensor_type.elem_type == _FLOAT}
    return floats | {tensor.name for tensor in graph.initializer if tensor.data_type == _FLOAT}


def _half_inputs(node: onnx.NodeProto, floats: set[str], opset: int) -> tuple[int, ...]:
    """Return which inputs become half with the outputs; none if the operator cannot do that."""
    if node.domain not in ('', 'ai.onnx') or node.op_type in _EXACT:
        return ()
    schema = defs.get_schema(node.op_type, opset)
    half = {
        item.type_param_str for item in schema.type_constraints
        if 'tensor(float16)' in item.allowed_type_strs
    }

    def kind(parameters: Sequence[defs.OpSchema.FormalParameter], i: int) -> str:
        return str(parameters[min(i, len(parameters) - 1)].type_str)

    made = {kind(schema.outputs, i) for i, name in enumerate(node.output) if name in floats}
    # All that may be half, beyond what the standard asks for: OpenVINO takes no mixture.
    slots = tuple(
        i for i, name in enumerate(node.input)
        if name in floats and kind(schema.inputs, i) in half
    )
    taken_kinds = {kind(schema.inputs, i) for i in slots}
    return slots if made and made <= taken_kinds else ()


def _fits(
    node: onnx.NodeProto, slots: tuple[int, ...], stored: dict[str, onnx.TensorProto]
) -> bool:
    """Say whether half precision can hold a node's constants."""
    for slot in slots:
        if node.input[slot] not in stored:
            continue
        values = np.abs(numpy_helper.to_array(stored[node.input[slot]]))
        # A small constant, or a variance, guards a division; a small weight may become nothing.
        guards = values.size == 1 or (node.op_type == 'BatchNormalization' and slot == 4)
        lost = guards and bool(np.any((values > 0) & (values < LEAST)))
        if lost or values.max(initial=0) > GREATEST:
            return False
    return True
