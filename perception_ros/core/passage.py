"""When a frame was where on its way: points in time on one clock, and the stages between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

STAGES = (
    'transport',
    'synchronize',
    'schedule',
    'prepare',
    'infer',
    'restore',
    'publish',
    'total',
)
"""Stages of a frame's way, in order: each begins where the one before has ended, so that they add
up to the last one.

transport: sensor stamp to receipt; synchronize: receipt to frame set; schedule: set to the turn in
an engine; prepare: decoding and letterbox; infer: the engine call, until somebody takes its
outputs; restore: back into camera pixels, behind the frames of its batch that go first; publish:
handing over to the middleware, likewise; total: sensor stamp to published, or from receipt where
the stamp is not comparable, and there is no transport then.
"""


class Passage(NamedTuple):
    """The way of one frame through one model; ns on the clock of `Frame.received_ns`.

    On a recording's clock, work is taken to begin when it was scheduled, and to last as long as it
    lasted on this machine.
    """

    stamped_ns: int | None
    """When the image was taken; None: its stamp is of another clock."""
    received_ns: int
    matched_ns: int
    """Its set was complete, or waited no longer."""
    scheduled_ns: int
    """It was chosen for an engine call."""
    begun_ns: int
    """Work on its batch began."""
    engine_in_ns: int
    """The engine was given the batch."""
    engine_out_ns: int
    """The outputs of the batch were taken from the engine."""
    restored_ns: int
    published_ns: int
    """The middleware has all that was made of it."""

    def stages_ns(self) -> dict[str, int]:
        """Return how long each of `STAGES` has taken, without transport where it is not known."""
        durations_ns = dict(zip(STAGES, durations([self])[0].tolist(), strict=True))
        if self.stamped_ns is None:
            del durations_ns['transport']
        return durations_ns


def durations(passages: Sequence[Passage]) -> NDArray[np.int64]:
    """Return how long each stage has taken, ns, int64 [N, len(STAGES)]; unknown transport is 0."""
    edges_ns = np.array([
        (
            passage.received_ns if passage.stamped_ns is None else passage.stamped_ns,
            passage.received_ns, passage.matched_ns, passage.begun_ns, passage.engine_in_ns,
            passage.engine_out_ns, passage.restored_ns, passage.published_ns,
        )
        for passage in passages
    ], np.int64)
    whole = edges_ns[:, -1:] - edges_ns[:, :1]
    return np.concatenate([np.diff(edges_ns, axis=1), whole], axis=1)
