"""When a fault strikes: decided for each message by itself, so it is the same wherever one begins.

Chance is a hash of the seed, the fault, the topic and the time, and not the state of a generator:
a part of a bag, a run that was resumed and one of several workers all find the same.
"""

from __future__ import annotations

from hashlib import blake2b

from pydantic import ConfigDict, Field, model_validator
from typing_extensions import Self

from perception_ros.core.strict import Strict

LONGEST_S = 1e7
"""A hundred days: longer than any bag."""


class When(Strict):
    """A window, perhaps struck again and again in it, perhaps by chance.

    Times are seconds after the first message of the bag, by the time of recording.
    """

    model_config = ConfigDict(strict=True)

    name: str = Field(
        '', pattern=r'^([a-z][a-z0-9_]*)?$',
        description='Its name in the summary, which chance depends on too; empty: its kind',
    )
    from_s: float = Field(0.0, ge=0.0, le=LONGEST_S, description='Begins here')
    to_s: float | None = Field(None, gt=0.0, le=LONGEST_S, description='Ends before; null: never')
    every_s: float | None = Field(
        None, ge=0.001, le=LONGEST_S, description='Strikes once in so many seconds, for for_s'
    )
    for_s: float | None = Field(
        None, ge=0.001, le=LONGEST_S,
        description='How long it lasts once it strikes; null: one message, or all of the window',
    )
    probability: float = Field(
        1.0, gt=0.0, le=1.0, description='Chance of each message, or of each time of for_s'
    )
    seed: int = Field(0, ge=0, lt=2**63, description='Another seed strikes others')

    @model_validator(mode='after')
    def _fits(self) -> Self:
        if self.to_s is not None and self.to_s <= self.from_s:
            raise ValueError(
                f'to_s: expected more than from_s {self.from_s:g}, got {self.to_s:g}'
            )
        if self.every_s is not None:
            if self.for_s is None:
                raise ValueError('every_s: expected for_s with it, got none')
            if self.for_s > self.every_s:
                raise ValueError(
                    f'for_s: expected at most every_s {self.every_s:g}, got {self.for_s:g}'
                )
        elif self.for_s is not None and self.probability == 1.0:
            raise ValueError(
                'for_s: expected every_s or a probability below 1 with it; to_s ends a window'
            )
        return self

    def begun_ns(self, since_ns: int) -> int | None:
        """Return when the time of the fault began that covers `since_ns`; None: none does.

        :param since_ns: after the first message of the bag, as is what returns.
        """
        from_ns = _ns(self.from_s)
        at_ns = since_ns - from_ns
        if at_ns < 0 or (self.to_s is not None and since_ns >= _ns(self.to_s)):
            return None
        if self.for_s is None:
            return from_ns
        begun_ns = at_ns - at_ns % _ns(self.every_s or self.for_s)
        return from_ns + begun_ns if at_ns - begun_ns < _ns(self.for_s) else None

    def strikes(self, topic: str, since_ns: int) -> bool:
        """Say whether it strikes a message of a topic at a time after the bag's first."""
        begun_ns = self.begun_ns(since_ns)
        if begun_ns is None:
            return False
        when_ns = since_ns if self.for_s is None else begun_ns
        return self.probability == 1.0 or self.chance('', topic, when_ns) < self.probability

    def chance(self, purpose: str, topic: str, since_ns: int) -> float:
        """Return a number in [0, 1) that is always the same for the same arguments."""
        key = f'{self.seed}\n{self.name}\n{purpose}\n{topic}\n{since_ns}'
        digest = blake2b(key.encode(), digest_size=7).digest()
        return int.from_bytes(digest, 'big') / 2**56


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)
