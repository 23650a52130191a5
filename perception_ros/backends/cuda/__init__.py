"""The little of CUDA that an engine needs: one seam (`device`) with two packages behind it.

`open_gpu` takes cuda-python, or pycuda where only that is installed; the environment variable
PERCEPTION_ROS_CUDA names one. Nothing of this needs the CUDA toolkit but `nvrtc`, which compiles
the kernel of `letterbox`.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
import os

from perception_ros.backends.cuda.device import Gpu, NO_DRIVER
from perception_ros.core.errors import BackendError, NotInstalledError

__all__ = ['PACKAGES', 'VARIABLE', 'Gpu', 'open_gpu']

VARIABLE = 'PERCEPTION_ROS_CUDA'

PACKAGES = {
    'cuda-python': (f'{__name__}.cuda_python', 'pip install cuda-python'),
    'pycuda': (f'{__name__}.with_pycuda', 'pip install pycuda (it needs the CUDA toolkit)'),
}
"""Name -> module with a class `Device`, and how to get it; 'auto' tries them in this order."""


def open_gpu(index: int = 0, environment: Mapping[str, str] = os.environ) -> Gpu:
    """Return a GPU by its index, through the package that is there, or that the user named.

    :raises BackendError: no package, no driver, or no such GPU; with how to mend it.
    """
    wanted = environment.get(VARIABLE, '') or 'auto'
    if wanted not in ('auto', *PACKAGES):
        raise BackendError(
            f'{VARIABLE}={wanted}: expected auto, {" or ".join(PACKAGES)}; correct or unset it'
        )
    names = list(PACKAGES) if wanted == 'auto' else [wanted]
    for name in names:
        module, _ = PACKAGES[name]
        try:
            device = import_module(module).Device
        except ModuleNotFoundError:
            continue
        except ImportError as error:  # pycuda is linked with the driver
            raise NotInstalledError(
                f'{name} cannot be imported: {error}; {NO_DRIVER}'
            ) from error
        gpu: Gpu = device(index)
        return gpu
    raise NotInstalledError(f'not installed: {", ".join(names)}; {PACKAGES[names[0]][1]}')
