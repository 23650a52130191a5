"""The node for a long time, with cameras that come and go: what grows, and what is late."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
import random
import time

import numpy as np

from perception_ros.benchmarks.live.reports import Sample, SoakReport
from perception_ros.benchmarks.live.settings import Absence, Serving, Stream, Timing, Transport
from perception_ros.benchmarks.live.usage import look_at
from perception_ros.benchmarks.report import Occasion
from perception_ros.benchmarks.rounds import Side
from perception_ros.rig.compare import Announce, facts
from perception_ros.rig.pipeline import check
from perception_ros.rig.systems import PerceptionSystem, System
from perception_ros.rig.trial import take_turn

NODE = 'node'
_SAMPLES = 240
"""As many as a run is looked at."""
_SETTLED_SHARE = 0.2
"""Of the run, after which memory has to stay as it is."""
_STALL_S = 1.0
"""Longest stall of the warm-up: else the first one of the machine's own, somewhere in the run,
lets the middleware's queues become full, and their memory looks like a leak."""
_SEED = 20
_THERE, _GONE = (0.03, 0.12), (0.005, 0.03)
"""How long a camera stays, and how long it is gone, as shares of the run, from and to."""
_LEAST_THERE_S, _LEAST_GONE_S = 3.0, 1.0
"""However short the run: it takes a second until a camera that comes back is heard."""


def measure(
    stream: Stream,
    serving: Serving,
    timing: Timing,
    announce: Announce,
    *,
    command: str,
    deadline_ms: float,
    transport: Transport = 'profile',
) -> SoakReport:
    """Send for the whole time to one node, and look at it now and then."""
    check(serving)
    occasion = Occasion(command)
    timing = timing.model_copy(update={'rounds': 1, 'deadline_ms': deadline_ms})
    absences = list(comings_and_goings(stream.names, timing.seconds))
    samples = _Samples(timing.seconds, announce)
    side = Side(lambda: take_turn(
        PerceptionSystem(serving), transport, stream, timing, absences=absences,
        stall_s=min(_STALL_S, timing.warm_up_s / 4), watch=samples.look,
    ))
    side.turns.append(side.take_turn())
    heard = side.turns[0].heard
    assert heard is not None and heard.late is not None, 'it has a listener and a deadline'
    settled_s = _SETTLED_SHARE * timing.seconds
    found = sum(heard.by_camera.values())
    return SoakReport(
        **facts(occasion, stream, timing, {NODE: side}, []), serving=serving,
        deadline_ms=deadline_ms, late=heard.late,
        late_percent=100 * heard.late / found if found else 0.0, absences=len(absences),
        samples=tuple(samples.taken), settled_s=settled_s,
        memory_slope_mb_per_h=slope_mb_per_h(
            [sample for sample in samples.taken if sample.at_s >= settled_s]
        ),
    )


def comings_and_goings(cameras: Sequence[str], seconds: float) -> Iterator[Absence]:
    """Yield when each camera is gone: the same for every run of that length."""
    chance = random.Random(_SEED)

    def there_s() -> float:
        return max(chance.uniform(*_THERE) * seconds, _LEAST_THERE_S)

    for camera in cameras:
        at_s = there_s()
        while True:
            back_s = at_s + max(chance.uniform(*_GONE) * seconds, _LEAST_GONE_S)
            if back_s >= seconds:
                break
            yield camera, at_s, back_s
            at_s = back_s + there_s()


def slope_mb_per_h(samples: Sequence[Sample]) -> float | None:
    """Return the median slope of all pairs of samples (Theil and Sen): one peak moves nothing."""
    if len(samples) < 2:
        return None
    at_s = np.array([sample.at_s for sample in samples])
    size = np.array([sample.memory_bytes for sample in samples], np.float64)
    first, second = np.triu_indices(len(samples), 1)
    slopes = (size[second] - size[first]) / (at_s[second] - at_s[first])
    return float(np.median(slopes) * 3600 / 1e6)


class _Samples:
    """Looks at the processes of a system at even distances."""

    def __init__(self, seconds: float, announce: Announce) -> None:
        self.taken: list[Sample] = []
        self._seconds = seconds
        self._announce = announce
        self._begun_s = self._next_s = 0.0

    def look(self, system: System) -> None:
        """Take a sample if it is time."""
        now_s = time.monotonic()
        self._begun_s = self._begun_s or now_s
        if now_s < self._next_s:
            return
        self._next_s = now_s + self._seconds / _SAMPLES
        look = look_at(system.processes)
        at_s = now_s - self._begun_s
        self.taken.append(Sample(
            at_s=at_s, memory_bytes=look.bytes, threads=look.threads, open_files=look.files
        ))
        self._announce(f'{at_s:.0f} of {self._seconds:.0f} s, {look.bytes / 1e6:.0f} MB')
