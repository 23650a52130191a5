"""Drop records as log lines: the first of a kind at once, then at most one every few seconds."""

from __future__ import annotations

from collections.abc import Callable, Hashable
import logging
import threading
import time

from perception_ros.core.types import Drop, DropReason

_log = logging.getLogger(__name__)

PERIOD_S = 5.0
"""A broken camera makes 30 records a second; a person needs one line now and then."""

_LEVELS = {
    DropReason.RATE: logging.DEBUG,
    DropReason.UNWANTED: logging.DEBUG,
    DropReason.STOPPED: logging.DEBUG,
    DropReason.SUPERSEDED: logging.INFO,
    DropReason.FAILED: logging.ERROR,
}


class DropLog:
    """Write drop records to the log, at most one line in `PERIOD_S` for a camera and reason."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._last_s: dict[Hashable, float] = {}
        self._unsaid: dict[Hashable, int] = {}

    def may_log(self, key: Hashable) -> bool:
        """Say whether a line of this kind may be written now, and count it if not."""
        with self._lock:
            now_s = self._clock_s()
            if now_s - self._last_s.get(key, -PERIOD_S) < PERIOD_S:
                self._unsaid[key] = self._unsaid.get(key, 0) + 1
                return False
            self._last_s[key] = now_s
            return True

    def report(self, drop: Drop) -> bool:
        """Log the record, or count it for the next line of its kind; say whether it was logged."""
        key = (drop.camera, drop.model, drop.reason)
        if not self.may_log(key):
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
