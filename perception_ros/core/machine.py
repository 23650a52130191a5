"""What this machine is, as far as its kernel says: a figure means nothing without it."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
import platform
import time

CPU_FEATURES = (
    'avx2', 'avx512f', 'avx512_fp16', 'avx512_bf16', 'avx_vnni', 'avx512_vnni', 'amx_int8',
    'amx_bf16', 'asimddp', 'i8mm', 'sve',
)
"""Instructions that decide which precision is fast, by the names of the Linux kernel: x86-64 up to
amx_bf16, then aarch64."""

PROC = Path('/proc')
SYS = Path('/sys')
"""Where the kernel says what it knows."""
_GOVERNOR = Path('/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor')


def cpu_name(proc: Path = PROC) -> str:
    """Return the CPU's name."""
    return _cpu_entry('model name', proc) or platform.processor() or platform.machine()


def cpu_features(proc: Path = PROC) -> tuple[str, ...]:
    """Return those of `CPU_FEATURES` that this CPU has."""
    has = set(f'{_cpu_entry("flags", proc)} {_cpu_entry("Features", proc)}'.split())
    return tuple(name for name in CPU_FEATURES if name in has)


def cpu_governor() -> str | None:
    """Return the kernel's frequency policy; None where it has none, as in a virtual machine."""
    return read_text(_GOVERNOR).strip() or None


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


def memory_bytes() -> int:
    """Return the machine's memory."""
    return os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')


def load_average() -> float:
    """Return how many processes have wanted to run, on average over the last minute."""
    return os.getloadavg()[0]


def peak_memory_bytes(proc: Path = PROC, process: int | str = 'self') -> int:
    """Return the most memory that a process, by default this one, has held; 0 if it is gone."""
    # not getrusage(), which goes on counting from what the parent held when it forked
    for line in read_text(proc / str(process) / 'status').splitlines():
        if line.startswith('VmHWM:'):
            return int(line.split()[1]) * 1024
    return 0


def resident_memory_bytes(process: int | str = 'self', proc: Path = PROC) -> int:
    """Return the memory that a process holds now; 0 if it is gone."""
    fields = read_text(proc / str(process) / 'statm').split()
    return int(fields[1]) * os.sysconf('SC_PAGE_SIZE') if fields else 0


def thread_count(process: int, proc: Path = PROC) -> int:
    """Return how many threads a process has; 0 if it is gone."""
    return _entries(proc / str(process) / 'task')


def open_file_count(process: int | str = 'self', proc: Path = PROC) -> int:
    """Return how many file descriptors a process has; 0 if it is gone, or somebody else's.

    Of this process with the one that it takes to look.
    """
    return _entries(proc / str(process) / 'fd')


def cpu_seconds(process: int) -> float:
    """Return how long a process has computed so far, over all threads, those that ended too.

    0 if it is gone. The clock is exact to less than a microsecond, where /proc/PID/stat counts
    hundredths of a second.
    """
    clock = ctypes.c_int()
    if ctypes.CDLL(None).clock_getcpuclockid(process, ctypes.byref(clock)):
        return 0.0
    try:
        return time.clock_gettime(clock.value)
    except OSError:
        return 0.0


def _cpu_entry(key: str, proc: Path) -> str:
    for line in read_text(proc / 'cpuinfo').splitlines():
        name, _, value = line.partition(':')
        if name.strip() == key:
            return value.strip()
    return ''


def _entries(folder: Path) -> int:
    try:
        return len(os.listdir(folder))
    except OSError:
        return 0


def read_text(path: Path) -> str:
    """Return what a file of the kernel's says; '' where there is none, or it cannot be read."""
    try:
        return path.read_text(encoding='utf-8', errors='replace')
    except OSError:
        return ''
