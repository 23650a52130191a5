"""What an image costs from DDS to the letterboxed slot of the batch."""

from __future__ import annotations

from collections.abc import Sequence
import time

import numpy as np

from perception_ros.benchmarks.live.figures import Turn
from perception_ros.benchmarks.live.reports import IngestReport
from perception_ros.benchmarks.live.settings import Serving, Stream, Timing
from perception_ros.benchmarks.report import Occasion
from perception_ros.benchmarks.rounds import Side
from perception_ros.benchmarks.statistics import ratios, Spread
from perception_ros.rig.compare import Announce, compare, Contender, facts
from perception_ros.rig.pipeline import check
from perception_ros.rig.systems import PerceptionSystem, PlainSystem

SIDES = ('node@profile', 'node@default', 'plain@profile', 'plain@default')
"""What can be compared."""
FAKE_MS = 0.01
"""A call of the engine."""

_BUFFERS = 16
"""So many images are copied from and to in turn: more than a processor's cache holds."""
_COPIES = 200


def measure(
    stream: Stream,
    serving: Serving,
    timing: Timing,
    announce: Announce,
    *,
    command: str,
    sides: Sequence[str] = SIDES,
) -> IngestReport:
    """Measure the sides, and after each round what two copies of an image cost."""
    check(serving, sides, SIDES)
    occasion = Occasion(command)
    all_sides = {
        'node@profile': Contender(lambda: PerceptionSystem(serving), 'profile', stream),
        'node@default': Contender(lambda: PerceptionSystem(serving), 'default', stream),
        'plain@profile': Contender(
            lambda: PlainSystem(serving, detects=False), 'profile', stream
        ),
        'plain@default': Contender(
            lambda: PlainSystem(serving, detects=False), 'default', stream
        ),
    }
    copies_ms: list[float] = []
    contenders = {name: all_sides[name] for name in sides}
    measured = compare(
        contenders, timing, announce, lambda: copies_ms.append(two_copies_ms(stream))
    )
    nodes = [name for name in sides if name.startswith('node')]
    others = [name for name in sides if name not in nodes]
    pairs = [('cpu_ms_per_frame', node, other) for node in nodes for other in others]
    return IngestReport(
        **facts(occasion, stream, timing, measured, pairs), serving=serving,
        copies_ms=Spread.of(copies_ms), over_copies=_over(measured, copies_ms),
    )


def two_copies_ms(stream: Stream) -> float:
    """Return the CPU time of two copies of an image's pixels, from memory to memory."""
    shape = (_BUFFERS, 3 * stream.width * stream.height)
    images, copies = np.ones(shape, np.uint8), np.ones(shape, np.uint8)
    begun_s = time.process_time()
    for index in range(_COPIES):
        np.copyto(copies[index % _BUFFERS], images[5 * index % _BUFFERS])
    return 2 * 1e3 * (time.process_time() - begun_s) / _COPIES


def _over(
    sides: dict[str, Side[Turn]], copies_ms: Sequence[float]
) -> dict[str, Spread]:
    found = {}
    for name, side in sides.items():
        costs = [turn.used.cpu_ms_per_frame for turn in side.turns]
        if None not in costs and (value := ratios([c for c in costs if c], copies_ms)):
            found[name] = value
    return found
