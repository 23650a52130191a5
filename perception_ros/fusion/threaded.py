"""The sweeps in the time of the world: taken in by any thread, fused by one of its own.

What comes in is kept as it is, and looked at only when it belongs to a sweep: of cameras of 30 Hz
beside a LiDAR of 10 Hz two masks of three are never decoded.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
import logging
from statistics import median
import threading
import time
from typing import Any

from perception_ros.core.drop_log import DropLog
from perception_ros.core.errors import PerceptionError
from perception_ros.fusion.config import FusionConfig
from perception_ros.fusion.matcher import MatchedSweep, SweepMatcher
from perception_ros.fusion.pipeline import BEHIND_NS, FusedSweep, ImageOutputs, SweepPipeline
from perception_ros.fusion.types import Sweep

_log = logging.getLogger(__name__)

GAP = 1.8
"""Times the usual interval between stamps, beyond which a sweep has not come."""
_RECENT = 60
"""Sweeps of which stamps are remembered: some seconds."""
_SHORT_RANK = 0.1
"""Of the intervals, in order: many may be of two or three sweeps, hardly any is too short."""
_ONE = 1.5
"""Times a short interval, up to which one is of a single sweep: stamps wobble."""

MOST_READY = 4
"""Sweeps that may wait to be fused; beyond that the oldest is left out, and counted."""
_LATENCIES = 1000

Decode = Callable[[str, Mapping[str, Any]], ImageOutputs]
"""(camera, output -> what was pushed) -> what it says, and what cannot be used of it."""
Publish = Callable[[FusedSweep], None]
Painted = Callable[[], bool]


class SweepCounters:
    """What became of the sweeps, and of each camera in them. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._cameras: Counter[tuple[str, str]] = Counter()
        self._problems: dict[str, str] = {}
        self._stamps_ns: deque[int] = deque(maxlen=_RECENT)
        self._latencies_ms: deque[float] = deque(maxlen=_LATENCIES)

    def count(self, what: str) -> None:
        """Count a sweep as invalid, skipped or failed."""
        with self._lock:
            self._counts[what] += 1

    def received(self, stamp_ns: int) -> None:
        """Count a sweep that has come."""
        with self._lock:
            self._counts['received'] += 1
            self._stamps_ns.append(stamp_ns)

    def gaps(self) -> tuple[int, int]:
        """Return after how many of the recent sweeps others were missing, and of how many."""
        with self._lock:
            stamps_ns = list(self._stamps_ns)
        steps = sorted(later - stamp for stamp, later in pairwise(stamps_ns) if later > stamp)
        if not steps:
            return 0, 0
        short = steps[round(_SHORT_RANK * (len(steps) - 1))]
        usual = median(step for step in steps if step <= _ONE * short)
        return sum(step > GAP * usual for step in steps), len(steps)

    def tell(self, subject: str, problem: str) -> None:
        """Remember what is wrong with a camera or the sweeps, until it is asked for."""
        with self._lock:
            self._problems[subject] = problem

    def fused(self, sweep: FusedSweep, latency_ms: float) -> None:
        """Count a sweep that was published, and which cameras had a part in it."""
        fusion_set = sweep.placed.fusion_set
        with self._lock:
            self._counts['fused'] += 1
            self._counts['uncompensated'] += not sweep.placed.is_compensated
            self._counts['guessed'] += sweep.placed.behind_ns > BEHIND_NS
            self._counts['unplaced'] += not sweep.placed.is_in_output_frame
            for view in fusion_set.views:
                self._cameras[view.camera, 'fused'] += 1
            for camera in fusion_set.missing:
                self._cameras[camera, 'missing'] += 1
            self._problems |= sweep.placed.problems
            if sweep.unpainted:
                self._problems['fusion'] = sweep.unpainted
            self._latencies_ms.append(latency_ms)

    def take(self) -> tuple[Counter[str], Counter[tuple[str, str]], dict[str, str], list[float]]:
        """Return what was counted since the last call: of sweeps, cameras, problems, latencies."""
        with self._lock:
            taken = self._counts, self._cameras, self._problems, list(self._latencies_ms)
            self._counts, self._cameras, self._problems = Counter(), Counter(), {}
            self._latencies_ms.clear()
        return taken


class ThreadedSweeps:
    """Takes sweeps and outputs from any thread between `start` and `stop`.

    :param decode: turns what was pushed about an image into values.
    :param publish: called for each fused sweep, in the thread that fuses.
    :param painted: whether anybody wants the points painted.
    """

    def __init__(
        self, config: FusionConfig, decode: Decode, publish: Publish, painted: Painted
    ) -> None:
        self.pipeline = SweepPipeline(config)
        self.counters = SweepCounters()
        self.matcher = SweepMatcher(
            {name: camera.topics(name) for name, camera in config.cameras.items()},
            {name: camera.time_offset_ms for name, camera in config.cameras.items()},
            tolerance_ms=config.tolerance_ms, max_wait_ms=config.max_wait_ms,
        )
        self._decode = decode
        self._publish = publish
        self._painted = painted
        self._work = threading.Condition()
        self._ready: deque[MatchedSweep] = deque()
        self._deadline_ns: int | None = None
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._drop_log = DropLog()

    def start(self) -> None:
        """Begin to fuse."""
        self._stopping = False
        self._thread = threading.Thread(target=self._loop, name='fusion', daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Fuse no more; the sweep in hand is the last one, those that wait are left out.

        Idempotent.
        """
        if self._thread:
            with self._work:
                self._stopping = True
                self._work.notify()
            self._thread.join()
            self._thread = None
            with self._work:
                self._ready.clear()
                self.matcher.flush()

    @contextmanager
    def known(self) -> Iterator[SweepPipeline]:
        """Give the pipeline to who brings transforms and lenses, while nobody else looks."""
        with self._work:
            yield self.pipeline

    def receive_sweep(self, sweep: Sweep) -> None:
        """Take in a sweep. Returns soon, never raises."""
        self.counters.received(sweep.stamp_ns)
        with self._work:
            self.matcher.push_sweep(sweep)
            self._match()

    def receive(self, camera: str, output: str, stamp_ns: int, value: Any) -> None:
        """Take in what is said about an image. Returns soon, never raises."""
        with self._work:
            self.matcher.push(camera, output, stamp_ns, value, time.monotonic_ns())
            self._match()

    def refuse(self, subject: str, error: Exception) -> None:
        """Count and log a message of which nothing could be made."""
        self.counters.count('invalid')
        self.counters.tell(subject, str(error))
        if self._drop_log.may_log(subject, str(error)):
            _log.warning('%s: %s', subject, error)

    def _match(self) -> None:
        """Let sweeps go that are ready; the lock is held."""
        self._ready.extend(self.matcher.poll(time.monotonic_ns()))
        while len(self._ready) > MOST_READY:
            self._ready.popleft()
            self.counters.count('skipped')
        deadline_ns = self.matcher.next_deadline_ns()
        if self._ready or deadline_ns != self._deadline_ns:  # else who waits would oversleep
            self._deadline_ns = deadline_ns
            self._work.notify()

    def _loop(self) -> None:
        while (matched := self._next()) is not None:
            try:
                self._fuse(matched)
            except Exception as error:
                self.counters.count('failed')
                self.counters.tell('fusion', str(error))
                if self._drop_log.may_log('fusion', str(error)):
                    expected = isinstance(error, PerceptionError)
                    _log.error('a sweep was lost: %s', error, exc_info=not expected)

    def _next(self) -> MatchedSweep | None:
        """Wait for a sweep; None: there will be no more."""
        with self._work:
            while not self._stopping:
                self._match()
                if self._ready:
                    return self._ready.popleft()
                wait_s = None
                if self._deadline_ns is not None:
                    wait_s = max(self._deadline_ns - time.monotonic_ns(), 0) / 1e9
                self._work.wait(wait_s)
        return None

    def _fuse(self, matched: MatchedSweep) -> None:
        outputs = {
            camera: self._decode(camera, image.outputs) for camera, image in matched.images.items()
        }
        with self._work:
            placed = self.pipeline.place(matched, outputs)
        fused = self.pipeline.fuse(placed, painted=self._painted())
        self._publish(fused)
        waited_ns = time.monotonic_ns() - matched.sweep.received_ns
        self.counters.fused(fused, waited_ns / 1e6)
