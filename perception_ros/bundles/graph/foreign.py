"""A graph that somebody else exported, in one known form."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
import onnx
from onnx import helper, numpy_helper, version_converter

from perception_ros.bundles.graph.batch import BATCH, make_batch_dynamic
from perception_ros.bundles.graph.loop import loop_over_images, without_batch
from perception_ros.bundles.manifest import Precision
from perception_ros.bundles.session import Answer, Session
from perception_ros.core.errors import ImportModelError

LEAST_OPSET = 17
SIZE_INPUT = 'orig_target_sizes'
"""Second input of deployed DETRs, int64 [B, 2]: width and height that boxes are scaled to."""

Layout = Literal['nchw', 'nhwc']
FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)


@dataclass(frozen=True)
class ForeignGraph:
    """A network with one image input, float [B, 3, H, W] or [B, H, W, 3], and named outputs."""

    original: onnx.ModelProto
    """As it was read, for comparison."""
    model: onnx.ModelProto
    """With a dynamic batch and an opset of at least `LEAST_OPSET`."""
    input_name: str
    dtype: int
    """Element type of the input: `onnx.TensorProto.FLOAT` or `FLOAT16`."""
    width: int
    height: int
    layout: Layout = 'nchw'
    batched: bool = True
    """Whether the original's input and outputs have a batch; torchvision's detectors have not."""
    looped: bool = False
    """Whether `model` runs a batch image by image."""
    metadata: dict[str, str] = field(default_factory=dict)
    """What the exporter wrote about the model."""

    @property
    def opset(self) -> int:
        """Version of the standard operators."""
        return opset_of(self.model)

    @cached_property
    def session(self) -> Session:
        """The original in ONNX Runtime."""
        return Session(self.original.SerializeToString(), 'the original graph')

    @cached_property
    def sample(self) -> Answer:
        """All outputs of the original for one image of noise, as they come.

        Shapes that are written into a graph may be missing or wrong, and some families differ in
        their numbers alone.
        """
        noise = np.random.default_rng(0).random((3, self.height, self.width), np.float32)
        return self.run_one(noise)

    @cached_property
    def outputs(self) -> dict[str, tuple[int, ...]]:
        """Shape of each output without the batch."""
        return {name: value.shape[1:] for name, value in self.sample.items()}

    def values(self, name: str) -> NDArray[np.float32]:
        """Return an output for the image of noise, without the batch."""
        return np.asarray(self.sample[name][0], np.float32)

    @cached_property
    def names(self) -> tuple[str, ...] | None:
        """Class names that the exporter wrote into the file; None where there are none."""
        text = self.metadata.get('names', '')
        try:
            names = ast.literal_eval(text) if text else None
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return None
        if isinstance(names, dict) and set(names) == set(range(len(names))):
            names = [names[i] for i in range(len(names))]
        if not isinstance(names, (list, tuple)) or not all(isinstance(n, str) for n in names):
            return None
        # Two classes of one name could not be told apart on a topic.
        unique = [n if names.index(n) == i else f'{n}_{i}' for i, n in enumerate(names)]
        return tuple(name.strip() or f'class_{i}' for i, name in enumerate(unique)) or None

    def feed(self, tensors: NDArray[np.float32]) -> NDArray[Any]:
        """Return float32 [n, 3, H, W] in the layout and type of the input, with a batch."""
        if self.layout == 'nhwc':
            tensors = tensors.transpose(0, 2, 3, 1)
        half = self.dtype == onnx.TensorProto.FLOAT16
        return np.ascontiguousarray(tensors, np.float16 if half else np.float32)

    def run_one(self, tensor: NDArray[np.float32]) -> Answer:
        """Run the original on float32 [3, H, W], normalised; outputs as they come."""
        image = self.feed(tensor[None])
        feeds: dict[str, NDArray[Any]] = {self.input_name: image if self.batched else image[0]}
        if any(value.name == SIZE_INPUT for value in self.original.graph.input):
            feeds[SIZE_INPUT] = np.array([[self.width, self.height]], np.int64)
        return self.session.run(feeds)

    def rewritten(self) -> ForeignGraph | None:
        """Return a network whose batch is dynamic by its input's name alone, made so inside too.

        None where the original's input holds a batch of one: its network is rewritten already.
        """
        if self.original.graph.input[0].type.tensor_type.shape.dim[0].HasField('dim_value'):
            return None
        single = raised(self.original)
        _fix_target_size(single, self.width, self.height)
        single.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
        model = make_batch_dynamic(single)
        _forget_the_exporter(model)
        return replace(self, model=model)

    def in_a_loop(self) -> ForeignGraph:
        """Return the same network, run image by image."""
        single = raised(self.original)
        _fix_target_size(single, self.width, self.height)
        types = {
            name: helper.np_dtype_to_tensor_dtype(value.dtype)
            for name, value in self.sample.items()
        }
        model = loop_over_images(single, without_batch, types, batched=True)
        _forget_the_exporter(model)
        return replace(self, model=model, looped=True)

    @property
    def single(self) -> onnx.ModelProto:
        """The network with an opset of at least `LEAST_OPSET`, for one image."""
        model = raised(self.original)
        _forget_the_exporter(model)
        return model

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


def precision_of(model: onnx.ModelProto) -> Precision:
    """Return what most weights are computed in: that is what the engine's speed hangs on."""
    if any(node.op_type == 'DequantizeLinear' for node in model.graph.node):
        return 'int8'
    sizes = dict.fromkeys(FLOATS, 0)
    for tensor in model.graph.initializer:
        if tensor.data_type in sizes:
            sizes[tensor.data_type] += int(np.prod(tensor.dims))
    half, full = sizes[onnx.TensorProto.FLOAT16], sizes[onnx.TensorProto.FLOAT]
    return 'fp16' if half > full else 'fp32'


def opset_of(model: onnx.ModelProto) -> int:
    """Return the version of the standard operators."""
    versions = [item.version for item in model.opset_import if item.domain in ('', 'ai.onnx')]
    return int(versions[0]) if versions else 0


def raised(original: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy whose opset is at least `LEAST_OPSET`."""
    if opset_of(original) < LEAST_OPSET:
        try:
            return version_converter.convert_version(original, LEAST_OPSET)
        except Exception as error:  # RuntimeError, ValueError and others
            raise ImportModelError(
                f'cannot bring opset {opset_of(original)} to {LEAST_OPSET}: {error}; export it '
                'with a newer opset'
            ) from error
    model = onnx.ModelProto()
    model.CopyFrom(original)
    return model


def with_dynamic_batch(
    original: onnx.ModelProto, path: Path, width: int, height: int
) -> onnx.ModelProto:
    """Return a copy with an opset of at least `LEAST_OPSET` and a dynamic batch.

    :raises ImportModelError: its operators cannot be brought to that opset.
    """
    try:
        model = raised(original)
    except ImportModelError as error:
        raise ImportModelError(f'{path}: {error}') from error
    if model.graph.input[0].type.tensor_type.shape.dim[0].HasField('dim_value'):
        model = make_batch_dynamic(model)
    del model.graph.value_info[:]
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = BATCH
    _fix_target_size(model, width, height)
    _forget_the_exporter(model)
    return model


def _fix_target_size(model: onnx.ModelProto, width: int, height: int) -> None:
    """Put the input's own size in the place of the input that asks for the target size."""
    graph = model.graph
    if all(value.name != SIZE_INPUT for value in graph.input):
        return
    kept = [value for value in graph.input if value.name != SIZE_INPUT]
    del graph.input[:]
    graph.input.extend(kept)
    constants = {'size': [[width, height]], 'zero': [0], 'one': [1], 'two': [2]}
    for name, value in constants.items():
        array = np.array(value, np.int64)
        graph.initializer.append(numpy_helper.from_array(array, f'{SIZE_INPUT}/{name}'))
    at = {name: f'{SIZE_INPUT}/{name}' for name in (*constants, 'shape', 'batch', 'target')}
    nodes = [
        helper.make_node('Shape', [graph.input[0].name], [at['shape']]),
        helper.make_node('Slice', [at['shape'], at['zero'], at['one']], [at['batch']]),
        helper.make_node('Concat', [at['batch'], at['two']], [at['target']], axis=0),
        helper.make_node('Expand', [at['size'], at['target']], [SIZE_INPUT]),
    ]
    rest = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *rest])


def _forget_the_exporter(model: onnx.ModelProto) -> None:
    """Drop notes that hold paths and stack traces of the machine that exported."""
    model.doc_string = ''
    del model.metadata_props[:]
    model.graph.doc_string = ''
    del model.graph.metadata_props[:]
    for node in model.graph.node:
        node.doc_string = ''
        del node.metadata_props[:]


def _listing(outputs: dict[str, tuple[int, ...]]) -> str:
    return ', '.join(
        f'{name} [{", ".join(["B", *("?" if n < 0 else str(n) for n in shape)])}]'
        for name, shape in outputs.items()
    )

