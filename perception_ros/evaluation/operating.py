"""Where to set the score threshold: precision, recall and F1 at each of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """What a class is worth with boxes from one score on."""

    score: float
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True, slots=True, eq=False)
class Operating:
    """A class's boxes in order of their scores.

    scores: float64 [S], all that occur, highest first; right, said: int64 [S], how many boxes from
    that score on are right, and how many there are; count: true boxes.
    """

    scores: NDArray[np.float64]
    right: NDArray[np.int64]
    said: NDArray[np.int64]
    count: int

    @classmethod
    def of(cls, scores: NDArray[np.float64], right: NDArray[np.bool_], count: int) -> Operating:
        """Sort found boxes [M]; those of equal scores stand or fall together."""
        levels, place = np.unique(-scores, return_inverse=True)
        hits = np.bincount(place.reshape(-1), weights=right, minlength=len(levels))
        said = np.bincount(place.reshape(-1), minlength=len(levels))
        return cls(-levels, np.cumsum(hits).astype(np.int64), np.cumsum(said), count)

    @property
    def found(self) -> int:
        """True boxes that were found, whatever the score."""
        return int(self.right[-1]) if len(self.right) else 0

    @property
    def false(self) -> int:
        """Found boxes that are not right, whatever the score."""
        return int(self.said[-1]) - self.found if len(self.said) else 0

    @property
    def best(self) -> OperatingPoint | None:
        """The point of the highest F1, of equal ones that of the highest score; None without."""
        if not self.count or not len(self.scores):
            return None
        f1 = 2 * self.right / (self.said + self.count)
        return self.at(float(self.scores[int(f1.argmax())]))

    def at(self, score: float) -> OperatingPoint:
        """Return the point at any score; nothing found has a precision of 1, as is the custom."""
        last = int(np.searchsorted(-self.scores, -score, side='right')) - 1
        right, said = (int(self.right[last]), int(self.said[last])) if last >= 0 else (0, 0)
        return OperatingPoint(
            score, right / said if said else 1.0, right / self.count if self.count else 0.0,
            2 * right / (said + self.count) if said + self.count else 0.0,
        )
