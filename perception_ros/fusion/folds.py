"""How far out a lens's map is one to one: the first root of what must stay above 0."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]

WIDEST = np.radians(89.9)
"""No distorted lens sees farther off its axis: x / z loses all meaning at a right angle."""

_STEPS = 512


def smallest_root(polynomial: Sequence[float] | Array) -> float:
    """Return the smallest positive root of 1 + a x + b x^2 ...; infinite if there is none.

    The roots of the reversed polynomial are their inverses, and it always begins with 1: a last
    coefficient near 0 does no harm there.
    """
    found = np.roots(polynomial)
    real = found.real[np.abs(found.imag) < 1e-9 * np.abs(found)]
    largest = real.max(initial=0)
    return float(1 / largest) if largest > 0 else np.inf


def first_bad(bad: Callable[[Array], NDArray[np.bool_]], most: float) -> float:
    """Return the greatest angle before `bad` begins, to 1e-9; `most` where it never does."""
    low, high = 0.0, most
    for _ in range(4):
        angles = np.linspace(low, high, _STEPS)
        found = np.flatnonzero(bad(angles))
        if not len(found):
            return high
        at = max(int(found[0]), 1)
        low, high = float(angles[at - 1]), float(angles[at])
    return low
