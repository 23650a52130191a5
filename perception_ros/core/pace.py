"""When the next frame of a camera should come."""

from __future__ import annotations

from collections import deque
from math import inf
from statistics import median

INTERVALS = 5
"""The median of so many is the camera's period: an outage or a doubled frame does not move it."""


class Pace:
    """The rhythm of one camera's frames, on the clock of who notes them, in ns."""

    def __init__(self) -> None:
        self._last_ns: int | None = None
        self._intervals_ns: deque[int] = deque(maxlen=INTERVALS)

    def note(self, now_ns: int) -> None:
        """Take in that a frame has come."""
        if self._last_ns is not None:
            self._intervals_ns.append(now_ns - self._last_ns)
        self._last_ns = now_ns

    @property
    def due_ns(self) -> float:
        """When the next frame should come; infinite while nobody can say."""
        if self._last_ns is None or not self._intervals_ns:
            return inf
        return self._last_ns + median(self._intervals_ns)

    @property
    def given_up_ns(self) -> float:
        """When the camera counts as silent: two periods after its last frame."""
        return 2 * self.due_ns - (self._last_ns or 0)

    def is_expected(self, now_ns: int, until_ns: float) -> bool:
        """Say whether the camera is alive and its next frame is due before `until_ns`."""
        return max(now_ns, self.due_ns) < until_ns and now_ns < self.given_up_ns
