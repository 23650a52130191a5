"""How long a thread waits for Python's lock, sampled by one that has nothing else to do.

The probe sleeps a few milliseconds and looks at how much later than that it goes on. The kernel
says how long it was ready and had no core (`schedstat`); the rest it waited for the lock, but for
the slack of the timer. Who held the lock for long is told by who has computed meanwhile, which an
engine may do without the lock too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
import contextlib
import os
import sys
import threading
import time
from types import FrameType

from perception_ros.core.latency import Histogram
from perception_ros.core.machine import PROC
from perception_ros.core.trace import Trace

PERIOD_S = 0.01
LONG_NS = 2_000_000
"""A wait of this length is looked into."""

_OURS = 'perception_ros'
_MOST = 20
"""Places that are named at the end."""


class GilProbe:
    """Draws the waits into a trace between `start` and `stop`, and sums them up at the end."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._waits, self._queued = Histogram(), Histogram()
        self._seen: Counter[str] = Counter()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to sample."""
        self._over.clear()
        self._thread = threading.Thread(target=self._loop, name='gil probe', daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it, and say in the trace what it came to. Idempotent."""
        if self._thread is None:
            return
        self._over.set()
        self._thread.join()
        self._thread = None
        self._trace.tell(
            gil_wait_ms=self._waits.summary_ms(), run_queue_ms=self._queued.summary_ms(),
            at_work_during_long_gil_waits=dict(self._seen.most_common(_MOST)),
        )

    def _loop(self) -> None:
        with _Cores() as cores:
            while not self._over.is_set():
                due_ns = time.monotonic_ns() + round(PERIOD_S * 1e9)
                cores.passed()
                time.sleep(PERIOD_S)
                late_ns = time.monotonic_ns() - due_ns
                self._take(due_ns, late_ns, cores.passed())

    def _take(self, due_ns: int, late_ns: int, passed: Mapping[int, tuple[int, int]]) -> None:
        queued_ns = passed.get(threading.get_ident(), (0, 0))[1]
        wait_ns = max(late_ns - queued_ns, 0)
        self._waits.add(wait_ns)
        self._queued.add(queued_ns)
        self._trace.value('GIL wait ms', due_ns, wait_ns / 1e6)
        self._trace.value('run queue ms', due_ns, queued_ns / 1e6)
        if wait_ns > LONG_NS:
            busy = {thread for thread, (computed_ns, _) in passed.items() if computed_ns > LONG_NS}
            places = [place for place in map(_place, busy) if place]
            self._seen.update(places)
            self._trace.span('GIL wait', due_ns, due_ns + late_ns, at_work=places)


class _Cores:
    """What the kernel says of the threads that Python knows. A context manager."""

    def __init__(self) -> None:
        self._files: dict[int, int] = {}
        self._last: dict[int, tuple[int, int]] = {}

    def passed(self) -> dict[int, tuple[int, int]]:
        """Return how long each thread has computed, and been ready without a core, by its ident.

        In ns, since the last call; nothing of threads that have begun since.
        """
        last, self._last = self._last, {}
        for thread in threading.enumerate():
            ident, native = thread.ident, thread.native_id
            if ident is None or native is None:
                continue
            with contextlib.suppress(OSError, ValueError, IndexError):  # it has just ended
                if native not in self._files:
                    path = PROC / 'self' / 'task' / str(native) / 'schedstat'
                    self._files[native] = os.open(path, os.O_RDONLY)
                fields = os.pread(self._files[native], 64, 0).split()
                self._last[ident] = int(fields[0]), int(fields[1])
        return {
            ident: (computed_ns - last[ident][0], queued_ns - last[ident][1])
            for ident, (computed_ns, queued_ns) in self._last.items()
            if ident in last
        }

    def __enter__(self) -> _Cores:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            os.close(file)


def _place(ident: int) -> str:
    """Return a thread's name and where in this package it is now; '' if it has just ended."""
    frame: FrameType | None = sys._current_frames().get(ident)
    innermost = frame
    while frame and not str(frame.f_globals.get('__name__', '')).startswith(_OURS):
        frame = frame.f_back
    if not (frame := frame or innermost):
        return ''
    name = next((item.name for item in threading.enumerate() if item.ident == ident), '?')
    module = str(frame.f_globals.get('__name__', '?')).rpartition('.')[2]
    return f'{name}: {module}.{frame.f_code.co_name}'
