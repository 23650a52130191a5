"""What processes use while they are measured, seen from outside."""

from __future__ import annotations

from collections.abc import Sequence
import time
from typing import NamedTuple

from perception_ros.benchmarks.live.figures import Used
from perception_ros.core.machine import (
    cpu_seconds,
    open_file_count,
    peak_memory_bytes,
    resident_memory_bytes,
    thread_count,
)


class Usage:
    """From its making to `stop`: what the processes use, all of them together."""

    def __init__(self, processes: Sequence[int]) -> None:
        self._processes = processes
        self._begun = self._ended = self._look()

    def stop(self) -> None:
        """Count no longer."""
        self._ended = self._look()

    def used(self, frames: float | None) -> Used:
        """Return what was used.

        :param frames: how many have reached the processes meanwhile; None: nobody knows.
        """
        begun, ended = self._begun, self._ended
        cpu_s = ended.cpu_s - begun.cpu_s
        return Used(
            cpu_cores=cpu_s / (ended.at_s - begun.at_s),
            cpu_ms_per_frame=1e3 * cpu_s / frames if frames else None,
            peak_memory_bytes=ended.peak_bytes,
            memory_growth_bytes=ended.bytes - begun.bytes,
            threads=(begun.threads, ended.threads),
            open_files=(begun.files, ended.files),
        )

    def _look(self) -> Look:
        return look_at(self._processes)


class Look(NamedTuple):
    """What processes hold at a moment, and have computed until then; all of them together."""

    at_s: float
    cpu_s: float
    bytes: int
    peak_bytes: int
    threads: int
    files: int


def look_at(processes: Sequence[int]) -> Look:
    """Look at processes; one that is gone counts for nothing."""
    return Look(
        time.monotonic(),
        sum(map(cpu_seconds, processes)),
        sum(map(resident_memory_bytes, processes)),
        sum(peak_memory_bytes(process=process) for process in processes),
        sum(map(thread_count, processes)),
        sum(map(open_file_count, processes)),
    )
