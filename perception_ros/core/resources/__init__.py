"""What the process, the machine and its GPUs do. Costs nothing but when it is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perception_ros.core.machine import PROC, SYS
from perception_ros.core.resources.gpu import GpuUse, NvmlGpus, tegra_gpu
from perception_ros.core.resources.host import MachineMeter, MachineUse
from perception_ros.core.resources.process import ProcessMeter, ProcessUse

_MB = 1e6


@dataclass(frozen=True, slots=True)
class Use:
    """One reading."""

    process: ProcessUse
    machine: MachineUse
    gpus: tuple[GpuUse, ...]
    no_gpu: str
    """Why there are none."""

    def as_json(self) -> dict[str, Any]:
        """Return it ready for JSON, in units that people read."""
        process, machine = self.process, self.machine
        return {
            'process': {
                'cpu_cores': round(process.cpu_cores, 3),
                'memory_mb': _mb(process.memory_bytes),
                'threads': process.threads,
                'open_files': process.open_files,
                'cpu_cores_by_thread': {
                    name: cores
                    for name, cores in _rounded(process.cpu_cores_by_thread).items()
                    if cores
                },
            },
            'machine': {
                'cpu_percent': round(100 * machine.cpu_share, 1),
                'load_average': round(machine.load_average, 2),
                'memory_used_mb': _mb(machine.memory_used_bytes),
                'memory_mb': _mb(machine.memory_bytes),
                'temperatures_c': _rounded(machine.temperatures_c),
                'power_w': _rounded(machine.power_w),
            },
            'gpus': [_gpu(gpu) for gpu in self.gpus],
            'no_gpu': self.no_gpu,
        }


class Resources:
    """Reads all of it; shares and rates are those since the last reading."""

    def __init__(self, proc: Path = PROC, sys: Path = SYS) -> None:
        self._sys = sys
        self._process = ProcessMeter(proc)
        self._machine = MachineMeter(proc, sys)
        self._nvml = NvmlGpus()

    def read(self) -> Use:
        """Return what is going on; never raises."""
        gpus: tuple[GpuUse, ...]
        if tegra := tegra_gpu(self._sys):
            gpus, why = (tegra,), ''
        else:
            gpus, why = self._nvml.read(), self._nvml.absence
        return Use(self._process.read(), self._machine.read(), gpus, why)

    def close(self) -> None:
        """Let go what was opened. Idempotent."""
        self._nvml.close()


def _gpu(gpu: GpuUse) -> dict[str, Any]:
    return {
        'name': gpu.name,
        'utilization_percent': _times(gpu.utilization, 100.0),
        'memory_used_mb': _times(gpu.memory_used_bytes, 1 / _MB),
        'memory_mb': _times(gpu.memory_bytes, 1 / _MB),
        'temperature_c': _times(gpu.temperature_c, 1.0),
        'power_w': _times(gpu.power_w, 1.0),
        'missing': dict(gpu.missing),
    }


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else round(value * factor, 1)


def _mb(size_bytes: int) -> float:
    return round(size_bytes / _MB, 1)


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 3) for name, value in values.items()}
