"""Drop records as log lines: the first of a kind at once, then one every few seconds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable
import logging
import re
import threading
import time

from perception_ros.core.types import Drop, DropReason

_log = logging.getLogger(__name__)

PERIOD_S = 5.0
"""A broken camera makes 30 records a second; a person needs one line now and then."""

CAUSES = 4
"""Lines about different causes in that time: one must not hide another, nor many fill the disk."""

_NUMBERS = re.compile(r'-?\d[\d.]*')
_CAUSE_LENGTH = 60

_LEVELS = {
    DropReason.RATE: logging.DEBUG,
    DropReason.UNWANTED: logging.DEBUG,
    DropReason.STOPPED: logging.DEBUG,
    DropReason.SUPERSEDED: logging.INFO,
    DropReason.FAILED: logging.ERROR,
}


def cause_of(detail: str) -> str:
    """Return what kind of thing a text says: it without its numbers, as far as it matters."""
    return _NUMBERS.sub('', detail)[:_CAUSE_LENGTH]


class DropLog:
    """Write drop records to the log: in `PERIOD_S` one line for a camera, reason and cause.

    A cause is the detail of a record without its numbers, which differ from frame to frame.
    """

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._said_s: dict[Hashable, dict[str, float]] = {}
        self._unsaid: Counter[Hashable] = Counter()

    def may_log(self, key: Hashable, detail: str = '') -> bool:
        """Say whether a line of this kind may be written now, and count it if not."""
        cause = cause_of(detail)
        with self._lock:
            now_s = self._clock_s()
            said_s = self._said_s.get(key, {})
            said_s = {said: at_s for said, at_s in said_s.items() if now_s - at_s < PERIOD_S}
            self._said_s[key] = said_s
            if cause in said_s or len(said_s) >= CAUSES:
                self._unsaid[key] += 1
                return False
            said_s[cause] = now_s
            return True

    def report(self, drop: Drop) -> bool:
        """Log the record, or count it for the next line of its kind; say whether it was logged."""
        key = (drop.camera, drop.model, drop.reason)
        if not self.may_log(key, drop.detail):
            return False
        with self._lock:
            unsaid = self._unsaid.pop(key, 0)
        level = _LEVELS.get(drop.reason, logging.WARNING)
        what = 'no frame came' if drop.reason is DropReason.MISSING else 'frame dropped'
        _log.log(
            level,
            'camera %s%s: %s, %s, stamp %.6f s%s%s',
            drop.camera,
            f', model {drop.model}' if drop.model else '',
            what,
            drop.reason.value,
            drop.stamp_ns / 1e9,
            f': {drop.detail}' if drop.detail else '',
            f' ({unsaid} more since the last such line)' if unsaid else '',
        )
        return True
