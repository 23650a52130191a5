"""The library that is here: `tensorrt`, or its sibling for workstations, `tensorrt_rtx`.

Both have one API, so all of this package takes a `Library` and one code path serves both.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import cache
from importlib import import_module
import logging
from typing import Any, cast, Literal, Protocol, TYPE_CHECKING

import numpy as np

from perception_ros.core.errors import BackendError, NotInstalledError

if TYPE_CHECKING:
    import tensorrt as trt

LibraryName = Literal['tensorrt', 'tensorrt_rtx']

_log = logging.getLogger(__name__)

_LEAST_MAJOR = {'tensorrt': 10, 'tensorrt_rtx': 1}
_INSTALL = {
    'tensorrt': 'it comes with JetPack and DRIVE OS; elsewhere: pip install tensorrt',
    'tensorrt_rtx': 'pip install tensorrt-rtx-cu13',
}


class TensorRt(Protocol):
    """What this package uses of the library, with the types of TensorRT 10."""

    Builder: type[trt.Builder]
    BuilderFlag: type[trt.BuilderFlag]
    CudaGraphStrategy: Any
    """Of TensorRT-RTX alone."""
    DataType: type[trt.DataType]
    Dims: type[trt.Dims]
    DeviceType: type[trt.DeviceType]
    ExecutionContextAllocationStrategy: type[trt.ExecutionContextAllocationStrategy]
    HardwareCompatibilityLevel: type[trt.HardwareCompatibilityLevel]
    IConvolutionLayer: type[trt.IConvolutionLayer]
    IDeconvolutionLayer: type[trt.IDeconvolutionLayer]
    ILogger: type[trt.ILogger]
    IMatrixMultiplyLayer: type[trt.IMatrixMultiplyLayer]
    IProgressMonitor: type[trt.IProgressMonitor]
    LayerInformationFormat: type[trt.LayerInformationFormat]
    LayerType: type[trt.LayerType]
    MatrixOperation: type[trt.MatrixOperation]
    MemoryPoolType: type[trt.MemoryPoolType]
    NetworkDefinitionCreationFlag: type[trt.NetworkDefinitionCreationFlag]
    OnnxParser: type[trt.OnnxParser]
    ProfilingVerbosity: type[trt.ProfilingVerbosity]
    Runtime: type[trt.Runtime]

    def nptype(self, dtype: trt.DataType, /) -> type[np.generic]:
        """Return NumPy's type."""


@dataclass(frozen=True, slots=True)
class Library:
    """A library that has been imported.

    It wants one logger in a process, and that to outlive all that was made with it.
    """

    name: LibraryName
    version: str
    module: TensorRt
    logger: trt.ILogger
    errors: deque[str]
    """The last errors that it logged, the newest last; `explain` joins them."""

    def __str__(self) -> str:
        """Return, for instance, 'tensorrt 10.13.0.35'."""
        return f'{self.name} {self.version}'

    @property
    def is_rtx(self) -> bool:
        """Whether it is the sibling, which compiles on the GPU that runs it and knows no DLA."""
        return self.name == 'tensorrt_rtx'

    def explain(self) -> str:
        """Return what it has complained of since the last call, for a message."""
        said = list(dict.fromkeys(self.errors))
        self.errors.clear()
        return '; '.join(said) or 'it gives no reason'


@cache
def load_library(name: LibraryName) -> Library:
    """Import a library.

    :raises BackendError: it is not installed, cannot be imported, or is too old.
    """
    try:
        module = import_module(name)
    except (ImportError, OSError, RuntimeError) as error:
        kind = NotInstalledError if isinstance(error, ModuleNotFoundError) else BackendError
        raise kind(f'{name} cannot be imported: {error}; {_INSTALL[name]}') from error
    version = str(getattr(module, '__version__', ''))
    if not version:
        raise NotInstalledError(
            f'{name} is not installed, its type stubs alone are; {_INSTALL[name]}'
        )
    least = _LEAST_MAJOR[name]
    if int(version.partition('.')[0]) < least:
        raise BackendError(
            f'{name} {version}: expected {least} or newer, whose precision is that of the graph; '
            f'{_INSTALL[name]}'
        )
    errors: deque[str] = deque(maxlen=8)
    logger = _logger(module, f'{name} {version}', errors)
    return Library(name, version, cast(TensorRt, module), logger, errors)


def _logger(module: Any, name: str, errors: deque[str]) -> trt.ILogger:
    """Return a logger that keeps errors for our own message, and all else for debugging."""

    class Logger(module.ILogger):
        def __init__(self) -> None:
            module.ILogger.__init__(self)

        def log(self, severity: trt.ILogger.Severity, message: str) -> None:
            if severity in (module.ILogger.INTERNAL_ERROR, module.ILogger.ERROR):
                errors.append(' '.join(message.split()))
            _log.debug('%s: %s', name, message)

    return cast('trt.ILogger', Logger())
