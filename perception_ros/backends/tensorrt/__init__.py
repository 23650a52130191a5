"""TensorRT 10 and 11: plans built from bundles, kept in the engine store, run on NVIDIA GPUs.

`library` finds the library, `plans.plan_for` takes a plan from the store or builds it, `engine`
runs it. The sibling TensorRT-RTX has its functions in `rtx`; all else serves both.
"""

from __future__ import annotations

from perception_ros.backends.base import Engine, EngineOptions
from perception_ros.backends.cuda import open_gpu
from perception_ros.backends.tensorrt.engine import TensorRtEngine
from perception_ros.backends.tensorrt.library import Library, LibraryName, load_library
from perception_ros.backends.tensorrt.plans import name_of, NO_GPU
from perception_ros.bundles.bundle import Bundle
from perception_ros.core.errors import NoSuchDeviceError, NotInstalledError


def probe(name: LibraryName = 'tensorrt') -> str:
    """Say which library, GPU and driver are here.

    :raises BackendError: one of them is not, or does not work.
    """
    return f'{load_library(name)}: {open_gpu()}'


def open_bundle(
    bundle: Bundle, options: EngineOptions, name: LibraryName = 'tensorrt'
) -> Engine:
    """Return an engine for a bundle; see `TensorRtEngine`."""
    library = load_library(name)
    gpu = open_gpu(_device_index(options.device, name))
    try:
        return TensorRtEngine(bundle, options, library, gpu)
    except BaseException:
        gpu.close()
        raise


def gpu_here(library: Library) -> str:
    """Return the name of this machine's first GPU for `plans.plan_for`, if there is one."""
    try:
        return name_of(open_gpu(), library)
    except NotInstalledError:
        return NO_GPU


def _device_index(device: str, name: LibraryName) -> int:
    kind, _, index = device.partition(':')
    if device == 'auto' or (kind == 'cuda' and (index.isdecimal() or device == 'cuda')):
        return int(index or 0)
    raise NoSuchDeviceError(
        f'device {device!r}: expected auto, cuda or cuda:<index> with backend {name}'
    )
