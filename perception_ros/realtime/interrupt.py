"""The wish that a run may end, taken notice of until it can."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import signal


@contextmanager
def asked_to_end() -> Iterator[list[int]]:
    """Take notice of SIGINT and SIGTERM, so that nothing is left half-written; the second ends.

    Gives the numbers of the signals that have come.
    """
    asked: list[int] = []
    before = {}

    def notice(number: int, frame: object) -> None:
        asked.append(number)
        if len(asked) > 1:
            raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, notice)
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
