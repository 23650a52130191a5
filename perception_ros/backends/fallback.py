"""A preferred backend and one that stands in for it: when which of them serves.

The stand-in, the *fallback*, serves when the preferred backend cannot be opened, when `FAILURES`
of its runs in a row failed, and, with `background`, while it is being opened, which can take
TensorRT minutes. A change is told once in the log, and `Engine.degradation` says why as long as it
lasts.

There is no way back by itself from a failure: a device that fails now and then would make the
latency of a vehicle jump at every attempt. Closing and opening anew, in the node cleanup and
configure, tries the preferred backend again.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
import logging
import threading
from typing import NamedTuple

from perception_ros.backends.base import Degradation, Engine
from perception_ros.backends.switching import Member, SwitchingEngine
from perception_ros.core.errors import BackendError

_log = logging.getLogger(__name__)

FAILURES = 3
"""One event, such as a device that is reset, can fail both batches that are in the engine's two
slots. The third was begun after that: the engine does not recover by itself."""


class Candidate(NamedTuple):
    """A backend that could serve a bundle."""

    name: str
    open: Callable[[int], Engine]
    """Greatest batch -> engine; raises BackendError if the backend cannot."""


def open_with_fallback(
    bundle: str,
    preferred: Candidate,
    fallback: Candidate,
    max_batch: int,
    *,
    background: bool = False,
) -> Engine:
    """Open the preferred backend, or the fallback if that fails; then watch the runs.

    :param bundle: its name, for the log.
    :param background: open the fallback, return, and change to the preferred backend once that is
        open. Closing the engine meanwhile does not wait for it: what it opens is closed at once.
    :raises BackendError: the engine that should serve now cannot be opened.
    """
    degradation = None
    if background:
        engine = open_warm(fallback, max_batch)
        degradation = _degradation(f'{preferred.name} is being opened in the background')
    else:
        try:
            engine = open_warm(preferred, max_batch)
        except BackendError as error:
            degradation = _degradation(f'{preferred.name} cannot be opened: {error}')
            _log.error('bundle %s: %s; going on with %s', bundle, degradation, fallback.name)
            engine = _open_instead(fallback, max_batch, error)
    opened = FallbackEngine(bundle, engine, degradation, preferred.name, fallback)
    if background:
        opened.change_to(preferred)
    return opened


def open_warm(
    candidate: Candidate, max_batch: int, is_wanted: Callable[[], bool] = lambda: True
) -> Engine:
    """Return an engine that has run its smallest and its greatest batch.

    :param is_wanted: whether that is worth the while, once the engine is open.
    :raises BackendError: it cannot be opened, or cannot run them.
    """
    engine = candidate.open(max_batch)
    try:
        if is_wanted():
            engine.warm_up()
    except BaseException:
        engine.close()
        raise
    return engine


class FallbackEngine(SwitchingEngine):
    """Exchanges itself for its fallback when its runs fail; see `open_with_fallback`."""

    def __init__(
        self,
        bundle: str,
        engine: Engine,
        degradation: Degradation | None,
        preferred: str,
        fallback: Candidate,
    ) -> None:
        super().__init__(engine, degradation)
        self._bundle = bundle
        self._preferred = preferred
        self._fallback = fallback
        self._failed_in_a_row = 0

    def warm_up(self) -> None:
        """Do nothing: each engine was warm before it began to serve."""

    def change_to(self, candidate: Candidate, reason: str = '') -> None:
        """Open a candidate in a thread of its own and exchange the present engine for it.

        :param reason: why it has to stand in; '': it is the preferred one.
        """
        # No daemon: a process that ended within a runtime's compiler would crash.
        threading.Thread(
            target=self._change_to, args=(candidate, reason), name=f'open {candidate.name}'
        ).start()

    def ran(self, member: Member, error: BackendError | None) -> None:
        """Count failures in a row of the preferred engine, and do not accept too many."""
        with self._lock:
            if member is not self._serving or self._closed or self._degradation:
                return
            self._failed_in_a_row = self._failed_in_a_row + 1 if error else 0
            if self._failed_in_a_row < FAILURES:
                return
            reason = f'{self._preferred} failed {FAILURES} times in a row: {error}'
            self._degradation = _degradation(reason)
        _log.error('bundle %s: %s; opening %s', self._bundle, reason, self._fallback.name)
        self.change_to(self._fallback, reason)

    def _change_to(self, candidate: Candidate, reason: str) -> None:
        try:
            # A server may have allowed the present engine less than was asked for.
            engine = open_warm(candidate, self.info.max_batch, lambda: not self._closed)
            self.exchange(engine, _degradation(reason) if reason else None)
        except Exception as error:
            self._stay(candidate, reason, error)
        else:
            info = engine.info
            level = logging.WARNING if reason else logging.INFO
            _log.log(
                level,
                'bundle %s: %s on %s serves from now on',
                self._bundle,
                info.backend,
                info.device,
            )

    def _stay(self, candidate: Candidate, reason: str, error: Exception) -> None:
        """Go on with the engine that serves, and tell why."""
        problem = f'{candidate.name} cannot be opened: {error}'
        with self._lock:
            if self._closed:
                return
            self._degradation = _degradation(f'{reason}; {problem}' if reason else problem)
        _log.error('bundle %s: %s; going on with %s', self._bundle, problem, self.info.backend)


def _open_instead(fallback: Candidate, max_batch: int, error: BackendError) -> Engine:
    try:
        return open_warm(fallback, max_batch)
    except BackendError as second:
        raise BackendError(f'{error}. Its fallback {fallback.name}: {second}') from error


def _degradation(reason: str) -> Degradation:
    one_line = ' '.join(reason.split())  # a runtime's own words may be a page
    return Degradation(one_line, datetime.now(timezone.utc))
