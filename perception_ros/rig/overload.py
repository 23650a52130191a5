"""The node with more images than its engine can take: delay, fairness, priorities, memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from perception_ros.benchmarks.live.figures import Turn
from perception_ros.benchmarks.live.reports import OverloadFigures, OverloadReport
from perception_ros.benchmarks.live.settings import Serving, Stream, Timing, Transport
from perception_ros.benchmarks.report import Occasion
from perception_ros.benchmarks.statistics import Spread
from perception_ros.rig.compare import Announce, compare, Contender, facts
from perception_ros.rig.pipeline import check
from perception_ros.rig.systems import PerceptionSystem

UNLOADED, OVERLOADED, PRIORITIES = 'unloaded', 'overloaded', 'with priorities'
_UNLOADED_SHARE = 0.5
"""Of what the engine can take, where it is not overloaded."""
_AFTER = 2
"""Priority of the cameras that do not go first."""


def serving_for(bundle: str, stream: Stream, times: float, batch: int) -> Serving:
    """Return a fake engine so slow that the stream is `times` what it can take."""
    call_ms = times * batch / (stream.cameras * stream.rate_hz) * 1e3
    return Serving(bundle=bundle, backend='fake', fake_ms=call_ms, max_batch=batch)


def measure(
    stream: Stream,
    serving: Serving,
    timing: Timing,
    announce: Announce,
    *,
    command: str,
    times: float,
    first: int,
    transport: Transport = 'profile',
) -> OverloadReport:
    """Measure the node with little, with too much, and with too much for cameras that differ.

    :param times: images offered over images that the engine can take, as in `serving_for`.
    :param first: how many cameras go first in the last row.
    """
    check(serving)
    occasion = Occasion(command)
    rate_hz = stream.rate_hz * _UNLOADED_SHARE / times
    little = stream.model_copy(update={'rate_hz': rate_hz})
    priorities = {
        name: 1 if index < first else _AFTER for index, name in enumerate(stream.names)
    }
    sides = compare(
        {
            UNLOADED: Contender(lambda: PerceptionSystem(serving), transport, little),
            OVERLOADED: Contender(lambda: PerceptionSystem(serving), transport, stream),
            PRIORITIES: Contender(
                lambda: PerceptionSystem(serving, priorities=priorities), transport, stream
            ),
        },
        timing, announce,
    )
    turns = {name: side.turns for name, side in sides.items()}
    names = stream.names[:first]
    return OverloadReport(
        **facts(occasion, stream, timing, sides, [('delay_p99_ms', OVERLOADED, UNLOADED)]),
        serving=serving, times=times, first=names,
        figures=OverloadFigures(
            p99_ratio=Spread.of_known([
                bound_ratio(over, little_turn, serving.fake_ms)
                for little_turn, over in zip(turns[UNLOADED], turns[OVERLOADED], strict=False)
            ]),
            unfairness_percent=Spread.of_known([unfairness(turn) for turn in turns[OVERLOADED]]),
            priority_lost_percent=Spread.of_known(
                [lost(turn, names) for turn in turns[PRIORITIES]]
            ),
            memory_growth_mb=Spread.of_known([
                turn.used.memory_growth_bytes / 1e6 for turn in turns[OVERLOADED]
            ]),
        ),
    )


def bound_ratio(overloaded: Turn, unloaded: Turn, call_ms: float) -> float | None:
    """Return the p99 over what it may be: twice the unloaded one and an engine call."""
    over, under = overloaded.delay_ms('p99'), unloaded.delay_ms('p99')
    return None if over is None or under is None else over / (2 * under + call_ms)


def unfairness(turn: Turn) -> float | None:
    """Return how far the results of a camera lie from the mean of all at most, in percent."""
    if turn.heard is None or not any(turn.heard.by_camera.values()):
        return None
    counts = np.array(list(turn.heard.by_camera.values()), np.float64)
    return float(100 * np.abs(counts - counts.mean()).max() / counts.mean())


def lost(turn: Turn, cameras: Sequence[str]) -> float | None:
    """Return how many frames of some cameras got no result, in percent."""
    sent = sum(turn.sent.by_camera[name] for name in cameras)
    if turn.heard is None or not sent:
        return None
    return 100 * (1 - sum(turn.heard.by_camera[name] for name in cameras) / sent)
