"""
Sums over all processes of a run.

DDP averages gradients over processes. A loss that each process divides by its own count would
weigh images by the company they come in; divided by the count of all, several processes learn what
one with all images would.
"""

from collections.abc import Iterator
import contextlib
import contextvars

import torch
from torch import distributed, Tensor

_ALONE = contextvars.ContextVar('_ALONE', default=False)


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Count for this process alone: the others wait, and would wait for ever if it asked them."""
    token = _ALONE.set(True)
    try:
        yield
    finally:
        _ALONE.reset(token)


def processes() -> int:
    """How many processes train together."""
    together = distributed.is_initialized() and not _ALONE.get()
    return distributed.get_world_size() if together else 1


def mean_count(count: Tensor) -> Tensor:
    """
    Give the count over all processes, at least one, as a share of each process.

    :param count: scalar of this process; no gradient flows through it.
    """
    total = count.detach().float()
    if processes() > 1:
        total = total.clone()
        distributed.all_reduce(total)
    return torch.clamp(total, min=1) / processes()
