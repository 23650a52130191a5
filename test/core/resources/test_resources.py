"""What is said of this process and machine, and of a Jetson by files as its kernel writes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
import json
import os
from pathlib import Path
import subprocess
import sys
import threading
import time
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from perception_ros.core.resources import Resources
from perception_ros.core.resources.gpu import NvmlGpus, tegra_gpu
from perception_ros.core.resources.host import MachineMeter
from perception_ros.core.resources.process import ProcessMeter

MIB = 1 << 20


@contextmanager
def thread_of(name: str, work: Callable[[threading.Event], None]) -> Iterator[None]:
    over = threading.Event()
    thread = threading.Thread(target=work, args=(over,), name=name)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def burn(over: threading.Event) -> None:
    while not over.is_set():
        np.linalg.norm(np.ones(1000))


def test_the_thread_that_computes_is_named() -> None:
    """Which of forty threads keeps a core busy is what one wants to know of a slow node."""
    meter = ProcessMeter()
    with thread_of('burner', burn), thread_of('sleeper', threading.Event.wait):
        time.sleep(0.3)
        use = meter.read()
    by_thread = use.cpu_cores_by_thread
    assert next(iter(by_thread)) == 'burner'
    assert by_thread['burner'] > 10 * by_thread['sleeper']
    assert use.cpu_cores == pytest.approx(sum(by_thread.values()), rel=0.2, abs=0.05)


COUNTED = f"""
import json, sys, threading
import numpy as np
from perception_ros.core.resources import ProcessMeter
meter = ProcessMeter()
before = meter.read()
files = [open(sys.argv[1] + str(index), 'w') for index in range(20)]
ballast = np.ones(100 * {MIB}, np.uint8)
over = threading.Event()
thread = threading.Thread(target=over.wait)
thread.start()
after = meter.read()
over.set()
print(json.dumps([
    after.open_files - before.open_files, after.threads - before.threads,
    after.memory_bytes - before.memory_bytes,
]))
"""


def test_what_is_open_and_held_is_counted(tmp_path: Path) -> None:
    """In a process of its own: here a thread of an earlier test may end meanwhile."""
    command = [sys.executable, '-c', COUNTED, str(tmp_path / 'file')]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    files, threads, memory_bytes = json.loads(done.stdout)
    assert files == 20
    assert threads == 1
    assert memory_bytes > 0.9 * 100 * MIB


def test_shares_are_those_since_the_last_reading(tmp_path: Path) -> None:
    def tell(busy: int, idle: int) -> None:
        (tmp_path / 'stat').write_text(f'cpu  {busy} 0 0 {idle} 0 0 0 0 9 0\ncpu0 1 2 3\n')

    (tmp_path / 'meminfo').write_text('MemTotal: 1000 kB\nMemFree: 1 kB\nMemAvailable: 250 kB\n')
    tell(100, 900)
    meter = MachineMeter(tmp_path)
    tell(400, 1000)
    use = meter.read()
    assert use.cpu_share == pytest.approx(0.75)
    assert (use.memory_used_bytes, use.memory_bytes) == (750 * 1024, 1000 * 1024)
    assert meter.read().cpu_share == 0.0, 'no tick has passed since'


def test_a_kernel_that_says_nothing_costs_nothing(tmp_path: Path) -> None:
    """Hardened containers hide parts of /proc and /sys."""
    use = Resources(tmp_path, tmp_path).read().as_json()
    assert use['machine']['memory_mb'] == 0.0
    assert use['process']['cpu_cores_by_thread'] == {}


def test_a_reading_is_ready_for_json() -> None:
    resources = Resources()
    told = json.loads(json.dumps(resources.read().as_json()))
    resources.close()
    assert told['machine']['memory_mb'] > told['process']['memory_mb'] > 10
    assert 0 <= told['machine']['cpu_percent'] <= 100
    assert bool(told['gpus']) != bool(told['no_gpu']), 'where there is none it says why'


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'{text}\n')


def jetson(root: Path) -> None:
    """Write what the kernel of an Orin says, as its documentation has it."""
    write(root / 'firmware/devicetree/base/model', 'NVIDIA Jetson AGX Orin Developer Kit\0')
    write(root / 'devices/platform/bus@0/17000000.gpu/load', '412')
    devfreq = root / 'class/devfreq/17000000.gpu'
    devfreq.mkdir(parents=True)
    (devfreq / 'device').symlink_to(root / 'devices/platform/bus@0/17000000.gpu')
    for index, (kind, milli) in enumerate({'cpu-thermal': 48500, 'gpu-thermal': 46125}.items()):
        zone = root / f'class/thermal/thermal_zone{index}'
        write(zone / 'type', kind)
        write(zone / 'temp', str(milli))
    write(root / 'class/thermal/thermal_zone9/type', 'cv0-thermal')  # switched off: no temp
    write(root / 'class/hwmon/hwmon0/name', 'tmp451')
    monitor = root / 'class/hwmon/hwmon3'
    write(monitor / 'name', 'ina3221')
    rails = {'VDD_GPU_SOC': (19000, 400), 'VDD_CPU_CV': (19000, 120), 'VIN_SYS_5V0': (5000, 800)}
    for channel, (label, (millivolts, milliamperes)) in enumerate(rails.items(), 1):
        write(monitor / f'in{channel}_label', label)
        write(monitor / f'in{channel}_input', str(millivolts))
        write(monitor / f'curr{channel}_input', str(milliamperes))
    write(monitor / 'in4_label', 'Sum of shunt voltages')


def test_a_jetson_by_its_files(tmp_path: Path) -> None:
    jetson(tmp_path)
    use = Resources(sys=tmp_path).read()
    [gpu] = use.gpus
    assert gpu.name == 'GPU of NVIDIA Jetson AGX Orin Developer Kit'
    assert (gpu.utilization, gpu.temperature_c, gpu.power_w) == (0.412, 46.125, 7.6)
    assert gpu.memory_bytes is None and 'shares' in gpu.missing['memory']
    assert use.machine.temperatures_c == {'cpu-thermal': 48.5, 'gpu-thermal': 46.125}
    assert use.machine.power_w == {'VDD_GPU_SOC': 7.6, 'VDD_CPU_CV': 2.28, 'VIN_SYS_5V0': 4.0}


def test_a_jetson_whose_sensors_are_silent_says_so(tmp_path: Path) -> None:
    write(tmp_path / 'devices/gpu.0/load', 'not a number')
    gpu = tegra_gpu(tmp_path)
    assert gpu is not None and gpu.utilization is None
    assert set(gpu.missing) == {'memory', 'utilization', 'temperature', 'power'}


class NvmlError(Exception):
    pass


def driver(**answers: Any) -> ModuleType:
    """Return NVML as a driver that answers so; an exception is raised."""
    module = ModuleType('pynvml')

    def function(answer: Any) -> Callable[..., Any]:
        def call(*_: Any) -> Any:
            if isinstance(answer, Exception):
                raise answer
            return answer

        return call

    vars(module).update(NVMLError=NvmlError, NVML_TEMPERATURE_GPU=0)
    known = {'Init': None, 'Shutdown': None, 'DeviceGetCount': 1, 'DeviceGetHandleByIndex': 'h'}
    for name, answer in {**known, **answers}.items():
        setattr(module, f'nvml{name}', function(answer))
    return module


def test_what_a_driver_refuses_is_missing_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A GPU in parts (MIG) says nothing of its load, an embedded one nothing of its memory."""
    refused = NvmlError('Not Supported')
    monkeypatch.setitem(sys.modules, 'pynvml', driver(
        DeviceGetName='H200', DeviceGetUtilizationRates=refused, DeviceGetTemperature=41,
        DeviceGetMemoryInfo=SimpleNamespace(used=2 * MIB, total=8 * MIB),
        DeviceGetPowerUsage=123_456,
    ))
    gpus = NvmlGpus()
    [gpu] = gpus.read()
    gpus.close()
    assert (gpu.utilization, gpu.missing) == (None, {'utilization': 'Not Supported'})
    assert (gpu.name, gpu.temperature_c, gpu.power_w) == ('H200', 41, 123.456)
    assert (gpu.memory_used_bytes, gpu.memory_bytes) == (2 * MIB, 8 * MIB)
    assert gpus.read() == () and gpus.absence == 'NVML is closed'


@pytest.mark.parametrize(('module', 'why'), [
    pytest.param(None, 'pip install', id='not installed'),
    pytest.param(driver(Init=NvmlError('no library')), 'no library', id='no driver'),
    pytest.param(driver(DeviceGetCount=0), 'no GPU', id='no GPU'),
    pytest.param(driver(DeviceGetCount=NvmlError('lost')), 'lost', id='cannot be listed'),
])
def test_without_nvml_it_says_why(
    module: ModuleType | None, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, 'pynvml', module)  # type: ignore[arg-type]
    gpus = NvmlGpus()
    assert gpus.read() == () and why in gpus.absence
    gpus.close()


def test_a_process_of_its_own_is_told_apart() -> None:
    """Threads are those of this process alone, whatever else runs."""
    assert ProcessMeter().read().threads == len(os.listdir('/proc/self/task'))
