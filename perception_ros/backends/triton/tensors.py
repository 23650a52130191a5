"""How the tensors of a batch travel: in messages, or in memory that the server sees too."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from itertools import count
import logging
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2 as messages
from tritonclient.utils import np_to_triton_dtype

from perception_ros.backends.base import Outputs
from perception_ros.backends.triton.connection import Connection
from perception_ros.backends.triton.memory import SharedRegion
from perception_ros.bundles.contract import INPUT_NAME, TensorSpec
from perception_ros.core.errors import BackendError

_ALIGNMENT_BYTES = 64
"""Of each output in its region: a cache line."""

_FORGET_TIMEOUT_S = 1.0
"""Closing must not wait long for a server that hangs."""

_numbers = count()
_log = logging.getLogger(__name__)


class Tensors(ABC):
    """The input and the outputs of one slot.

    :param images: uint8 [max_batch, H, W, 3], the slot's own.
    :param specs: of the outputs, by name.
    """

    def __init__(self, images: NDArray[np.uint8], specs: Mapping[str, TensorSpec]) -> None:
        self._images = images
        self._specs = specs

    @abstractmethod
    def fill(self, request: Any, batch_size: int) -> None:
        """Put the first images into a `ModelInferRequest`, and name the outputs."""

    def read(self, answer: Any, batch_size: int) -> Outputs:
        """Return the outputs of a `ModelInferResponse`, valid until the next run.

        :raises BackendError: an output is missing or has another type or shape.
        """
        places = {output.name: place for place, output in enumerate(answer.outputs)}
        outputs = {}
        for name, spec in self._specs.items():
            expected = datatype(spec), [batch_size, *spec.shape[1:]]
            came = answer.outputs[places[name]] if name in places else None
            if came is None or (came.datatype, list(came.shape)) != expected:
                got = 'none' if came is None else f'{came.datatype} {list(came.shape)}'
                raise BackendError(
                    f'output {name}: expected {expected[0]} {expected[1]} from the server, got '
                    f'{got}'
                )
            outputs[name] = self._contents(name, answer, places[name], batch_size)
        return outputs

    @abstractmethod
    def close(self, connection: Connection) -> None:
        """Let the server forget what it knows of this. The images stay the slot's."""

    @abstractmethod
    def _contents(
        self, name: str, answer: Any, place: int, batch_size: int
    ) -> NDArray[np.generic]:
        """Return an output whose type and shape are right, the one at `place` in the answer."""

    def _add_input(self, request: Any, batch_size: int) -> Any:
        shape = self._images[:batch_size].shape
        return request.inputs.add(name=INPUT_NAME, datatype='UINT8', shape=shape)


class MessageTensors(Tensors):
    """Both ways in messages, copied."""

    def fill(self, request: Any, batch_size: int) -> None:
        """Copy the first images into a request."""
        self._add_input(request, batch_size)
        request.raw_input_contents.append(self._images[:batch_size].tobytes())
        for name in self._specs:
            request.outputs.add(name=name)

    def close(self, connection: Connection) -> None:
        """Do nothing: the server knows nothing of this."""

    def _contents(
        self, name: str, answer: Any, place: int, batch_size: int
    ) -> NDArray[np.generic]:
        spec = self._specs[name]
        try:
            raw = np.frombuffer(answer.raw_output_contents[place], spec.dtype)
            return raw.reshape(batch_size, *_sizes(spec))
        except (IndexError, ValueError) as error:
            raise BackendError(f'output {name}: the server sent the wrong bytes') from error


class SharedTensors(Tensors):
    """Both ways in memory that the server on the same machine has mapped: nothing is copied.

    :param region: what `images` are a view of; it stays the caller's.
    :raises BackendError: the server cannot see the memory, or may not use it.
    :raises OSError: there is too little shared memory for the outputs.
    """

    def __init__(
        self,
        connection: Connection,
        region: SharedRegion,
        images: NDArray[np.uint8],
        specs: Mapping[str, TensorSpec],
    ) -> None:
        super().__init__(images, specs)
        self._offsets, size_bytes = _lay_out(specs, len(images))
        self._results = SharedRegion(size_bytes)
        # A server that is still busy with a late request keeps the names that it knows.
        self._input_name, self._results_name = (
            f'{item.name}.{next(_numbers)}' for item in (region, self._results)
        )
        self._arrays = {
            name: self._results.array(
                spec.dtype, (len(images), *_sizes(spec)), self._offsets[name]
            )
            for name, spec in specs.items()
        }
        try:
            _register(connection, self._input_name, region)
            _register(connection, self._results_name, self._results)
        except BackendError:
            self.close(connection)
            raise

    def fill(self, request: Any, batch_size: int) -> None:
        """Say in a request where the first images are, and where the outputs go."""
        images = self._add_input(request, batch_size)
        _say_where(images, self._input_name, self._images[:batch_size].nbytes)
        for name, array in self._arrays.items():
            output = request.outputs.add(name=name)
            size_bytes = array[:batch_size].nbytes
            _say_where(output, self._results_name, size_bytes, self._offsets[name])

    def close(self, connection: Connection) -> None:
        """Let the server forget both regions, and give the outputs' back."""
        self._results.close()
        for name in (self._input_name, self._results_name):
            _unregister(connection, name)

    def _contents(
        self, name: str, answer: Any, place: int, batch_size: int
    ) -> NDArray[np.generic]:
        return self._arrays[name][:batch_size]


def forget_leftovers(connection: Connection, regions: Collection[str]) -> None:
    """Let the server forget regions that dead processes have left behind."""
    if not regions:
        return
    request = messages.SystemSharedMemoryStatusRequest()
    try:
        known = connection.call(connection.stub.SystemSharedMemoryStatus, request).regions
    except BackendError as error:
        _log.debug('%s', error)
        return
    for name, item in known.items():
        if item.key.removeprefix('/') in regions:
            _unregister(connection, name)


def datatype(spec: TensorSpec) -> str:
    """Return Triton's name of a type: 'FP32'."""
    return str(np_to_triton_dtype(np.dtype(spec.dtype).type))


def _register(connection: Connection, name: str, region: SharedRegion) -> None:
    request = messages.SystemSharedMemoryRegisterRequest(
        name=name, key=region.key, byte_size=region.size_bytes
    )
    connection.call(connection.stub.SystemSharedMemoryRegister, request)


def _unregister(connection: Connection, name: str) -> None:
    """Let the server forget a region, if it is there and knows it."""
    request = messages.SystemSharedMemoryUnregisterRequest(name=name)
    try:
        connection.call(
            connection.stub.SystemSharedMemoryUnregister, request, _FORGET_TIMEOUT_S
        )
    except BackendError as error:
        _log.debug('%s', error)


def _say_where(tensor: Any, name: str, size_bytes: int, offset_bytes: int = 0) -> None:
    tensor.parameters['shared_memory_region'].string_param = name
    tensor.parameters['shared_memory_byte_size'].int64_param = size_bytes
    tensor.parameters['shared_memory_offset'].int64_param = offset_bytes


def _lay_out(specs: Mapping[str, TensorSpec], max_batch: int) -> tuple[dict[str, int], int]:
    """Return the offset of each output in bytes, and the bytes that they need together."""
    offsets, end = {}, 0
    for name, spec in specs.items():
        offsets[name] = end
        size_bytes = np.dtype(spec.dtype).itemsize * max_batch * prod(_sizes(spec))
        end += -(-size_bytes // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES
    return offsets, end


def _sizes(spec: TensorSpec) -> tuple[int, ...]:
    """Return the sizes of one image's share; in a bundle only the batch is dynamic."""
    return tuple(size for size in spec.shape[1:] if size is not None)
