"""The double of NVIDIA's driver, `libcuda.cpp`, for processes that were started for it alone.

Once it is loaded, whatever looks for the driver finds it; hence never in the process of the other
tests.
"""

from __future__ import annotations

import ctypes
from importlib.util import find_spec
from pathlib import Path
import re
import subprocess

from perception_ros.backends.cuda.letterbox import SOURCE

NAME = 'libcuda.so.1'
HERE = Path(__file__).parent


def build(folder: Path) -> Path:
    """Compile the double, with all functions that pycuda is linked with if it is installed."""
    path, rest = folder / NAME, folder / 'rest.cpp'
    known = set(re.findall(r'Result (cu\w+)\(', (HERE / 'libcuda.cpp').read_text()))
    unknown = sorted(_needed_by_pycuda() - known)
    rest.write_text(''.join(f'extern "C" int {name}() {{ return 801; }}\n' for name in unknown))
    subprocess.run(
        [
            'g++', '-std=c++17', '-O1', '-shared', '-fPIC', f'-I{SOURCE.parent}',
            f'-Wl,-soname,{NAME}', '-o', path, HERE / 'libcuda.cpp', rest, '-ldl', '-pthread',
        ],
        check=True,
    )  # fmt: skip
    return path


def _needed_by_pycuda() -> set[str]:
    spec = find_spec('pycuda')
    if spec is None or spec.origin is None:
        return set()
    [module] = Path(spec.origin).parent.glob('_driver*.so')
    listed = subprocess.run(
        ['nm', '-D', '--undefined-only', module], check=True, capture_output=True, text=True
    )
    return set(re.findall(r' U (cu[A-Z]\w+)', listed.stdout))


class DriverDouble:
    """The double, loaded: what it was told, and what has been made and not freed."""

    def __init__(self, path: Path) -> None:
        self.library = ctypes.CDLL(str(path))
        self.library.double_calls.restype = ctypes.c_char_p

    @property
    def alive(self) -> int:
        """How many allocations, streams, events, modules and graphs have not been freed."""
        return int(self.library.double_alive())

    def calls(self) -> list[str]:
        """Return the calls since the last time."""
        return str(self.library.double_calls().decode()).split()

    def fail(self, name: str, status: int) -> None:
        """Let the next call of a function fail; 700 is CUDA_ERROR_ILLEGAL_ADDRESS."""
        self.library.double_fail(name.encode(), status)

    def slow_down(self, seconds: float) -> None:
        """Let whoever waits for an event wait that long."""
        self.library.double_slow_down(round(seconds * 1e6))
