"""The backend: a batch is one request, in shared memory where the server can see it.

Each slot has memory for its images and memory for its outputs, both known to the server, so that
nothing is copied here. Where the server cannot see them or may not use them, the same tensors
travel in messages. A thread for each slot waits for the answer.

A failure costs its batch. After it, and after a lost connection, the server is asked anew what it
serves and the memory is registered again, because it may be another server by now. The outputs
then get fresh memory: a server that answers too late may still be writing to the old.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from importlib.metadata import version
import logging

import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2 as messages

from perception_ros.backends.base import Engine, EngineInfo, EngineOptions, Outputs
from perception_ros.backends.slots import CLOSED, FutureSlot, SlotEngine, SLOTS
from perception_ros.backends.triton.connection import Connection
from perception_ros.backends.triton.memory import remove_leftovers, SharedRegion
from perception_ros.backends.triton.server import check, describe, Served
from perception_ros.backends.triton.tensors import (
    forget_leftovers,
    MessageTensors,
    SharedTensors,
    Tensors,
)
from perception_ros.bundles.bundle import Bundle
from perception_ros.bundles.contract import expected_outputs
from perception_ros.core.errors import BackendError

LOCAL = EngineOptions().server
"""Where `probe` looks for a server."""

_PROBE_TIMEOUT_S = 1.0

_log = logging.getLogger(__name__)


def probe() -> str:
    """Say which server answers where one is by default, and which models it has ready.

    :raises BackendError: none does; another address is tried when a bundle is opened.
    """
    connection = Connection(LOCAL, _PROBE_TIMEOUT_S)
    try:
        return f'triton client {version("tritonclient")}, {describe(connection)}'
    finally:
        connection.close()


def open_bundle(bundle: Bundle, options: EngineOptions) -> Engine:
    """Return an engine for a bundle; see `TritonEngine`."""
    return TritonEngine(bundle, options)


class TritonEngine(SlotEngine):
    """A bundle that a Triton server serves under the bundle's name.

    :param options: `server`, `server_timeout_ms` and `server_priority` are for this backend alone.
        `device` is 'auto' (wherever the server runs it), or 'cpu' or 'gpu', where it must. If the
        server takes fewer images than `max_batch`, so does the engine. `threads`,
        `performance_hint` and `graph_optimization` are the server's own business.
    :raises BackendError: no server answers, it does not serve the model, or it serves another one.
    """

    def __init__(self, bundle: Bundle, options: EngineOptions) -> None:
        if options.device not in ('auto', 'cpu', 'gpu'):
            raise BackendError(
                f'device {options.device!r}: expected auto, cpu or gpu with backend triton'
            )
        self._manifest, self._options = bundle.manifest, options
        self._connection = Connection(options.server, options.server_timeout_ms / 1000)
        try:
            served = check(self._connection, bundle.manifest, options)
        except BackendError:
            self._connection.close()
            raise
        max_batch = min(options.max_batch, served.max_batch or options.max_batch)
        if max_batch < options.max_batch:
            _log.warning(
                'max_batch %d: the server takes %s in batches of at most %d',
                options.max_batch, bundle.manifest.name, max_batch,
            )
        size = bundle.manifest.input
        super().__init__(
            EngineInfo(
                backend=f'triton {served.server}',
                device=f'{served.device} ({served.backend} at {options.server})',
                precision=bundle.manifest.precision,
                max_batch=max_batch,
                input_size=(size.width, size.height),
            )
        )
        self._specs = expected_outputs(bundle.manifest)
        self._says_why_not_shared = True
        self._executor = ThreadPoolExecutor(SLOTS, thread_name_prefix='triton')
        self._slots = [_Slot(self, *self._memory()) for _ in range(SLOTS)]
        forget_leftovers(self._connection, remove_leftovers())
        for slot in self._slots:
            self._attach(slot, served, losses=0)
        self._offer(self._slots)

    def submit(self, slot: _Slot, batch_size: int) -> Future[Outputs]:
        """Run the first images of a slot in a thread."""
        try:
            return self._executor.submit(self._run, slot, batch_size)
        except RuntimeError as error:  # the executor's word for: shut down
            raise BackendError(CLOSED) from error

    def _run(self, slot: _Slot, batch_size: int) -> Outputs:
        try:
            losses = self._connection.losses
            if slot.attached != losses:
                served = check(self._connection, self._manifest, self._options)
                self._attach(slot, served, losses)
            request = messages.ModelInferRequest(
                model_name=self._manifest.name, model_version=slot.version
            )
            request.parameters['priority'].uint64_param = self._options.server_priority
            slot.tensors.fill(request, batch_size)
            answer = self._connection.call(self._connection.stub.ModelInfer, request)
            return slot.tensors.read(answer, batch_size)
        except BackendError:
            slot.attached = None
            raise

    def _attach(self, slot: _Slot, served: Served, losses: int) -> None:
        """Let a server that was checked after so many losses know the slot's memory."""
        slot.attached = losses
        slot.version = served.version
        slot.tensors.close(self._connection)
        slot.tensors = self._tensors(slot)

    def _tensors(self, slot: _Slot) -> Tensors:
        if slot.region is not None:
            try:
                return SharedTensors(self._connection, slot.region, slot.images, self._specs)
            except (BackendError, OSError) as error:
                self._say_why_not_shared(error)
        return MessageTensors(slot.images, self._specs)

    def _memory(self) -> tuple[NDArray[np.uint8], SharedRegion | None]:
        """Return memory for the images of a slot, shared if there is room for it."""
        width, height = self._info.input_size
        shape = (self._info.max_batch, height, width, 3)
        try:
            region = SharedRegion(int(np.prod(shape)))
        except OSError as error:
            self._say_why_not_shared(error)
            return np.zeros(shape, np.uint8), None
        return region.array(np.uint8, shape), region

    def _say_why_not_shared(self, error: Exception) -> None:
        if self._says_why_not_shared:
            _log.warning('images travel in messages, not in shared memory: %s', error)
        self._says_why_not_shared = False

    def _settle(self) -> None:
        self._executor.shutdown(wait=True)
        for slot in self._slots:
            slot.tensors.close(self._connection)
            if slot.region is not None:
                slot.region.close()
        self._connection.close()


class _Slot(FutureSlot):
    """A slot, and what the server has been told of it.

    :param region: what the images are a view of, if they are in shared memory.
    """

    def __init__(
        self, engine: TritonEngine, images: NDArray[np.uint8], region: SharedRegion | None
    ) -> None:
        super().__init__(engine, images)
        self._engine = engine
        self.region = region
        self.tensors: Tensors = MessageTensors(images, {})
        self.version = ''
        self.attached: int | None = None
        """How many connections had been lost when the server was last checked; None: it failed."""

    def _begin(self, batch_size: int) -> None:
        self._futures = [self._engine.submit(self, batch_size)]
