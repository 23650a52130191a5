"""Work on several frames at once, in threads that all models share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from typing import TypeVar

from perception_ros.core.machine import usable_cores

Item = TypeVar('Item')
Done = TypeVar('Done')


def in_parallel(work: Callable[[Item], Done], items: Sequence[Item]) -> list[Callable[[], Done]]:
    """Begin `work` on all items; each of what is returned, in order, waits for one and gives it.

    What the work raises is raised there.
    """
    return [_pool().submit(work, item).result for item in items]


def in_turn(work: Callable[[Item], Done], items: Sequence[Item]) -> list[Callable[[], Done]]:
    """As `in_parallel`, but each is done by whoever asks for it, when it is asked for."""
    return [partial(work, item) for item in items]


@lru_cache(maxsize=1)
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(usable_cores(), thread_name_prefix='prepare')
