"""Memory that has been freed stays with the process, so that the next image finds it.

glibc gives blocks of the size of an image back to the kernel soon after they are freed, and each
page of the next one has to be given anew: hundreds for a mask, thousands for a camera image.
"""

from __future__ import annotations

from collections.abc import Mapping
import ctypes
import os

# Sources: mallopt(3), glibc's malloc.h.
_TRIM_THRESHOLD = -1
_MMAP_THRESHOLD = -3
_LARGEST = 32 << 20
"""Bytes: blocks up to this size come out of memory that is kept. Older glibcs allow no more."""
_KEPT = 256 << 20
"""Bytes that may lie free at the end of a heap before any go back: some sets of eight images."""

_VARIABLES = (
    'MALLOC_MMAP_THRESHOLD_', 'MALLOC_TRIM_THRESHOLD_', 'MALLOC_TOP_PAD_', 'MALLOC_MMAP_MAX_',
    'GLIBC_TUNABLES',
)


def keep_freed_memory(environment: Mapping[str, str] = os.environ) -> bool:
    """Tell glibc to keep what is freed; say whether it will.

    It is left as it is where it was told otherwise in `environment`, and so is any other library.
    """
    if any(variable in environment for variable in _VARIABLES):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # no glibc
        return False
    # One without the other is worse than neither: together they end the threshold that adapts.
    return bool(mallopt(_MMAP_THRESHOLD, _LARGEST)) and bool(mallopt(_TRIM_THRESHOLD, _KEPT))
