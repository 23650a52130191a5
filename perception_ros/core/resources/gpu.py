"""What the GPUs do: through NVML, or by the files of a Jetson's kernel."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from perception_ros.core.machine import read_text, SYS
from perception_ros.core.resources.host import power_w, temperatures_c, whole


@dataclass(frozen=True, slots=True)
class GpuUse:
    """Of one GPU, now. What is None is in `missing`."""

    name: str
    utilization: float | None
    """Part of the last moment in which it did anything, 0..1; the moment is the driver's."""
    memory_used_bytes: int | None
    memory_bytes: int | None
    temperature_c: float | None
    power_w: float | None
    missing: Mapping[str, str]
    """Why something is not known, by its name."""


class NvmlGpus:
    """The GPUs that NVIDIA's driver tells of, through the extra `nvml`.

    NVML is opened at the first reading, which may take a while, and stays open until `close`.
    """

    def __init__(self) -> None:
        self._nvml: Any = None
        self._handles: list[Any] = []
        self.absence = ''
        """Why there are none."""

    def read(self) -> tuple[GpuUse, ...]:
        """Return what each GPU does; never raises."""
        if self._nvml is None and not self.absence:
            self._open()
        return tuple(self._read_one(handle) for handle in self._handles)

    def close(self) -> None:
        """Let NVML go. Idempotent."""
        if self._nvml:
            self._nvml.nvmlShutdown()
        self._nvml, self._handles = None, []
        self.absence = 'NVML is closed'

    def _open(self) -> None:
        try:
            nvml = import_module('pynvml')
        except ImportError:
            self.absence = "NVML is not installed: pip install 'perception_ros[nvml]'"
            return
        try:
            nvml.nvmlInit()
        except nvml.NVMLError as error:
            self.absence = f'NVML finds no NVIDIA driver: {error}'
            return
        self._nvml = nvml
        try:
            count = nvml.nvmlDeviceGetCount()
            self._handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(count)]
        except nvml.NVMLError as error:
            self.absence = f'NVML cannot list the GPUs: {error}'
        else:
            self.absence = '' if count else 'NVML knows of no GPU'

    def _read_one(self, handle: Any) -> GpuUse:
        nvml, missing = self._nvml, {}

        def ask(name: str, question: Callable[[], Any]) -> Any:
            try:
                return question()
            except nvml.NVMLError as error:
                missing[name] = str(error)
                return None

        rates = ask('utilization', lambda: nvml.nvmlDeviceGetUtilizationRates(handle))
        memory = ask('memory', lambda: nvml.nvmlDeviceGetMemoryInfo(handle))
        sensor = nvml.NVML_TEMPERATURE_GPU
        temperature = ask('temperature', lambda: nvml.nvmlDeviceGetTemperature(handle, sensor))
        milliwatts = ask('power', lambda: nvml.nvmlDeviceGetPowerUsage(handle))
        name = ask('name', lambda: nvml.nvmlDeviceGetName(handle))
        return GpuUse(
            name.decode() if isinstance(name, bytes) else name or 'NVIDIA GPU',
            rates and rates.gpu / 100,
            memory and memory.used,
            memory and memory.total,
            temperature,
            milliwatts / 1e3 if milliwatts is not None else None,
            missing,
        )


_LOADS = (
    'class/devfreq/*.gpu/device/load',
    'class/devfreq/*.g[apvm]*/device/load',
    'devices/gpu.0/load',
    'devices/platform/gpu.0/load',
)
"""Where kernels of the Jetsons say how busy the GPU is, in thousandths."""


def tegra_gpu(sys: Path = SYS) -> GpuUse | None:
    """Return what a Jetson's built-in GPU does; None: this is no Jetson, or its kernel is silent.

    Made from what NVIDIA and the kernel document of these files, and tested with files alone: no
    Jetson was at hand.
    """
    load_file = next((path for glob in _LOADS for path in sorted(sys.glob(glob))), None)
    if load_file is None:
        return None
    load = whole(load_file)
    temperature = _of_gpu(temperatures_c(sys))
    power = _of_gpu(power_w(sys))
    missing = {'memory': "it has none of its own, and shares the machine's"}
    for name, value in (('utilization', load), ('temperature', temperature), ('power', power)):
        if value is None:
            missing[name] = 'the kernel does not say'
    return GpuUse(
        _model(sys), None if load is None else load / 1e3, None, None, temperature, power, missing
    )


def _of_gpu(values: Mapping[str, float]) -> float | None:
    return next((value for name, value in values.items() if 'gpu' in name.lower()), None)


def _model(sys: Path) -> str:
    model = read_text(sys / 'firmware' / 'devicetree' / 'base' / 'model').strip('\0\n ')
    return f'GPU of {model or "a Jetson"}'
