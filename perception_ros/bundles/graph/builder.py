"""A short way to write ONNX nodes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper


class GraphBuilder:
    """Collects nodes and constants; tensors are passed by name, and all names begin alike."""

    def __init__(self, prefix: str) -> None:
        """Begin with nothing."""
        self._prefix = prefix
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def constant(self, value: Any, dtype: type[np.generic]) -> str:
        """Add a constant and return its name."""
        name = f'{self._prefix}constant_{len(self.initializers)}'
        array = np.ascontiguousarray(value, dtype)
        self.initializers.append(numpy_helper.from_array(array.reshape(np.shape(value)), name))
        return name

    def op(self, op_type: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output and return that output's name."""
        return self.ops(op_type, *inputs, outputs=1, **attributes)[0]

    def ops(self, op_type: str, *inputs: str, outputs: int, **attributes: Any) -> list[str]:
        """Add a node with several outputs and return their names."""
        stem = f'{self._prefix}{op_type}_{len(self.nodes)}'
        names = [f'{stem}_out{i}' for i in range(outputs)]
        self.nodes.append(helper.make_node(op_type, list(inputs), names, name=stem, **attributes))
        return names

    def name(self, tensor: str, name: str) -> None:
        """Give the newest tensor, which no node uses yet, the name of a graph output.

        No Identity: behind a Cast to UINT8 it would make that an inner tensor, which TensorRT
        refuses.
        """
        last = self.nodes[-1]
        assert tensor in last.output, 'only the newest tensor can be renamed'
        last.output[list(last.output).index(tensor)] = name

    def split(self, tensor: str, parts: int, axis: int) -> list[str]:
        """Cut an axis of length `parts` into slices of one."""
        ones = self.constant([1] * parts, np.int64)
        return self.ops('Split', tensor, ones, outputs=parts, axis=axis)

    def slice(self, tensor: str, start: int, stop: int, axis: int) -> str:
        """Cut [start, stop) out of an axis."""
        bounds = [self.constant([bound], np.int64) for bound in (start, stop, axis)]
        return self.op('Slice', tensor, *bounds)

    def unsqueeze(self, tensor: str, axis: int) -> str:
        """Insert an axis of length one."""
        return self.op('Unsqueeze', tensor, self.constant([axis], np.int64))

    def squeeze(self, tensor: str, axis: int) -> str:
        """Remove an axis of length one."""
        return self.op('Squeeze', tensor, self.constant([axis], np.int64))

    def cast(self, tensor: str, dtype: int) -> str:
        """Convert to an `onnx.TensorProto` data type."""
        return self.op('Cast', tensor, to=dtype)

    def scalar(self, value: float) -> str:
        """Add a float32 scalar."""
        return self.constant(np.float32(value), np.float32)
