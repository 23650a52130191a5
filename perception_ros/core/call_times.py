"""How long an engine call of each size takes: an estimate that follows what was measured."""

from __future__ import annotations

WEIGHT = 0.2
"""Of the newest measurement; those before it fade by the rest."""


class CallTimes:
    """Running mean and deviation of the calls of each batch size.

    What is known of one size bounds the others: a call takes no longer than a larger one, and no
    longer than as many smaller ones as hold its frames. So a size that was slow once, and is
    avoided since, is not thought slow for ever.
    """

    def __init__(self) -> None:
        self._measured: dict[int, tuple[float, float]] = {}  # size -> (mean, deviation), ns
        self._expected: dict[int, int] = {}

    def note(self, size: int, duration_ns: int) -> None:
        """Take in that a call of `size` frames took so long."""
        mean, deviation = self._measured.get(size, (float(duration_ns), 0.0))
        off = duration_ns - mean
        deviation += WEIGHT * (abs(off) - deviation)
        self._measured[size] = (mean + WEIGHT * off, deviation)
        self._expected.clear()

    def expect_ns(self, size: int) -> int:
        """Return how long a call of `size` frames takes, mean and deviation; 0: nothing known."""
        if size not in self._expected:
            self._expected[size] = round(
                min(
                    (
                        (mean + deviation) * max(1.0, size / measured)
                        for measured, (mean, deviation) in self._measured.items()
                    ),
                    default=0.0,
                )
            )
        return self._expected[size]
