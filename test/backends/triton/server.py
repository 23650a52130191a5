"""A server that speaks Triton's protocol, for tests: a process, real gRPC, real shared memory.

`python -m test.backends.triton.server REPOSITORY [--port N] [--no-client-shm]` prints its port
when its models are ready. The protocol is the one of `tritonclient`; what a server answers, and
with which status, follows Triton's documentation and source. It is no Triton.
"""

# ruff: noqa: N802 (the methods have the protocol's names)

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
import mmap
from pathlib import Path
import threading
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc.model_config_pb2 import DataType
from tritonclient.grpc.service_pb2_grpc import (
    add_GRPCInferenceServiceServicer_to_server,
    GRPCInferenceServiceServicer,
)
from tritonclient.utils import np_to_triton_dtype, triton_to_np_dtype

from test.backends.triton.models import Model, RefusedError

VERSION = '0.0.0'
INVALID = grpc.StatusCode.INVALID_ARGUMENT


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument('repository', type=Path)
    parser.add_argument('--port', type=int, default=0)
    parser.add_argument('--no-client-shm', action='store_true')
    options = parser.parse_args()
    # As Triton: what is named twice at one port must not share it.
    server = grpc.server(ThreadPoolExecutor(8), options=[
        ('grpc.so_reuseport', 0),
        ('grpc.max_send_message_length', -1),
        ('grpc.max_receive_message_length', -1),
    ])
    service = Service(options.repository, allow_client_shm=not options.no_client_shm)
    add_GRPCInferenceServiceServicer_to_server(service, server)
    port = server.add_insecure_port(f'127.0.0.1:{options.port}')
    server.start()
    print(port, flush=True)
    server.wait_for_termination()


def told(method: Callable[..., Any]) -> Callable[..., Any]:
    """Tell the client what has been refused, with its status."""

    def call(self: Service, request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return method(self, request)
        except RefusedError as error:
            context.abort(error.code, str(error))

    return call


@dataclass
class Region:
    """Shared memory that a client has registered."""

    key: str
    memory: mmap.mmap
    uses: int = 0
    """Requests that are under way with it."""
    unwanted: bool = False
    """It goes once the last of them has been answered, and keeps its name until then."""


class Service(GRPCInferenceServiceServicer):
    """The calls that the backend makes."""

    def __init__(self, repository: Path, *, allow_client_shm: bool) -> None:
        self._allow_client_shm = allow_client_shm
        self._regions: dict[str, Region] = {}
        self._lock = threading.Lock()
        self._models: dict[str, Model] = {}
        self._broken: dict[str, str] = {}
        for folder in sorted(path for path in repository.iterdir() if path.is_dir()):
            try:
                self._models[folder.name] = Model(folder)
            except Exception as error:  # Triton too goes on with the other models
                self._broken[folder.name] = str(error)

    @told
    def ServerMetadata(self, request: Any) -> Any:
        return pb.ServerMetadataResponse(
            name='triton', version=VERSION, extensions=['system_shared_memory', 'schedule_policy']
        )

    @told
    def ModelReady(self, request: Any) -> Any:
        return pb.ModelReadyResponse(ready=request.name in self._models)

    @told
    def RepositoryIndex(self, request: Any) -> Any:
        index = pb.RepositoryIndexResponse()
        for name, model in self._models.items():
            index.models.add(name=name, version=model.version, state='READY')
        for name, reason in self._broken.items():
            index.models.add(name=name, version='1', state='UNAVAILABLE', reason=reason)
        return index

    @told
    def ModelMetadata(self, request: Any) -> Any:
        model = self._model(request.name)
        answer = pb.ModelMetadataResponse(name=request.name, versions=[model.version])
        for said, told_of in (
            (model.config.input, answer.inputs), (model.config.output, answer.outputs)
        ):
            for item in said:
                told_of.add(
                    name=item.name,
                    datatype=DataType.Name(item.data_type).removeprefix('TYPE_'),
                    shape=[-1, *item.dims],
                )
        return answer

    @told
    def ModelConfig(self, request: Any) -> Any:
        return pb.ModelConfigResponse(config=self._model(request.name).config)

    @told
    def ModelStatistics(self, request: Any) -> Any:
        """Return the sizes of the batches that were run, each with a count of one, in order."""
        model = self._model(request.name)
        answer = pb.ModelStatisticsResponse()
        statistics = answer.model_stats.add(name=request.name, version=model.version)
        for size in model.batches:
            statistics.batch_stats.add(batch_size=size)
        return answer

    @told
    def SystemSharedMemoryStatus(self, request: Any) -> Any:
        answer = pb.SystemSharedMemoryStatusResponse()
        for name, region in self._regions.items():
            answer.regions[name].name = name
            answer.regions[name].key = region.key
            answer.regions[name].byte_size = len(region.memory)
        return answer

    @told
    def SystemSharedMemoryRegister(self, request: Any) -> Any:
        self._check_allowed()
        if request.name in self._regions:
            raise RefusedError(
                grpc.StatusCode.ALREADY_EXISTS,
                f"shared memory region '{request.name}' already in manager",
            )
        try:
            with (Path('/dev/shm') / request.key.removeprefix('/')).open('r+b') as file:
                memory = mmap.mmap(file.fileno(), request.byte_size, offset=request.offset)
        except OSError as error:
            raise RefusedError(
                grpc.StatusCode.INTERNAL, f"Unable to open shared memory region: '{request.key}'"
            ) from error
        self._regions[request.name] = Region(request.key, memory)
        return pb.SystemSharedMemoryRegisterResponse()

    @told
    def SystemSharedMemoryUnregister(self, request: Any) -> Any:
        self._check_allowed()
        with self._lock:
            region = self._regions.get(request.name)
            if region and region.uses:
                region.unwanted = True
            elif region:
                del self._regions[request.name]
        return pb.SystemSharedMemoryUnregisterResponse()

    @told
    def ModelInfer(self, request: Any) -> Any:
        with self._in_use(
            item.parameters['shared_memory_region'].string_param
            for item in [*request.inputs, *request.outputs]
            if 'shared_memory_region' in item.parameters
        ):
            return self._infer(request)

    @contextmanager
    def _in_use(self, names: Iterable[str]) -> Iterator[None]:
        """Keep regions until the request has been answered."""
        with self._lock:
            used = {name: self._region(name) for name in names}
            for region in used.values():
                region.uses += 1
        try:
            yield
        finally:
            self._release(used)

    def _release(self, used: dict[str, Region]) -> None:
        with self._lock:
            for name, region in used.items():
                region.uses -= 1
                if region.unwanted and not region.uses:
                    del self._regions[name]

    def _infer(self, request: Any) -> Any:
        model = self._model(request.model_name, request.model_version)
        priority = request.parameters['priority'].uint64_param
        wanted = {item.name: item for item in request.outputs}
        places = {name: self._place(item) for name, item in wanted.items()}
        images = self._images(request)
        outputs = model.submit(images, priority).result()
        answer = pb.ModelInferResponse(
            model_name=request.model_name, model_version=model.version, id=request.id
        )
        for name in wanted or outputs:
            array, place = np.ascontiguousarray(outputs[name]), places.get(name)
            answer.outputs.add(
                name=name, datatype=np_to_triton_dtype(array.dtype.type), shape=array.shape
            )
            if place is None:
                answer.raw_output_contents.append(array.tobytes())
                continue
            if array.nbytes > len(place):
                raise RefusedError(
                    grpc.StatusCode.INTERNAL,
                    f"shared memory size specified with the request for output '{name}' "
                    f'({len(place)} bytes) should be at least {array.nbytes} bytes to hold the '
                    'results',
                )
            place[: array.nbytes] = array.reshape(-1).view(np.uint8)
            answer.raw_output_contents.append(b'')
        return answer

    def _images(self, request: Any) -> np.ndarray:
        (item,) = request.inputs
        place = self._place(item)
        data = np.frombuffer(request.raw_input_contents[0], np.uint8) if place is None else place
        dtype = triton_to_np_dtype(item.datatype)
        expected = int(np.prod(item.shape)) * np.dtype(dtype).itemsize
        if len(data) != expected:
            raise RefusedError(
                INVALID,
                f"input byte size mismatch for input '{item.name}' for model "
                f"'{request.model_name}'. Expected {expected}, got {len(data)}",
            )
        images: np.ndarray = data.view(dtype).reshape(item.shape)
        return images

    def _place(self, tensor: Any) -> np.ndarray | None:
        """Return the shared bytes that a tensor names, if it names some."""
        parameters = tensor.parameters
        if 'shared_memory_region' not in parameters:
            return None
        name = parameters['shared_memory_region'].string_param
        size = parameters['shared_memory_byte_size'].int64_param
        offset = parameters['shared_memory_offset'].int64_param
        memory = self._region(name).memory
        if offset + size > len(memory):
            raise RefusedError(
                INVALID, f"Invalid offset + byte size for shared memory region: '{name}'"
            )
        return np.frombuffer(memory, np.uint8, size, offset)

    def _region(self, name: str) -> Region:
        if name not in self._regions:
            raise RefusedError(
                grpc.StatusCode.NOT_FOUND, f"Unable to find shared memory region: '{name}'"
            )
        return self._regions[name]

    def _model(self, name: str, version: str = '') -> Model:
        if name not in self._models:
            raise RefusedError(
                grpc.StatusCode.NOT_FOUND, f"Request for unknown model: '{name}' is not found"
            )
        model = self._models[name]
        if version not in ('', model.version):
            raise RefusedError(
                grpc.StatusCode.NOT_FOUND,
                f"Request for unknown model: '{name}' version {version} is not found",
            )
        return model

    def _check_allowed(self) -> None:
        if not self._allow_client_shm:
            raise RefusedError(
                grpc.StatusCode.UNIMPLEMENTED,
                'Client shared memory is disabled. Start the server with '
                "'--allow-client-shm=true' to enable.",
            )


if __name__ == '__main__':
    main()
