"""Memory that a server on the same machine reads and writes in place.

A region is a POSIX shared memory object, which Linux shows as a file in /dev/shm. Its owner keeps
a lock on that file, and the kernel takes the lock away when the process ends, however it ends: so
what a dead process has left is told from what is in use, in containers as well, where process
numbers mean nothing.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from pathlib import Path
import secrets
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

FOLDER = Path('/dev/shm')
PREFIX = 'perception_ros-'


class SharedRegion:
    """Shared memory of its own name, zeroed, and locked as long as the process lives.

    :param size_bytes: at least 1.
    :raises OSError: there is no shared memory here, or too little of it is free.
    """

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self.name, self._handle = _create()
        try:
            # Without this a full /dev/shm would kill the process at the first write.
            os.posix_fallocate(self._handle, 0, size_bytes)
            self._memory = mmap.mmap(self._handle, size_bytes)
        except OSError:
            self.close()
            raise

    @property
    def key(self) -> str:
        """The name for `shm_open`."""
        return f'/{self.name}'

    def array(
        self, dtype: DTypeLike, shape: tuple[int, ...], offset_bytes: int = 0
    ) -> NDArray[Any]:
        """Return a view of the region; it stays valid, even after `close`."""
        return np.ndarray(shape, dtype, self._memory, offset_bytes)

    def close(self) -> None:
        """Remove the name; the memory lives as long as somebody has mapped it. Idempotent."""
        if self._handle >= 0:
            (FOLDER / self.name).unlink(missing_ok=True)
            os.close(self._handle)
            self._handle = -1


def remove_leftovers() -> list[str]:
    """Remove the regions of processes that have died, and return their names."""
    removed = []
    for path in FOLDER.glob(f'{PREFIX}*'):
        try:
            handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
        except OSError:  # another user's, or it has just gone
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
            removed.append(path.name)
        except OSError:  # in use
            pass
        finally:
            os.close(handle)
    return removed


def _create() -> tuple[str, int]:
    """Return the name of a new, locked file in the folder, and its handle."""
    while True:
        name = f'{PREFIX}{secrets.token_hex(8)}'
        handle = os.open(FOLDER / name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.flock(handle, fcntl.LOCK_EX)
        if os.fstat(handle).st_nlink:
            return name, handle
        os.close(handle)  # taken for a leftover by somebody who locked it first
