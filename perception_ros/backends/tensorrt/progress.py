"""How far a build is: the builder's tree of phases as one number that only grows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
import logging
import time

Progress = Callable[[str, float], None]
"""Called with what the builder does now and the share that is done, 0..1; from any thread."""

LOG_PERIOD_S = 10.0


class LogProgress:
    """Log a line when a build begins, and one every ten seconds until it is done."""

    def __init__(self, log: logging.Logger, what: str) -> None:
        self._log = log
        self._what = what
        self._next = 0.0

    def __call__(self, phase: str, done: float) -> None:
        """Log it if it is time."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + LOG_PERIOD_S
            self._log.info('building %s: %d %%, %s', self._what, round(100 * done), phase)


@dataclass(slots=True)
class _Phase:
    name: str
    steps: int
    done: int = 0


class Phases:
    """The phases that are open, the outermost first, as the builder tells of them."""

    def __init__(self) -> None:
        self._open: list[_Phase] = []
        self._share = 0.0

    def start(self, name: str, parent: str | None, steps: int) -> None:
        """Open a phase within `parent`, or a new outermost one."""
        self._close_after(parent)
        self._open.append(_Phase(name, max(steps, 1)))

    def step(self, name: str, step: int) -> None:
        """Take step `step` (from 0) of an open phase for done, and what is within it too."""
        self._close_after(name)
        if self._open:
            phase = self._open[-1]
            phase.done = min(max(phase.done, step + 1), phase.steps)

    def finish(self, name: str) -> None:
        """Close a phase and all within it."""
        self._close_after(name)
        if self._open:
            self._open.pop()

    @property
    def now(self) -> str:
        """What the builder does: its innermost phase."""
        return self._open[-1].name if self._open else 'done'

    @property
    def share(self) -> float:
        """How much is done, 0..1. It never falls: some phases are met again and again."""
        share, weight = 0.0, 1.0
        for phase in self._open:
            share += weight * phase.done / phase.steps
            weight /= phase.steps
        self._share = min(max(self._share, share), 1.0)
        return self._share

    def _close_after(self, name: str | None) -> None:
        """Forget phases within `name` that were left without a word; unknown names change none."""
        for index, phase in enumerate(self._open):
            if phase.name == name:
                del self._open[index + 1 :]
                return
