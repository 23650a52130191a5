"""The engine contract: all that the pipeline knows of an inference runtime.

A backend is one module with one subclass of `Engine`, and the two functions of `BackendModule`.
An engine owns a few *request* slots. Each slot has an input buffer that is filled in place, is run
asynchronously, and holds its outputs until it is released::

    with open_engine(bundle, 'auto', EngineOptions(max_batch=8)) as engine:
        request = engine.request()            # waits for a free slot
        request.write(0, image, letterbox)    # a camera's image, as it came
        request.start(1)                      # returns at once
        outputs = request.result()            # waits; name -> array [n, ...]
        ...                                   # outputs are valid until:
        request.release()
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
import threading
from types import TracebackType
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from perception_ros.bundles.bundle import Bundle
from perception_ros.core.errors import BackendError
from perception_ros.core.image import Image
from perception_ros.core.letterbox import Letterbox

Outputs = Mapping[str, NDArray[np.generic]]
"""Graph output name -> array whose first axis is the batch."""


PerformanceHint = Literal['latency', 'throughput']
GraphOptimization = Literal['disabled', 'basic', 'extended', 'all']
HardwareCompatibility = Literal['none', 'ampere_plus', 'same_compute_capability']


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What may be asked of an engine; a backend ignores what its runtime does not know."""

    max_batch: int = 8
    """Most images that one call takes."""
    device: str = 'auto'
    """'auto' (the best that works here), 'cpu', or a name that the backend documents."""
    threads: int = 0
    """CPU threads of one call; 0: the runtime chooses."""
    performance_hint: PerformanceHint = 'latency'
    """'latency': all cores for one call; 'throughput': share them among the calls in flight."""
    graph_optimization: GraphOptimization = 'all'
    """How much the runtime may rewrite the graph."""
    optimal_batch: int = 0
    """Batch size that a built engine is tuned for; 0: max_batch."""
    hardware_compatibility: HardwareCompatibility = 'none'
    """Which other GPUs a built engine must run on besides the one that built it."""
    dla_core: int = -1
    """Deep-learning accelerator to build for, which takes full batches only; -1: the GPU."""
    cuda_graphs: bool = True
    """Whether a run is given to the GPU as one graph, where its runtime can capture it."""
    fake_duration_ms: float = 0.0
    """Time that a call of the fake backend takes; 0: none, and it looks for colours."""
    server: str = 'localhost:8001'
    """Host and gRPC port of an inference server."""
    server_timeout_ms: int = 5000
    """Longest time that a server may take for one call."""
    server_priority: int = 0
    """Which requests a server takes first: 1 before 2; 0: as the model is configured there."""
    cancel: threading.Event | None = field(default=None, compare=False)
    """Set by whoever no longer wants the engine: opening it, where that lasts, is given up."""


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What an engine really is, not what was asked for."""

    backend: str
    """Name of the runtime, with version: 'onnxruntime 1.31.1'."""
    device: str
    """What it runs on: 'cpu', 'cuda:0 (NVIDIA H200)'."""
    precision: str
    """'fp32', 'fp16', 'bf16' or 'int8'."""
    max_batch: int
    """Most images that one call takes."""
    input_size: tuple[int, int]
    """Width and height of the network's input in pixels."""


@dataclass(frozen=True, slots=True)
class Degradation:
    """Why a bundle is not served by the backend that was asked for."""

    reason: str
    """'tensorrt failed 3 times in a row: out of memory'."""
    since: datetime
    """When it came to that, in UTC."""

    def __str__(self) -> str:
        """Return both in one line for people."""
        return f'{self.reason} (since {self.since:%H:%M:%S} UTC)'


class Request(ABC):
    """One slot of an engine: an input buffer, one run, and the outputs of that run.

    A slot belongs to whoever got it from `Engine.request` until `release`; it may be handed from
    one thread to another, but is used by one at a time.
    """

    @property
    @abstractmethod
    def images(self) -> NDArray[np.uint8]:
        """Input, uint8 [max_batch, H, W, 3] RGB, for images that are letterboxed already.

        Fill it before `start`, then leave it alone. Until `release`, each place of the batch is
        filled either here or by `write`.
        """

    @property
    def letterboxes_on_cpu(self) -> bool:
        """Whether `write` is work of the CPU alone: then several threads may do it at once."""
        return True

    def write(self, index: int, image: Image, letterbox: Letterbox) -> None:
        """Letterbox a camera's image, as it came, into place `index` of the batch.

        This is done on the CPU, into `images`. A slot that has its input on a GPU does it there
        and says so by `letterboxes_on_cpu`; `images` then need not hold it. The image's data is
        no longer needed on return.

        :raises ImageError: the image cannot be decoded; the place is still to be filled.
        """
        pixels, to_rgb = image.pixels()
        letterbox.write(pixels, to_rgb, self.images[index])

    @abstractmethod
    def start(self, batch_size: int) -> None:
        """Begin a run of the first `batch_size` images and return at once.

        Errors of the run itself are raised by `result`.

        :raises ValueError: `batch_size` is not in 1..max_batch.
        :raises BackendError: the engine is closed.
        """

    @abstractmethod
    def result(self) -> Outputs:
        """Wait for the run and return its outputs, the first axis of each being the batch.

        The arrays are views of the slot's memory: valid until `release`, copy what must live on.

        :raises BackendError: the runtime failed; the slot can still be released and used again.
        """

    @abstractmethod
    def release(self) -> None:
        """Give the slot back. Its input and outputs must not be touched afterwards."""


class Engine(ABC):
    """An opened bundle, ready to run. A context manager; `close` waits for running requests."""

    @property
    @abstractmethod
    def info(self) -> EngineInfo:
        """What this engine really is."""

    @property
    def degradation(self) -> Degradation | None:
        """Why this is not the engine that was asked for; None: it is."""
        return None

    @abstractmethod
    def request(self) -> Request:
        """Return a free slot, waiting for one if all are in use.

        Taking the slot before choosing the frames lets the newest frames have it.

        :raises BackendError: the engine is closed.
        """

    @abstractmethod
    def close(self) -> None:
        """Free everything. Idempotent."""

    def warm_up(self) -> None:
        """Run batches, so that the first frames are not slow.

        A GPU's libraries choose how to compute a batch when its size comes for the first time,
        which has taken seconds: there every size is run, on the CPU the smallest and the greatest.
        """
        sizes = range(1, self.info.max_batch + 1)
        for batch_size in sorted({1, len(sizes)}) if self.info.device == 'cpu' else sizes:
            request = self.request()
            try:
                request.images[...] = 114
                request.start(batch_size)
                for name, array in request.result().items():
                    if len(array) != batch_size:
                        raise BackendError(
                            f'output {name}: expected {batch_size} answers for {batch_size} '
                            f'images, got {len(array)}; the graph does not keep its batch'
                        )
            finally:
                request.release()

    def __enter__(self) -> Self:
        """Return the engine itself."""
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the engine."""
        self.close()


class BackendModule(Protocol):
    """The two functions that every backend's module has."""

    def probe(self) -> str:
        """Say what would run here: 'onnxruntime 1.31.1: cpu'. Opens nothing.

        :raises BackendError: it does not work here; the message says why and how to mend it.
        """

    def open_bundle(self, bundle: Bundle, options: EngineOptions) -> Engine:
        """Return an engine for a bundle.

        :raises BackendError: the device is not to be had, or the runtime refuses the graph.
        """
