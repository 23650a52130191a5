"""Reads a graph that somebody else exported, and brings it into one known form."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import checker, shape_inference, version_converter

from perception_ros.bundles.graph.batch import BATCH, make_batch_dynamic
from perception_ros.bundles.manifest import Precision
from perception_ros.core.errors import ImportModelError

LEAST_OPSET = 17
_FLOATS = {onnx.TensorProto.FLOAT: np.float32, onnx.TensorProto.FLOAT16: np.float16}


@dataclass(frozen=True)
class ForeignGraph:
    """A network with one image input, float [B, 3, H, W], and named outputs."""

    original: onnx.ModelProto
    """As it was read, for comparison."""
    model: onnx.ModelProto
    """With a dynamic batch and an opset of at least `LEAST_OPSET`."""
    input_name: str
    dtype: int
    """Element type of the input: `onnx.TensorProto.FLOAT` or `FLOAT16`."""
    width: int
    height: int
    outputs: dict[str, tuple[int, ...]]
    """Shape of each output without the batch; -1 where it is unknown."""

    @property
    def opset(self) -> int:
        """Version of the standard operators."""
        return opset_of(self.model)

    @property
    def is_static(self) -> bool:
        """Whether the original takes one image at a time."""
        batch = self.original.graph.input[0].type.tensor_type.shape.dim[0]
        return bool(batch.HasField('dim_value'))

    def output(self, name: str, rank: int, what: str) -> tuple[int, ...]:
        """Return the shape of an output without its batch.

        :param what: what the output must be, for the error.
        :raises ImportModelError: there is no such output, or its shape is another.
        """
        if name not in self.outputs:
            raise ImportModelError(
                f'expected an output {name!r} ({what}), got {_listing(self.outputs)}'
            )
        shape = self.outputs[name]
        if len(shape) != rank - 1 or min(shape, default=1) < 1:
            raise ImportModelError(
                f'output {name!r}: expected {what} with fixed sizes, got '
                f'{_listing({name: shape})}; is this the right family?'
            )
        return shape


def read_foreign(path: Path, input_size: tuple[int, int] | None = None) -> ForeignGraph:
    """Read an ONNX file and make its batch dynamic.

    :param input_size: width and height in pixels, for a graph that leaves them open.
    :raises ImportModelError: it is no ONNX graph, or takes something other than images.
    """
    original = _read(path)
    image = _image_input(original, path)
    dims = image.type.tensor_type.shape.dim
    if input_size is not None:
        for dim, size in zip(dims[2:], reversed(input_size), strict=True):
            if dim.HasField('dim_value') and dim.dim_value != size:
                raise ImportModelError(
                    f'{path}: input size is fixed to {dims[3].dim_value}x{dims[2].dim_value}, '
                    f'got {input_size[0]}x{input_size[1]}; leave the input size out'
                )
            dim.dim_value = size
    if not all(dim.HasField('dim_value') for dim in dims[2:]):
        raise ImportModelError(
            f'{path}: expected a fixed input height and width, got {_dims(image)}; '
            'give the input size'
        )
    if dims[0].HasField('dim_value') and dims[0].dim_value != 1:
        raise ImportModelError(
            f'{path}: expected a batch of 1 or a dynamic one, got {dims[0].dim_value}; '
            'export it with a batch of 1'
        )
    model = _prepared(original, path)
    outputs = {
        value.name: tuple(
            dim.dim_value if dim.HasField('dim_value') else -1
            for dim in value.type.tensor_type.shape.dim[1:]
        )
        for value in shape_inference.infer_shapes(original, data_prop=True).graph.output
    }
    height, width = dims[2].dim_value, dims[3].dim_value
    dtype = image.type.tensor_type.elem_type
    return ForeignGraph(original, model, image.name, dtype, width, height, outputs)


def precision_of(model: onnx.ModelProto) -> Precision:
    """Return what most weights are computed in: that is what the engine's speed hangs on."""
    if any(node.op_type == 'DequantizeLinear' for node in model.graph.node):
        return 'int8'
    sizes = dict.fromkeys(_FLOATS, 0)
    for tensor in model.graph.initializer:
        if tensor.data_type in sizes:
            sizes[tensor.data_type] += int(np.prod(tensor.dims))
    half, full = sizes[onnx.TensorProto.FLOAT16], sizes[onnx.TensorProto.FLOAT]
    return 'fp16' if half > full else 'fp32'


def opset_of(model: onnx.ModelProto) -> int:
    """Return the version of the standard operators."""
    versions = [item.version for item in model.opset_import if item.domain in ('', 'ai.onnx')]
    return int(versions[0])


def _read(path: Path) -> onnx.ModelProto:
    try:
        model = onnx.load(str(path))
    except OSError as error:
        raise ImportModelError(f'{path}: expected a readable ONNX file; {error}') from error
    except Exception as error:  # protobuf's DecodeError
        raise ImportModelError(
            f'{path}: expected an ONNX graph, got {path.stat().st_size} bytes that are none or '
            f'only a part of one; copy or export it again ({error})'
        ) from error
    try:
        checker.check_model(model)
    except checker.ValidationError as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else 'unknown reason'
        raise ImportModelError(
            f'{path}: not a complete ONNX graph: {first}; copy or export it again'
        ) from error
    return model


def _image_input(model: onnx.ModelProto, path: Path) -> onnx.ValueInfoProto:
    initializers = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in initializers]
    if len(inputs) != 1:
        raise ImportModelError(
            f'{path}: expected one input, the images, got {[value.name for value in inputs]}'
        )
    # Weights listed among the inputs, as old exporters do, would survive as inputs of ours.
    del model.graph.input[:]
    model.graph.input.append(inputs[0])
    image: onnx.ValueInfoProto = model.graph.input[0]
    tensor = image.type.tensor_type
    channels = tensor.shape.dim[1].dim_value if len(tensor.shape.dim) == 4 else None
    if tensor.elem_type not in _FLOATS or channels != 3:
        elem = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
        raise ImportModelError(
            f'{path}: expected the input to be float [B, 3, H, W], got {image.name!r} '
            f'{elem} {_dims(image)}'
        )
    return image


def _prepared(original: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    model = onnx.ModelProto()
    model.CopyFrom(original)
    try:
        if opset_of(model) < LEAST_OPSET:
            model = version_converter.convert_version(model, LEAST_OPSET)
        if model.graph.input[0].type.tensor_type.shape.dim[0].HasField('dim_value'):
            model = make_batch_dynamic(model)
    except Exception as error:  # the converter raises RuntimeError, ValueError and others
        raise ImportModelError(
            f'{path}: cannot bring opset {opset_of(original)} to {LEAST_OPSET}: {error}; export '
            'it with a newer opset'
        ) from error
    del model.graph.value_info[:]
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = BATCH
    _forget_the_exporter(model)
    return model


def _forget_the_exporter(model: onnx.ModelProto) -> None:
    """Drop notes that hold paths and stack traces of the machine that exported."""
    model.doc_string = ''
    model.graph.doc_string = ''
    del model.graph.metadata_props[:]
    for node in model.graph.node:
        node.doc_string = ''
        del node.metadata_props[:]


def _dims(value: onnx.ValueInfoProto) -> str:
    dims = value.type.tensor_type.shape.dim
    return f'[{", ".join(dim.dim_param or str(dim.dim_value) for dim in dims)}]'


def _listing(outputs: dict[str, tuple[int, ...]]) -> str:
    return ', '.join(
        f'{name} [{", ".join(["B", *("?" if n < 0 else str(n) for n in shape)])}]'
        for name, shape in outputs.items()
    )

