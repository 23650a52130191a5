"""Which package is taken, and what is said where a package or the driver is missing.

Each in a process of its own, which sees no driver: a double may be what another test wants.
"""

from __future__ import annotations

from importlib.util import find_spec
import os
from pathlib import Path
import subprocess
import sys

import pytest

ROOT = Path(__file__).parents[3]

OPEN = """
import sys
from perception_ros.backends.cuda import open_gpu
from perception_ros.core.errors import BackendError
try:
    print(open_gpu())
except BackendError as error:
    print(f'{type(error).__name__}: {error}')
"""


def said(folder: Path, variable: str = '', **modules: str) -> str:
    """Return what opening says beside modules of these names and contents."""
    for name, code in modules.items():
        package = folder / name
        package.mkdir()
        (package / '__init__.py').write_text(code)
    done = subprocess.run(
        [sys.executable, '-c', OPEN],
        cwd=ROOT,
        env=os.environ | {
            'PERCEPTION_ROS_CUDA': variable,
            'PYTHONPATH': os.pathsep.join([str(folder), str(ROOT)]),
            'CUDA_VISIBLE_DEVICES': '',
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


ABSENT = "raise ModuleNotFoundError('absent')"
NO_DRIVER = "raise ImportError('libcuda.so.1: cannot open shared object file')"


@pytest.mark.skipif(find_spec('cuda') is None, reason='cuda-python is not installed')
@pytest.mark.parametrize('variable', ['', 'auto', 'cuda-python'])
def test_cuda_python_without_a_gpu_says_what_to_install(tmp_path: Path, variable: str) -> None:
    came = said(tmp_path, variable)
    assert came.startswith('NotInstalledError: cuda-python ')
    assert 'no NVIDIA driver or GPU' in came and 'nvidia-smi' in came


def test_pycuda_without_a_driver_says_what_to_install(tmp_path: Path) -> None:
    came = said(tmp_path, 'pycuda', pycuda=NO_DRIVER)
    assert came.startswith('NotInstalledError: pycuda cannot be imported: libcuda.so.1')
    assert 'install the NVIDIA driver' in came


def test_auto_takes_pycuda_where_cuda_python_is_not(tmp_path: Path) -> None:
    came = said(tmp_path, cuda=ABSENT, pycuda=NO_DRIVER)
    assert 'pycuda cannot be imported' in came


def test_without_any_package_it_says_what_to_install(tmp_path: Path) -> None:
    came = said(tmp_path, cuda=ABSENT, pycuda=ABSENT)
    assert came.strip() == (
        'NotInstalledError: not installed: cuda-python, pycuda; pip install cuda-python'
    )


def test_a_package_that_does_not_exist_is_refused_with_the_choices(tmp_path: Path) -> None:
    came = said(tmp_path, 'cupy')
    assert 'PERCEPTION_ROS_CUDA=cupy: expected auto, cuda-python or pycuda' in came
