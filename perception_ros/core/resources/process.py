"""What this process takes of the machine: processor by thread, memory, open files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from operator import itemgetter
import os
from pathlib import Path
import threading
import time

from perception_ros.core.machine import (
    open_file_count,
    PROC,
    read_text,
    resident_memory_bytes,
)


@dataclass(frozen=True, slots=True)
class ProcessUse:
    """Of the process that reads it, since the reading before."""

    cpu_cores: float
    """Cores that it kept busy, on average."""
    cpu_cores_by_thread: Mapping[str, float]
    """The same by the names of threads, the busiest first; those of one name are one."""
    memory_bytes: int
    """Resident."""
    threads: int
    open_files: int


class ProcessMeter:
    """Reads from the kernel what has changed since the last reading, or since it was made."""

    def __init__(self, proc: Path = PROC) -> None:
        self._proc, self._self = proc, proc / 'self'
        self._read_s, self._cpu_s = time.monotonic(), time.process_time()
        self._thread_cpu_s = self._by_thread()

    def read(self) -> ProcessUse:
        """Return what the process takes; never raises."""
        now_s, cpu_s, thread_cpu_s = time.monotonic(), time.process_time(), self._by_thread()
        passed_s = max(now_s - self._read_s, 1e-9)
        names = {thread.native_id: thread.name for thread in threading.enumerate()}
        cores: defaultdict[str, float] = defaultdict(float)
        for thread, spent_s in thread_cpu_s.items():
            name = names.get(thread) or self._name(thread)
            cores[name] += (spent_s - self._thread_cpu_s.get(thread, 0.0)) / passed_s
        use = ProcessUse(
            (cpu_s - self._cpu_s) / passed_s,
            dict(sorted(cores.items(), key=itemgetter(1), reverse=True)),
            resident_memory_bytes('self', self._proc),
            len(thread_cpu_s),
            max(open_file_count('self', self._proc) - 1, 0),  # one is the listing's own
        )
        self._read_s, self._cpu_s, self._thread_cpu_s = now_s, cpu_s, thread_cpu_s
        return use

    def _by_thread(self) -> dict[int, float]:
        """Return the seconds that each thread has computed, by the kernel's number for it."""
        try:
            threads = [int(name) for name in os.listdir(self._self / 'task')]
        except OSError:
            return {}
        return {thread: self._thread_seconds(thread) for thread in threads}

    def _thread_seconds(self, thread: int) -> float:
        folder = self._self / 'task' / str(thread)
        if fine := read_text(folder / 'schedstat').split():
            return int(fine[0]) / 1e9
        fields = read_text(folder / 'stat').rpartition(')')[2].split()
        return sum(map(int, fields[11:13])) / os.sysconf('SC_CLK_TCK') if fields else 0.0

    def _name(self, thread: int) -> str:
        return read_text(self._self / 'task' / str(thread) / 'comm').strip() or 'unknown'
