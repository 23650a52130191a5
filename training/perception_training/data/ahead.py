"""Work that threads do a little ahead of who takes it."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
import os
from typing import TypeVar

THREADS = min(8, os.cpu_count() or 1)
"""That decode images; OpenCV lets go of Python's lock meanwhile."""
T = TypeVar('T')


def ahead(work: Callable[[int], T], count: int) -> Iterator[T]:
    """Give `work(0)` to `work(count - 1)` in order, each a little before it is taken."""
    with ThreadPoolExecutor(THREADS) as pool:
        for first in range(0, count, 4 * THREADS):
            yield from pool.map(work, range(first, min(first + 4 * THREADS, count)))
