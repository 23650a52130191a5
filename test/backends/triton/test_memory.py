"""Shared memory: its names, its lifetime, and who clears up after the dead."""

from __future__ import annotations

from multiprocessing import shared_memory
import os
import subprocess
import sys

import numpy as np
import pytest

from perception_ros.backends.triton.memory import FOLDER, remove_leftovers, SharedRegion
from test.backends.triton.process import ROOT

DIE = """
import os, signal
from perception_ros.backends.triton.memory import SharedRegion
print(SharedRegion(100).name, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def leftover() -> str:
    """Return the name of a region whose owner was killed."""
    died = subprocess.run([sys.executable, '-c', DIE], cwd=ROOT, capture_output=True, text=True)
    return died.stdout.strip()


def test_another_process_sees_what_is_written_under_the_key() -> None:
    region = SharedRegion(1000)
    region.array(np.float32, (2, 3), 64)[:] = [[1, 2, 3], [4, 5, 6]]
    read = (
        'from multiprocessing.shared_memory import SharedMemory; import sys; '
        'memory = SharedMemory(sys.argv[1]); print(bytes(memory.buf[64:88]).hex())'
    )
    seen = subprocess.run(
        [sys.executable, '-c', read, region.key], capture_output=True, text=True
    )
    assert np.frombuffer(bytes.fromhex(seen.stdout), np.float32).tolist() == [1, 2, 3, 4, 5, 6]
    region.close()


def test_nobody_else_may_look_into_it() -> None:
    region = SharedRegion(10)
    assert (FOLDER / region.name).stat().st_mode & 0o777 == 0o600
    region.close()


def test_closing_removes_the_name_and_keeps_the_memory_for_those_who_have_it() -> None:
    region = SharedRegion(10)
    array = region.array(np.uint8, (10,))
    region.close()
    region.close()
    assert not (FOLDER / region.name).exists()
    array[:] = 3
    assert array.sum() == 30


def test_more_than_there_is_room_for_is_an_error_and_leaves_nothing() -> None:
    before = set(os.listdir(FOLDER))
    with pytest.raises(OSError, match='No space left|Cannot allocate|too large'):
        SharedRegion(1 << 50)
    assert not {name for name in set(os.listdir(FOLDER)) - before if 'perception' in name}


def test_what_a_dead_process_left_is_removed_and_what_others_use_is_not() -> None:
    mine, theirs = SharedRegion(10), shared_memory.SharedMemory(create=True, size=10)
    name = leftover()
    assert (FOLDER / name).exists()
    assert remove_leftovers() == [name]
    assert not (FOLDER / name).exists()
    assert (FOLDER / mine.name).exists() and (FOLDER / theirs.name).exists()
    mine.close()
    theirs.close()
    theirs.unlink()
