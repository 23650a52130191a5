"""The seam: what this package needs of CUDA, whichever Python package provides it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager, ExitStack
import logging
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from perception_ros.core.errors import BackendError

NO_DRIVER = (
    'install the NVIDIA driver (nvidia-smi must list the GPU); a container needs --gpus all, or '
    '--runtime nvidia on a Jetson'
)

_log = logging.getLogger(__name__)


class Gpu(ABC):
    """One GPU, and what was made on it; `close` frees all of that, the newest first.

    It uses the primary context of the device, as TensorRT does. A context belongs to a thread:
    whoever calls anything but `close` does so inside of `with gpu.current():`. Addresses on the
    GPU, streams, events, kernels and graphs are integers; a stream's is CUDA's own handle.

    Every method raises `BackendError` with CUDA's own name of the error.
    """

    package: str
    """What is behind this seam, with version: 'cuda-python 13.5.0'."""
    index: int
    name: str
    """'NVIDIA H200'."""
    capability: tuple[int, int]
    """Compute capability, (9, 0) for a Hopper."""
    cuda_version: tuple[int, int]
    """Greatest CUDA that the driver supports."""

    def __init__(self) -> None:
        self._made = ExitStack()

    def __str__(self) -> str:
        """Return 'cuda:0 (NVIDIA H200, compute capability 9.0), driver for CUDA 13.0, ...'."""
        major, minor = self.cuda_version
        return (
            f'cuda:{self.index} ({self.name}, compute capability {self.compute}), driver for CUDA '
            f'{major}.{minor}, through {self.package}'
        )

    @property
    def compute(self) -> str:
        """Compute capability as people write it: '9.0'."""
        return '{}.{}'.format(*self.capability)

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make this GPU's context the calling thread's for a while."""
        self._push()
        try:
            yield
        finally:
            self._pop()

    def close(self) -> None:
        """Free everything. Idempotent. Nothing may run on the GPU any more."""
        with self.current():
            self._made.close()

    def _at_close(self, free: Callable[..., Any], *arguments: Any) -> None:
        """Have something freed by `close`; an error there must not keep the rest."""

        def try_to() -> None:
            try:
                free(*arguments)
            except BackendError as error:  # after a fault, CUDA refuses everything
                _log.debug('not freed: %s', error)

        self._made.callback(try_to)

    @abstractmethod
    def _push(self) -> None:
        """Make the context the calling thread's."""

    @abstractmethod
    def _pop(self) -> None:
        """Undo `_push`."""

    @abstractmethod
    def allocate(self, size: int) -> int:
        """Return the address of `size` bytes on the GPU."""

    @abstractmethod
    def page_locked(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Return an array on the host that the GPU can copy from and to while the CPU goes on.

        It must not be touched after `close`.
        """

    @abstractmethod
    def stream(self) -> int:
        """Return a stream that waits for no other."""

    @abstractmethod
    def event(self) -> int:
        """Return an event that whoever waits for it sleeps on."""

    @abstractmethod
    def upload(self, address: int, array: NDArray[Any], stream: int) -> None:
        """Begin to copy a contiguous, page-locked array to the GPU."""

    @abstractmethod
    def download(self, array: NDArray[Any], address: int, stream: int) -> None:
        """Begin to fill a contiguous, page-locked array from the GPU."""

    @abstractmethod
    def record(self, event: int, stream: int) -> None:
        """Let an event come when all that the stream has now is done."""

    @abstractmethod
    def wait(self, event: int) -> None:
        """Sleep until the event has come, without holding Python's lock."""

    @abstractmethod
    def synchronize(self, stream: int) -> None:
        """Sleep until the stream has nothing more to do."""

    @abstractmethod
    def load(self, cubin: bytes, name: str) -> int:
        """Return a kernel of a compiled module."""

    @abstractmethod
    def launch(
        self,
        kernel: int,
        grid: tuple[int, int],
        block: tuple[int, int],
        argument: bytes,
        stream: int,
    ) -> None:
        """Begin to run a kernel whose one parameter is a structure, here as bytes."""

    @abstractmethod
    def capture(self, stream: int, work: Callable[[], None]) -> int:
        """Return a graph of what `work` gives the stream to do, none of which is done now.

        :raises BackendError: the package knows no graphs, or the work cannot be captured; the
            stream can be used on.
        """

    @abstractmethod
    def replay(self, graph: int, stream: int) -> None:
        """Begin to do what a graph holds."""


def size_of(shape: tuple[int, ...], dtype: DTypeLike) -> int:
    """Return the bytes that an array takes."""
    return int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
