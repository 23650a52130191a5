"""Reads a graph that somebody else exported, and refuses what cannot be imported."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import checker, defs

from perception_ros.bundles.graph.foreign import (
    FLOATS,
    ForeignGraph,
    Layout,
    opset_of,
    SIZE_INPUT,
    with_dynamic_batch,
)
from perception_ros.bundles.graph.tensors import outside
from perception_ros.core.errors import ImportModelError

_DOMAINS = ('', 'ai.onnx', 'ai.onnx.ml', 'com.microsoft')


def read_foreign(path: Path, input_size: tuple[int, int] | None = None) -> ForeignGraph:
    """Read an ONNX file and make its batch dynamic.

    :param input_size: width and height in pixels, for a graph that leaves them open.
    :raises ImportModelError: it is no ONNX graph, or takes something other than images.
    """
    original = _read(path)
    image = _image_input(original, path)
    dims = list(image.type.tensor_type.shape.dim)
    batched = len(dims) == 4
    if not batched:
        dims = [onnx.TensorShapeProto.Dimension(dim_value=1), *dims]
    layout: Layout = 'nchw' if dims[1].dim_value == 3 else 'nhwc'
    rows, columns = dims[2:] if layout == 'nchw' else dims[1:3]
    if input_size is not None:
        for dim, size in zip((rows, columns), reversed(input_size), strict=True):
            if dim.HasField('dim_value') and dim.dim_value != size:
                raise ImportModelError(
                    f'{path}: input size is fixed to {columns.dim_value}x{rows.dim_value}, '
                    f'got {input_size[0]}x{input_size[1]}; leave the input size out'
                )
            dim.dim_value = size
    if not (rows.dim_value > 0 and columns.dim_value > 0):
        raise ImportModelError(
            f'{path}: expected a fixed input height and width, got {_dims(image)}; '
            'give the input size (--input-size WIDTHxHEIGHT)'
        )
    if dims[0].HasField('dim_value') and dims[0].dim_value != 1:
        raise ImportModelError(
            f'{path}: expected a batch of 1 or a dynamic one, got {dims[0].dim_value}; '
            'export it with a batch of 1'
        )
    height, width = rows.dim_value, columns.dim_value
    return ForeignGraph(
        original,
        with_dynamic_batch(original, path, width, height) if batched else original,
        image.name,
        image.type.tensor_type.elem_type,
        width,
        height,
        layout,
        batched,
        metadata={item.key: item.value for item in original.metadata_props},
    )


def _read(path: Path) -> onnx.ModelProto:
    # Anything else would be read for ever: a device, or a pipe that nobody writes to.
    if path.exists() and not path.is_file():
        raise ImportModelError(f'{path}: expected an ONNX file, got something that is no file')
    try:
        model = onnx.load(str(path), load_external_data=False)
    except OSError as error:
        raise ImportModelError(f'{path}: expected a readable ONNX file; {error}') from error
    except Exception as error:  # protobuf's DecodeError
        raise ImportModelError(
            f'{path}: expected an ONNX graph, got {path.stat().st_size} bytes that are none or '
            f'only a part of one; copy or export it again ({error})'
        ) from error
    _load_external_data(model, path)
    _refuse_unknown_operators(model, path)
    try:
        checker.check_model(model)
    except checker.ValidationError as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else 'unknown reason'
        raise ImportModelError(
            f'{path}: not a complete ONNX graph: {first}; copy or export it again'
        ) from error
    return model


def _load_external_data(model: onnx.ModelProto, path: Path) -> None:
    files = set(outside(model).values())
    missing = sorted(name for name in files if not (path.parent / name).is_file())
    if missing:
        raise ImportModelError(
            f'{path}: its weights lie in other files, expected beside it, and {missing} '
            f'{"is" if len(missing) == 1 else "are"} not in {path.parent}; copy them there too, '
            'or export with all weights in one file'
        )
    try:
        onnx.load_external_data_for_model(model, str(path.parent))
    except Exception as error:  # onnx raises ValueError, ValidationError and others
        raise ImportModelError(
            f'{path}: cannot read its weights in {sorted(files)}: {error}; copy or export '
            'them again'
        ) from error


def _refuse_unknown_operators(model: onnx.ModelProto, path: Path) -> None:
    own = {(function.domain, function.name) for function in model.functions}
    opsets = {item.domain: item.version for item in model.opset_import}
    unknown = set()
    for node in model.graph.node:
        if (node.domain, node.op_type) in own or node.domain == 'com.microsoft':
            continue
        known = node.domain in _DOMAINS and defs.has(
            node.op_type, opsets.get(node.domain, opset_of(model)), node.domain
        )
        if not known:
            unknown.add(f'{node.domain}::{node.op_type}' if node.domain else node.op_type)
    if unknown:
        raise ImportModelError(
            f'{path}: expected standard ONNX operators of opset {opset_of(model)}, got '
            f'{sorted(unknown)}; export it without plugins and custom operators, for other '
            'engines must run it too'
        )


def _image_input(model: onnx.ModelProto, path: Path) -> onnx.ValueInfoProto:
    initializers = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in initializers]
    images = [value for value in inputs if value.name != SIZE_INPUT]
    if len(images) != 1:
        raise ImportModelError(
            f'{path}: expected one input, the images, got {[value.name for value in inputs]}; '
            'export it with the images alone'
        )
    image = onnx.ValueInfoProto()
    image.CopyFrom(images[0])
    others = [value for value in inputs if value.name == SIZE_INPUT]
    # Weights listed among the inputs, as old exporters do, would survive as inputs of ours.
    del model.graph.input[:]
    model.graph.input.extend([image, *others])
    tensor = image.type.tensor_type
    sizes = [dim.dim_value for dim in tensor.shape.dim]
    channels = {3: (0,), 4: (1, 3)}.get(len(sizes), ())
    if tensor.elem_type not in FLOATS or not any(sizes[axis] == 3 for axis in channels):
        elem = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
        raise ImportModelError(
            f'{path}: expected the input to be float [B, 3, H, W] or [B, H, W, 3], got '
            f'{image.name!r} {elem} {_dims(image)}; a model of anything but colour images '
            'cannot be imported, and one of uint8 must be exported with a float input'
        )
    kept: onnx.ValueInfoProto = model.graph.input[0]
    return kept


def _dims(value: onnx.ValueInfoProto) -> str:
    dims = value.type.tensor_type.shape.dim
    return f'[{", ".join(dim.dim_param or str(dim.dim_value) for dim in dims)}]'
