"""What a Triton server says of a model, and whether that is the model of a bundle."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from tritonclient.grpc import service_pb2 as messages
from tritonclient.grpc.model_config_pb2 import ModelConfig, ModelInstanceGroup
from tritonclient.utils import triton_to_np_dtype

from perception_ros.backends.base import EngineOptions
from perception_ros.backends.triton.connection import Connection
from perception_ros.bundles.contract import (
    differences,
    expected_input,
    expected_outputs,
    INPUT_NAME,
    TensorSpec,
)
from perception_ros.bundles.manifest import Manifest
from perception_ros.core.errors import BackendError

GRAPH_PARAMETER = 'graph_sha256'
"""Parameter of a model's configuration that says which graph is served."""


class Served(NamedTuple):
    """A model on a server that has been found to be the bundle's."""

    server: str
    """Version of Triton."""
    backend: str
    """What runs the graph there: 'onnxruntime'."""
    device: str
    """'cpu', 'gpu', or 'cpu+gpu'."""
    version: str
    """Of the model: the name of its folder."""
    max_batch: int | None
    """Most images of one request; None: the server sets no limit."""


def check(connection: Connection, manifest: Manifest, options: EngineOptions) -> Served:
    """Ask a server what it serves under a bundle's name, and compare that with the bundle.

    :param options: what is asked of the server: `device`, `server_priority`.
    :raises BackendError: there is no server, no such model, it is another model, or it cannot do
        what is asked.
    """
    about, stub, name = connection.alive(), connection.stub, manifest.name
    where = f'Triton at {connection.address}, model {name}:'
    if not connection.call(stub.ModelReady, messages.ModelReadyRequest(name=name)).ready:
        raise BackendError(f'{where} {_why_not_ready(connection, name)}')
    model = connection.call(stub.ModelMetadata, messages.ModelMetadataRequest(name=name))
    config = connection.call(stub.ModelConfig, messages.ModelConfigRequest(name=name)).config
    if problems := _other_model(model, config, manifest):
        raise BackendError(f'{where} it is not the model of this bundle: {"; ".join(problems)}')
    device = _device(config)
    if options.device not in ('auto', device):
        raise BackendError(
            f'{where} device {options.device!r} is wanted, but the server runs it on {device}; '
            'set device to auto'
        )
    levels = config.dynamic_batching.priority_levels
    if options.server_priority > levels:
        raise BackendError(
            f'{where} server_priority {options.server_priority} is wanted, but it has {levels} '
            'priority levels; set it to 0'
        )
    return Served(
        about.version,
        config.backend or config.platform,
        device,
        max(model.versions, key=int, default=''),
        config.max_batch_size or None,
    )


def describe(connection: Connection) -> str:
    """Say which server is there, which models it has ready, and where they run.

    :raises BackendError: there is none.
    """
    about, stub = connection.alive(), connection.stub
    shown = []
    for item in _index(connection):
        if item.state == 'READY':
            request = messages.ModelConfigRequest(name=item.name, version=item.version)
            config = connection.call(stub.ModelConfig, request).config
            shown.append(f'{item.name} ({_device(config)})')
    return f'server {about.version} at {connection.address}: {", ".join(shown) or "no models"}'


def _index(connection: Connection) -> Any:
    request = messages.RepositoryIndexRequest()
    return connection.call(connection.stub.RepositoryIndex, request).models


def _why_not_ready(connection: Connection, name: str) -> str:
    index = _index(connection)
    for item in index:
        if item.name == name:
            return f'it is {item.state or "not loaded"}; {item.reason or "load it"}'
    return (
        f'no such model, only {sorted({item.name for item in index})}; write one with '
        '`perception_ros triton-repository`'
    )


def _other_model(model: Any, config: ModelConfig, manifest: Manifest) -> list[str]:
    """Return one line for each sign that a model is not the bundle's."""
    problems = [
        *differences('input', {INPUT_NAME: expected_input(manifest)}, _specs(model.inputs)),
        *differences('output', expected_outputs(manifest), _specs(model.outputs)),
    ]
    expected = manifest.graph.sha256
    came = config.parameters[GRAPH_PARAMETER].string_value
    if not problems and came not in ('', expected):
        problems.append(
            f'expected the graph with SHA-256 {expected}, got {came}; write the model repository '
            'anew, or take the bundle that it was written from'
        )
    return problems


def _specs(tensors: Any) -> dict[str, TensorSpec]:
    found = {}
    for item in tensors:
        dtype = triton_to_np_dtype(item.datatype)
        shape = tuple(None if size < 0 else size for size in item.shape)
        found[item.name] = TensorSpec(np.dtype(dtype).name if dtype else item.datatype, shape)
    return found


def _device(config: ModelConfig) -> str:
    kinds = {ModelInstanceGroup.Kind.Name(group.kind) for group in config.instance_group}
    return '+'.join(sorted(kind.removeprefix('KIND_').lower() for kind in kinds))
