"""Sides by turns: each starts anew in every round, alone with its senders and its listener."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from perception_ros.benchmarks.live.figures import Turn
from perception_ros.benchmarks.live.reports import middleware, side_ratios, side_rows
from perception_ros.benchmarks.live.settings import Stream, Timing, Transport
from perception_ros.benchmarks.report import Occasion
from perception_ros.benchmarks.rounds import interleave, Side
from perception_ros.rig.systems import System
from perception_ros.rig.trial import take_turn

Announce = Callable[[str], None]


class Contender(NamedTuple):
    """A side: how it is made anew for each turn, and what is sent to it."""

    make: Callable[[], System]
    transport: Transport
    stream: Stream


def compare(
    contenders: Mapping[str, Contender],
    timing: Timing,
    announce: Announce,
    after_round: Callable[[], None] = lambda: None,
) -> dict[str, Side[Turn]]:
    """Let all sides take turns; one that fails is left out from then on, with the reason.

    :param announce: told what is going on.
    :param after_round: called at the end of each round.
    """
    rounds_done = 0

    def side(name: str, contender: Contender) -> Side[Turn]:
        def turn() -> Turn:
            announce(f'round {rounds_done + 1} of {timing.rounds}: {name}')
            return take_turn(contender.make(), contender.transport, contender.stream, timing)

        return Side(turn)

    def count(done: int) -> None:
        nonlocal rounds_done
        rounds_done = done
        after_round()

    sides = {name: side(name, contender) for name, contender in contenders.items()}
    interleave(list(sides.values()), timing.rounds, count)
    return sides


def facts(
    occasion: Occasion,
    stream: Stream,
    timing: Timing,
    sides: Mapping[str, Side[Turn]],
    pairs: list[tuple[str, str, str]],
) -> dict[str, Any]:
    """Return the fields of `LiveReport`, once all is measured.

    :param pairs: (figure, side, other side) to be compared.
    """
    return {
        **occasion.facts(),
        'middleware': middleware(),
        'stream': stream,
        'timing': timing,
        'rows': side_rows(sides),
        'ratios': side_ratios(sides, pairs),
    }
