"""The engine over doubles of the driver and of TensorRT: `doubled.py`, in processes of its own.

The Python packages in between are the real ones.
"""

from __future__ import annotations

from importlib.util import find_spec
import os
from pathlib import Path
import subprocess
import sys

import pytest

from test.backends.cuda.driver import build

ROOT = Path(__file__).parents[3]
PYTEST = (sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', '-p', 'no:cov')


@pytest.mark.parametrize('package', ['cuda-python', 'pycuda'])
def test_the_engine_over_doubles(package: str, tmp_path: Path) -> None:
    if package == 'pycuda' and find_spec('pycuda') is None:
        pytest.skip('pycuda is not installed')
    double = build(tmp_path)
    done = subprocess.run(
        [*PYTEST, 'test/backends/tensorrt/doubled.py'],
        cwd=ROOT,
        env=os.environ | {
            'PERCEPTION_ROS_CUDA': package,
            'DRIVER_DOUBLE': str(double),
            'CI': '',  # pycuda skips what needs graphs, and may
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
