"""What repeated measurements say: the middle, and where eight of ten lie."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict, Field


class Spread(BaseModel):
    """A quantity that was measured several times."""

    model_config = ConfigDict(frozen=True, extra='forbid', allow_inf_nan=False)

    median: float
    p10: float = Field(description='A tenth of the samples lie below')
    p90: float = Field(description='A tenth of the samples lie above')
    samples: int = Field(ge=1)

    @classmethod
    def of(cls, samples: Sequence[float]) -> Spread:
        """Return the spread of one or more samples."""
        p10, median, p90 = np.percentile(samples, (10, 50, 90))
        return cls(median=median, p10=p10, p90=p90, samples=len(samples))

    @classmethod
    def of_known(cls, samples: Iterable[float | None]) -> Spread | None:
        """Return the spread of those samples that there are; None: there is none."""
        known = [sample for sample in samples if sample is not None]
        return cls.of(known) if known else None

    @property
    def width(self) -> float:
        """Return how far eight of ten samples lie apart, as a share of the median."""
        return (self.p90 - self.p10) / self.median if self.median else 0.0


class Latency(Spread):
    """Durations of single calls in ms."""

    p99: float = Field(description='With fewer than 100 samples: the greatest of them')

    @classmethod
    def of(cls, samples: Sequence[float]) -> Latency:
        """Return the spread of one or more durations."""
        spread = Spread.of(samples)
        # the sample at that rank, not a value between two: what has really been waited for
        p99 = float(np.percentile(samples, 99, method='higher'))
        return cls(**spread.model_dump(), p99=p99)


def ratios(numerators: Sequence[float], denominators: Sequence[float]) -> Spread | None:
    """Return the spread of the ratios round by round: both sides of each saw the same machine.

    :param numerators: one value a round; the rounds that only one side has are left out.
    """
    pairs = zip(numerators, denominators, strict=False)
    found = [above / below for above, below in pairs if below]
    return Spread.of(found) if found else None
