"""On what it was measured: hardware, load, versions, commit. Every benchmark states the same."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
import platform
import subprocess

from pydantic import BaseModel, ConfigDict, Field

from perception_ros import __version__
from perception_ros.core.machine import (
    cpu_features,
    cpu_governor,
    cpu_name,
    load_average,
    memory_bytes,
    usable_cores,
)

PACKAGES = (
    'numpy', 'onnx', 'onnxruntime', 'onnxruntime-gpu', 'openvino', 'tensorrt', 'tensorrt-rtx-cu13',
    'tritonclient', 'opencv-python-headless', 'ros-rclpy', 'ros-fastdds', 'ros-rmw-fastrtps-cpp',
)
"""Whose versions may matter to a figure."""

BUSY_SHARE = 0.25
"""A load of more than this share of the cores, before anything is measured, is worth a warning."""

_TOOL_S = 20


class Environment(BaseModel):
    """The machine, and what ran on it."""

    model_config = ConfigDict(frozen=True, extra='forbid')

    cpu: str
    cpu_features: tuple[str, ...] = Field(description='Instructions that decide about precision')
    cores: int = Field(description='That the benchmark may use')
    governor: str | None = Field(description="The kernel's frequency policy; null: none visible")
    memory_bytes: int
    gpus: tuple[str, ...] = Field(description='Name, driver and memory, as nvidia-smi says')
    load_average: float = Field(description='Of the minute before')
    system: str
    python: str
    perception_ros: str
    commit: str | None = Field(description='Of the source tree, "-dirty" if it was changed')
    packages: dict[str, str] = Field(description='Versions of what is installed')

    @classmethod
    def here(cls) -> Environment:
        """Look around."""
        return cls(
            cpu=cpu_name(),
            cpu_features=cpu_features(),
            cores=usable_cores(),
            governor=cpu_governor(),
            memory_bytes=memory_bytes(),
            gpus=_gpus(),
            load_average=round(load_average(), 2),
            system=f'{platform.system()} {platform.release()} {platform.machine()}',
            python=f'{platform.python_implementation()} {platform.python_version()}',
            perception_ros=__version__,
            commit=_commit(Path(__file__).parents[2]),
            packages=_versions(),
        )

    def warnings(self) -> list[str]:
        """Return what makes figures of this machine doubtful from the start."""
        found = []
        if self.load_average > BUSY_SHARE * self.cores:
            found.append(
                f'the machine was busy before anything was measured: load average '
                f'{self.load_average:g} on {self.cores} cores'
            )
        if self.governor not in (None, 'performance'):
            found.append(
                f'the CPU governor is {self.governor!r}: clock rates follow the load, and first '
                'calls look slow'
            )
        return found


def device_memory_bytes(pid: int) -> int | None:
    """Return what a process holds of GPU memory; None where no NVIDIA GPU says so."""
    said = _tool('nvidia-smi', '--query-compute-apps=pid,used_memory', *_CSV)
    rows = [line.split(',') for line in (said or '').splitlines()]
    sizes = [row[1].strip() for row in rows if len(row) == 2 and row[0].strip() == str(pid)]
    known = [int(size) for size in sizes if size.isdecimal()]
    return sum(known) << 20 if known else None


_CSV = ('--format=csv,noheader,nounits',)


def _gpus() -> tuple[str, ...]:
    said = _tool('nvidia-smi', '--query-gpu=name,driver_version,memory.total', *_CSV)
    rows = [[cell.strip() for cell in line.split(',')] for line in (said or '').splitlines()]
    return tuple(f'{row[0]}, driver {row[1]}, {row[2]} MiB' for row in rows if len(row) == 3)


def _commit(folder: Path) -> str | None:
    git = ('git', '-C', str(folder))
    commit = _tool(*git, 'rev-parse', '--verify', 'HEAD')
    if not commit:
        return None
    changed = _tool(*git, 'status', '--porcelain', '--untracked-files=no')
    return f'{commit}-dirty' if changed else commit


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _tool(*command: str) -> str | None:
    """Return what a program prints; None if it is not there or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TOOL_S)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
