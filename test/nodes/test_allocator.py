"""Freed memory stays with the process: counted in page faults, in a process of its own."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from perception_ros.nodes.allocator import keep_freed_memory

CODE = """
import resource, sys, threading
import numpy as np
from perception_ros.nodes.allocator import keep_freed_memory
print(keep_freed_memory())

def images():
    for _ in range(60):  # two at a time, as large as camera images
        pair = [np.ones(size, np.uint8) for size in (2_800_000, 6_300_000)]
        del pair

images()
thread = threading.Thread(target=images)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
thread.start()
thread.join()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""

needs_glibc = pytest.mark.skipif(
    platform.libc_ver()[0] != 'glibc', reason='needs glibc, whose allocator is told'
)


def run(**environment: str) -> tuple[str, int]:
    clean = {n: v for n, v in os.environ.items() if not n.startswith(('MALLOC_', 'GLIBC_'))}
    done = subprocess.run(
        [sys.executable, '-c', CODE], env={**clean, **environment}, capture_output=True, text=True,
        check=True,
    )
    kept, faults = done.stdout.split()
    return kept, int(faults)


@needs_glibc
def test_images_find_the_pages_of_those_before_them() -> None:
    """60 pairs are 133,000 pages; those of the first pair have to come from the kernel."""
    kept, faults = run()
    assert kept == 'True'
    assert faults < 10_000


@needs_glibc
def test_what_the_user_has_set_stays() -> None:
    kept, faults = run(MALLOC_MMAP_THRESHOLD_='1000000')
    assert kept == 'False'
    assert faults > 20_000


def test_other_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(name: object) -> object:
        raise OSError('no shared libraries here')

    monkeypatch.setattr('ctypes.CDLL', none)
    assert not keep_freed_memory({})
