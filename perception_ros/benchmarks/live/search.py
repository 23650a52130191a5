"""The highest rate at which something still holds."""

from __future__ import annotations

from collections.abc import Callable

_WIDENINGS = 6


def highest_rate(holds: Callable[[float], bool], start_hz: float, steps: int) -> float | None:
    """Return the highest rate found at which `holds`; None: not even at a 64th of the start.

    Doubles or halves from the start until the answer changes, then halves the distance `steps`
    times, in ratios.
    """
    low = high = start_hz
    if holds(start_hz):
        for _ in range(_WIDENINGS):
            low, high = high, 2 * high
            if not holds(high):
                break
        else:
            return high
    else:
        for _ in range(_WIDENINGS):
            low, high = low / 2, low
            if holds(low):
                break
        else:
            return None
    for _ in range(steps):
        middle = float((low * high) ** 0.5)
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
