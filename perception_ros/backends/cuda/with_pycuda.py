"""The seam over pycuda, which knows no graphs."""

from __future__ import annotations

import atexit
from collections.abc import Callable
from functools import cache
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
import pycuda
from pycuda import driver

from perception_ros.backends.cuda.device import Gpu, NO_DRIVER
from perception_ros.core.errors import BackendError, NotInstalledError

PACKAGE = f'pycuda {pycuda.VERSION_TEXT}'

_STREAM_NON_BLOCKING = 1
"""CU_STREAM_NON_BLOCKING, for which pycuda has no name."""


class Device(Gpu):
    """A GPU through pycuda, whose objects are freed when nobody holds them any more.

    :raises BackendError: there is no driver, or no such GPU.
    """

    def __init__(self, index: int) -> None:
        super().__init__()
        device = _find(index)
        self.package, self.index = PACKAGE, index
        self.name = device.name()
        self.capability = device.compute_capability()
        version = driver.get_driver_version()
        self.cuda_version = (version // 1000, version % 1000 // 10)
        self._objects: dict[int, Any] = {}
        self._numbers = count(1)

    def _push(self) -> None:
        _primary_context(self.index).push()

    def _pop(self) -> None:
        driver.Context.pop()

    def allocate(self, size: int) -> int:
        memory = _call(driver.mem_alloc, size)
        self._at_close(memory.free)
        return int(memory)

    def page_locked(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        array: NDArray[Any] = _call(driver.pagelocked_empty, shape, np.dtype(dtype))
        self._at_close(array.base.free)  # type: ignore[union-attr]
        return array

    def stream(self) -> int:
        stream = _call(driver.Stream, _STREAM_NON_BLOCKING)
        return self._keep(stream, int(stream.handle))

    def event(self) -> int:
        flags = driver.event_flags
        event = _call(driver.Event, flags.BLOCKING_SYNC | flags.DISABLE_TIMING)
        return self._keep(event, next(self._numbers))

    def upload(self, address: int, array: NDArray[Any], stream: int) -> None:
        _call(driver.memcpy_htod_async, address, array, self._objects[stream])

    def download(self, array: NDArray[Any], address: int, stream: int) -> None:
        _call(driver.memcpy_dtoh_async, array, address, self._objects[stream])

    def record(self, event: int, stream: int) -> None:
        _call(self._objects[event].record, self._objects[stream])

    def wait(self, event: int) -> None:
        _call(self._objects[event].synchronize)

    def synchronize(self, stream: int) -> None:
        _call(self._objects[stream].synchronize)

    def load(self, cubin: bytes, name: str) -> int:
        module = _call(driver.module_from_buffer, cubin)
        return self._keep(_call(module.get_function, name), next(self._numbers))

    def launch(
        self,
        kernel: int,
        grid: tuple[int, int],
        block: tuple[int, int],
        argument: bytes,
        stream: int,
    ) -> None:
        _call(
            self._objects[kernel],
            np.void(argument),
            grid=grid,
            block=(*block, 1),
            stream=self._objects[stream],
        )

    def capture(self, stream: int, work: Callable[[], None]) -> int:
        raise BackendError(f'{PACKAGE} knows no CUDA graphs; pip install cuda-python')

    def replay(self, graph: int, stream: int) -> None:
        raise BackendError(f'{PACKAGE} knows no CUDA graphs; pip install cuda-python')

    def _keep(self, thing: Any, number: int) -> int:
        self._objects[number] = thing
        self._at_close(self._objects.pop, number)
        return number


def _find(index: int) -> Any:
    try:
        driver.init()
        found = driver.Device.count()
    except driver.Error as error:
        raise NotInstalledError(
            f'{PACKAGE} finds no NVIDIA driver or GPU: {str(error).rstrip(".")}; {NO_DRIVER}'
        ) from error
    if index >= found:
        raise BackendError(
            f'cuda:{index}: expected an index below {found}, the number of GPUs here'
        )
    return driver.Device(index)


@cache
def _primary_context(index: int) -> Any:
    """Return a GPU's context; it is kept, since others of this process use it too."""
    context = driver.Device(index).retain_primary_context()
    atexit.register(context.detach)  # its destructor would complain
    return context


def _call(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """Call a function of pycuda; its errors become ours."""
    try:
        return function(*arguments, **named)
    except driver.Error as error:
        raise BackendError(f'CUDA: {error}') from error
