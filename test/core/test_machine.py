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
