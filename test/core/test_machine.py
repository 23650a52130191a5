"""What the kernel says of this machine, and of others by files that theirs wrote."""

from __future__ import annotations

import os
from pathlib import Path
import subprocess
import sys

import pytest

from perception_ros.core import machine

X86 = 'processor\t: 0\nmodel name\t: Xeon\nflags\t\t: fpu avx2 avx512_vnni amx_int8 lm\n'
ARM = 'processor\t: 0\nBogoMIPS\t: 62.50\nFeatures\t: fp asimd asimddp i8mm\n'


@pytest.mark.parametrize(
    ('text', 'features'),
    [
        pytest.param(X86, ('avx2', 'avx512_vnni', 'amx_int8'), id='x86-64'),
        pytest.param(ARM, ('asimddp', 'i8mm'), id='aarch64'),
        pytest.param('', (), id='says nothing'),
    ],
)
def test_features(tmp_path: Path, text: str, features: tuple[str, ...]) -> None:
    (tmp_path / 'cpuinfo').write_text(text)
    assert machine.cpu_features(tmp_path) == features
    assert machine.cpu_name(tmp_path)
    if text == X86:
        assert machine.cpu_name(tmp_path) == 'Xeon'


def test_this_machine() -> None:
    assert 1 <= machine.usable_cores() <= (os.cpu_count() or 1)
    assert machine.memory_bytes() > 1e8
    assert machine.load_average() >= 0
    assert machine.cpu_governor() is None or machine.cpu_governor()


def test_peak_memory_is_this_process_s_own() -> None:
    """A small child of a large parent is small: getrusage() would count what the parent held."""
    ballast = bytearray(300 << 20)
    code = (
        'from perception_ros.core.machine import peak_memory_bytes as peak\n'
        'print(peak())\nballast = b"x" * (200 << 20)\nprint(peak())'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    small, large = map(int, done.stdout.split())
    assert 5e6 < small < len(ballast) / 2
    assert large - small > 190 << 20


def test_what_a_process_uses_is_seen_from_outside() -> None:
    """Benchmarks judge nodes by it: threads that have ended count, and nobody else does."""
    code = (
        'import sys, threading, time\n'
        'def work():\n'
        '    end = time.thread_time() + 0.3\n'
        '    while time.thread_time() < end: pass\n'
        'workers = [threading.Thread(target=work) for _ in range(2)]\n'
        'for worker in workers: worker.start()\n'
        'for worker in workers: worker.join()\n'
        'waits = threading.Thread(target=sys.stdin.read); waits.start()\n'
        'kept = open("/dev/null")\n'
        'print("done", flush=True)\n'
        'waits.join()\n'
    )
    with subprocess.Popen(
        [sys.executable, '-c', code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout and child.stdout.readline()
        assert 0.6 <= machine.cpu_seconds(child.pid) < 2.0, 'threads that have ended count'
        # Python says that a thread has ended a moment before the kernel does
        assert machine.thread_count(child.pid) in (2, 3, 4)
        assert machine.open_file_count(child.pid) >= 4
        held = machine.resident_memory_bytes(child.pid)
        assert 5e6 < held <= machine.peak_memory_bytes(process=child.pid)
    assert child.pid and machine.cpu_seconds(child.pid) == 0.0
    assert machine.thread_count(child.pid) == machine.resident_memory_bytes(child.pid) == 0
