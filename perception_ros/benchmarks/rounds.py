"""Interleaved measurement: every side has its turn in every round, so noise hits all alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from perception_ros.core.errors import PerceptionError

Turn = TypeVar('Turn')


@dataclass(slots=True)
class Side(Generic[Turn]):
    """Something that is measured: called once a round, until it fails."""

    take_turn: Callable[[], Turn]
    """:raises PerceptionError: it cannot go on; the other sides do."""
    turns: list[Turn] = field(default_factory=list)
    problem: str | None = None


def interleave(
    sides: Sequence[Side[Turn]], rounds: int, announce: Callable[[int], None] = lambda done: None
) -> None:
    """Give each side its turn in each round; a side that fails is left out from then on.

    The first side of a round is another one each time, so that none always follows the same.

    :param announce: told how many rounds are done.
    """
    for number in range(rounds):
        first = number % len(sides) if sides else 0
        for side in (*sides[first:], *sides[:first]):
            if side.problem is not None:
                continue
            try:
                side.turns.append(side.take_turn())
            except PerceptionError as error:
                side.problem = str(error)
        announce(number + 1)
