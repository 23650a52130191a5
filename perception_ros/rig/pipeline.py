"""The node at a given rate, beside plain nodes and the bare engine."""

from __future__ import annotations

from collections.abc import Sequence

from perception_ros.benchmarks.live.figures import Turn
from perception_ros.benchmarks.live.reports import PipelineReport, RateTry
from perception_ros.benchmarks.live.search import highest_rate
from perception_ros.benchmarks.live.settings import (
    RATE_KEPT,
    Serving,
    Stream,
    Timing,
    Transport,
)
from perception_ros.benchmarks.report import Occasion
from perception_ros.bundles import Bundle
from perception_ros.core.errors import BenchmarkError
from perception_ros.rig.compare import Announce, compare, Contender, facts
from perception_ros.rig.systems import BareSystem, PerceptionSystem, PlainSystem
from perception_ros.rig.trial import take_turn

SIDES = ('node', 'bare', 'plain@default', 'plain@profile')
"""What can be compared; `node` and `bare` use the transport that is asked for."""

_FIGURES = ('results_per_s', 'cpu_ms_per_frame', 'delay_p99_ms')
_STEPS = 4
"""Of the search, after the highest rate is known within a factor of two."""
_LOST_PERCENT = 0.1
"""Fewer are nothing to speak of."""


def measure(
    stream: Stream,
    serving: Serving,
    timing: Timing,
    announce: Announce,
    *,
    command: str,
    transport: Transport = 'profile',
    sides: Sequence[str] = SIDES,
    p99_limit_ms: float | None = None,
) -> PipelineReport:
    """Measure all sides.

    :param p99_limit_ms: search for the highest rate at which the node stays within it, and
        measure there.
    :raises BenchmarkError: a side is unknown, or no rate stays within the limit.
    """
    check(serving, sides)
    occasion = Occasion(command)
    tries: list[RateTry] = []
    if p99_limit_ms is not None:
        found = highest_rate(
            lambda rate_hz: _is_bounded(
                stream.model_copy(update={'rate_hz': rate_hz}), serving, timing, transport,
                p99_limit_ms, tries, announce,
            ),
            stream.rate_hz, _STEPS,
        )
        if found is None:
            raise BenchmarkError(
                f'p99 stays within {p99_limit_ms:g} ms at no rate; the last try: {tries[-1].why}'
            )
        stream = stream.model_copy(update={'rate_hz': round(found, 3)})
    all_sides = {
        'node': Contender(lambda: PerceptionSystem(serving), transport, stream),
        'bare': Contender(lambda: BareSystem(serving), transport, stream),
        'plain@default': Contender(lambda: PlainSystem(serving), 'default', stream),
        'plain@profile': Contender(lambda: PlainSystem(serving), 'profile', stream),
    }
    measured = compare({name: all_sides[name] for name in sides}, timing, announce)
    pairs = [
        (figure, 'node', other) for other in sides if other != 'node' for figure in _FIGURES
        if other != 'bare' or figure == 'results_per_s'
    ]
    return PipelineReport(
        **facts(occasion, stream, timing, measured, pairs), serving=serving,
        p99_limit_ms=p99_limit_ms, tries=tuple(tries),
    )


def check(serving: Serving, sides: Sequence[str] = (), known: Sequence[str] = SIDES) -> None:
    """Look whether it can be measured at all.

    :param known: the sides that there are.
    :raises BundleError: the bundle is none.
    :raises BenchmarkError: it detects nothing, or a side is unknown.
    """
    if unknown := [name for name in sides if name not in known]:
        raise BenchmarkError(f'sides: expected some of {", ".join(known)}, got {unknown[0]!r}')
    if Bundle.load(serving.bundle).manifest.detection is None:
        raise BenchmarkError(
            f'bundle {serving.bundle}: expected one that detects, since detections are what the '
            'nodes are compared by; got one with masks alone'
        )


def _is_bounded(
    stream: Stream,
    serving: Serving,
    timing: Timing,
    transport: Transport,
    p99_limit_ms: float,
    tries: list[RateTry],
    announce: Announce,
) -> bool:
    announce(f'trying {stream.rate_hz:.3g} Hz')
    turn = take_turn(PerceptionSystem(serving), transport, stream, timing)
    p99_ms, lost = turn.delay_ms('p99'), turn.lost_percent
    kept = turn.sent.rate_hz / stream.rate_hz
    is_bounded = (
        p99_ms is not None and p99_ms <= p99_limit_ms and lost is not None
        and lost <= _LOST_PERCENT and kept >= RATE_KEPT
    )
    tries.append(RateTry(
        rate_hz=stream.rate_hz, is_bounded=is_bounded, why=_said(turn, p99_ms, lost)
    ))
    return is_bounded


def _said(turn: Turn, p99_ms: float | None, lost: float | None) -> str:
    delay = 'no results' if p99_ms is None else f'p99 {p99_ms:.1f} ms'
    return f'{delay}, {lost or 0:.2f} % lost, {turn.sent.rate_hz:.2f} Hz sent'
