"""NVML on a real GPU: `pytest -m gpu` on a machine that has one, with nvidia-ml-py."""

from __future__ import annotations

from collections.abc import Iterator
import subprocess

import pytest

from perception_ros.backends.cuda import open_gpu
from perception_ros.core.resources.gpu import GpuUse, NvmlGpus

pytestmark = pytest.mark.gpu

MIB = 1 << 20


@pytest.fixture
def gpus() -> Iterator[NvmlGpus]:
    pytest.importorskip('pynvml', reason='needs a runtime: nvidia-ml-py is not installed')
    opened = NvmlGpus()
    yield opened
    opened.close()


def first(gpus: NvmlGpus) -> GpuUse:
    found = gpus.read()
    assert found, gpus.absence
    return found[0]


def test_values_are_those_of_a_gpu(gpus: NvmlGpus) -> None:
    """What a driver refuses must have a reason; all else must be possible."""
    gpu = first(gpus)
    assert gpu.name and gpus.absence == ''
    for name, value, most in (
        ('utilization', gpu.utilization, 1.0), ('memory', gpu.memory_used_bytes, gpu.memory_bytes),
        ('temperature', gpu.temperature_c, 120.0), ('power', gpu.power_w, 2500.0),
    ):
        assert (value is None) == (name in gpu.missing), name
        assert value is None or (most is not None and 0 <= value <= most), name
    assert gpu.temperature_c is None or gpu.temperature_c > 5
    assert gpu.power_w is None or gpu.power_w > 1


def test_memory_that_is_taken_shows(gpus: NvmlGpus) -> None:
    device = open_gpu()
    with device.current():
        before = first(gpus).memory_used_bytes
        device.allocate(512 * MIB)
        after = first(gpus).memory_used_bytes
    device.close()
    if before is None or after is None:
        pytest.skip('needs a runtime: this GPU shares its memory with the machine')
    assert after - before > 400 * MIB


def test_it_agrees_with_nvidia_smi(gpus: NvmlGpus) -> None:
    query = ('--query-gpu=name,memory.total', '--format=csv,noheader,nounits', '--id=0')
    done = subprocess.run(['nvidia-smi', *query], capture_output=True, text=True, check=True)
    name, total_mib = done.stdout.strip().split(', ')
    gpu = first(gpus)
    assert gpu.name == name
    assert gpu.memory_bytes is None or round(gpu.memory_bytes / MIB) == int(total_mib)
