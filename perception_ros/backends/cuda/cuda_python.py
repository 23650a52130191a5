"""The seam over cuda-python: CUDA's driver API by its own names, from `cuda.bindings`."""

from __future__ import annotations

from collections.abc import Callable
import ctypes
from functools import cache
from typing import Any

from cuda import bindings
from cuda.bindings import driver
import numpy as np
from numpy.typing import DTypeLike, NDArray

from perception_ros.backends.cuda.device import Gpu, NO_DRIVER, size_of
from perception_ros.core.errors import BackendError, NotInstalledError

PACKAGE = f'cuda-python {bindings.__version__}'

_Attribute = driver.CUdevice_attribute


class Device(Gpu):
    """A GPU through cuda-python.

    :raises BackendError: there is no driver, or no such GPU.
    """

    def __init__(self, index: int) -> None:
        super().__init__()
        device = _find(index)
        self.package, self.index = PACKAGE, index
        self.name = _call(driver.cuDeviceGetName, 256, device).partition(b'\0')[0].decode()
        self.capability = (
            _call(
                driver.cuDeviceGetAttribute,
                _Attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
                device,
            ),
            _call(
                driver.cuDeviceGetAttribute,
                _Attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
                device,
            ),
        )
        version = _call(driver.cuDriverGetVersion)
        self.cuda_version = (version // 1000, version % 1000 // 10)

    def _push(self) -> None:
        _call(driver.cuCtxPushCurrent, _primary_context(self.index))

    def _pop(self) -> None:
        _call(driver.cuCtxPopCurrent)

    def allocate(self, size: int) -> int:
        address = int(_call(driver.cuMemAlloc, size))
        self._at_close(_call, driver.cuMemFree, address)
        return address

    def page_locked(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        size = size_of(shape, dtype)
        address = int(_call(driver.cuMemHostAlloc, size, 0))
        self._at_close(_call, driver.cuMemFreeHost, address)
        memory = (ctypes.c_uint8 * size).from_address(address)
        return np.ndarray(shape, np.dtype(dtype), memoryview(memory))

    def stream(self) -> int:
        flag = driver.CUstream_flags.CU_STREAM_NON_BLOCKING
        stream = int(_call(driver.cuStreamCreate, int(flag)))
        self._at_close(_call, driver.cuStreamDestroy, stream)
        return stream

    def event(self) -> int:
        flags = driver.CUevent_flags
        event = int(_call(
            driver.cuEventCreate,
            int(flags.CU_EVENT_BLOCKING_SYNC) | int(flags.CU_EVENT_DISABLE_TIMING),
        ))
        self._at_close(_call, driver.cuEventDestroy, event)
        return event

    def upload(self, address: int, array: NDArray[Any], stream: int) -> None:
        _call(driver.cuMemcpyHtoDAsync, address, array.ctypes.data, array.nbytes, stream)

    def download(self, array: NDArray[Any], address: int, stream: int) -> None:
        _call(driver.cuMemcpyDtoHAsync, array.ctypes.data, address, array.nbytes, stream)

    def record(self, event: int, stream: int) -> None:
        _call(driver.cuEventRecord, event, stream)

    def wait(self, event: int) -> None:
        _call(driver.cuEventSynchronize, event)

    def synchronize(self, stream: int) -> None:
        _call(driver.cuStreamSynchronize, stream)

    def load(self, cubin: bytes, name: str) -> int:
        module = _call(driver.cuModuleLoadData, cubin)
        self._at_close(_call, driver.cuModuleUnload, module)
        return int(_call(driver.cuModuleGetFunction, module, name.encode()))

    def launch(
        self,
        kernel: int,
        grid: tuple[int, int],
        block: tuple[int, int],
        argument: bytes,
        stream: int,
    ) -> None:
        held = ctypes.create_string_buffer(argument, len(argument))
        parameters = (ctypes.c_void_p * 1)(ctypes.addressof(held))
        _call(
            driver.cuLaunchKernel,
            kernel, *grid, 1, *block, 1, 0, stream, ctypes.addressof(parameters), 0,
        )  # fmt: skip

    def capture(self, stream: int, work: Callable[[], None]) -> int:
        # Of this thread alone: others go on with what a capture would not allow them.
        mode = driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        _call(driver.cuStreamBeginCapture, stream, mode)
        try:
            work()
        except BaseException:
            driver.cuStreamEndCapture(stream)
            raise
        graph = _call(driver.cuStreamEndCapture, stream)
        try:
            executable = int(_call(driver.cuGraphInstantiate, graph, 0))
        finally:
            _call(driver.cuGraphDestroy, graph)
        self._at_close(_call, driver.cuGraphExecDestroy, executable)
        return executable

    def replay(self, graph: int, stream: int) -> None:
        _call(driver.cuGraphLaunch, graph, stream)


def _find(index: int) -> Any:
    try:
        _call(driver.cuInit, 0)
        count = _call(driver.cuDeviceGetCount)
    except (RuntimeError, BackendError) as error:
        raise NotInstalledError(
            f'{PACKAGE} finds no NVIDIA driver or GPU: {str(error).rstrip(".")}; {NO_DRIVER}'
        ) from error
    if index >= count:
        raise BackendError(
            f'cuda:{index}: expected an index below {count}, the number of GPUs here'
        )
    return _call(driver.cuDeviceGet, index)


@cache
def _primary_context(index: int) -> Any:
    """Return a GPU's context; it is kept, since others of this process use it too."""
    return _call(driver.cuDevicePrimaryCtxRetain, _call(driver.cuDeviceGet, index))


def _call(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function of the driver and return its value; its errors become ours."""
    status, *values = function(*arguments)
    if status != driver.CUresult.CUDA_SUCCESS:
        raise BackendError(f'{function.__name__}: {status.name}')
    return values[0] if values else None
