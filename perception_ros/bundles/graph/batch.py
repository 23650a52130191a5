"""Makes the batch of a foreign graph dynamic.

Exporters write the batch of one into more than the input: into target shapes of Reshape, and into
sizes of Resize. What is not known here shows in the proof, which runs several batch sizes.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper, shape_inference

BATCH = 'batch'


def make_batch_dynamic(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return `model`, whose input is [1, ...], with a batch of any size."""
    model = shape_inference.infer_shapes(model, data_prop=True)
    graph = model.graph
    shapes = {value.name: _dims(value) for value in (*graph.value_info, *graph.output)}
    constants = _constants(graph)
    _set_batch(graph.input[0])
    for value in graph.output:
        _set_batch(value)
    nodes = []
    for node in graph.node:
        if node.op_type == 'Reshape' and node.input[1] in constants:
            _free_reshape(node, graph, constants[node.input[1]], shapes.get(node.output[0]))
        elif node.op_type == 'Resize' and len(node.input) > 3 and node.input[3] in constants:
            nodes += _free_resize(node, graph, constants[node.input[3]])
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.value_info[:]  # it still tells of a batch of one
    return model


def _constants(graph: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    found = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == 'Constant' and node.attribute[0].name == 'value':
            found[node.output[0]] = node.attribute[0].t
    return found


def _free_reshape(
    node: onnx.NodeProto,
    graph: onnx.GraphProto,
    constant: onnx.TensorProto,
    shape: list[int | None] | None,
) -> None:
    target = numpy_helper.to_array(constant).copy()
    if target.size == 0 or target[0] != 1:
        return
    if shape is not None and None not in shape[1:]:
        target[0], target[1:] = -1, shape[1:]
    elif -1 not in target:
        target[0] = -1
    else:
        target[0] = 0  # as long as the input's first axis
    # A constant may serve several nodes, so the node gets one of its own.
    node.input[1] = f'{node.output[0]}_any_batch'
    graph.initializer.append(numpy_helper.from_array(target, node.input[1]))


def _free_resize(
    node: onnx.NodeProto, graph: onnx.GraphProto, constant: onnx.TensorProto
) -> list[onnx.NodeProto]:
    """Take the batch from the input's shape: sizes stay exact where scales would be rounded."""
    sizes = numpy_helper.to_array(constant)
    if sizes.size == 0 or sizes[0] != 1:
        return []
    stem = f'{node.output[0]}_any_batch'
    rest, zero, one = (f'{stem}_{part}' for part in ('rest', 'zero', 'one'))
    graph.initializer.append(numpy_helper.from_array(sizes[1:].astype(np.int64), rest))
    graph.initializer.append(numpy_helper.from_array(np.array([0], np.int64), zero))
    graph.initializer.append(numpy_helper.from_array(np.array([1], np.int64), one))
    shape, first, source = f'{stem}_shape', f'{stem}_first', node.input[0]
    node.input[3] = stem
    return [
        helper.make_node('Shape', [source], [shape], name=shape),
        helper.make_node('Slice', [shape, zero, one], [first], name=first),
        helper.make_node('Concat', [first, rest], [stem], name=stem, axis=0),
    ]


def _set_batch(value: onnx.ValueInfoProto) -> None:
    dims = value.type.tensor_type.shape.dim
    if dims:
        dims[0].dim_param = BATCH


def _dims(value: onnx.ValueInfoProto) -> list[int | None]:
    dims = value.type.tensor_type.shape.dim
    return [dim.dim_value if dim.HasField('dim_value') else None for dim in dims]
