"""Which found boxes of an image are right, by COCO's rule, and what the others were taken for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from perception_ros.core.boxes import match, overlaps

FALSE = -1
"""Partner of a found box that shows nothing of its class."""
NEUTRAL = -2
"""Partner of a found box that counts neither way: it lies in a crowd, or is one too many."""
LEAST_IOU = 0.5
"""A found box and its true one overlap at least so much."""
MOST_BOXES = 100
"""Found boxes of a class that count in an image, best scores first."""


@dataclass(frozen=True, slots=True, eq=False)
class TrueSide:
    """What is to be found in an image.

    boxes: [N, 4] (x1, y1, x2, y2) in pixels; labels: [N], index into the classes; crowd: bool [N].
    """

    boxes: NDArray[np.floating[Any]]
    labels: NDArray[np.integer[Any]]
    crowd: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class FoundSide:
    """What was found in it: boxes [M, 4] in pixels, labels [M], scores [M], in any order."""

    boxes: NDArray[np.floating[Any]]
    labels: NDArray[np.integer[Any]]
    scores: NDArray[np.floating[Any]]


class Verdict(NamedTuple):
    """What is wrong with the boxes of an image, from some score on."""

    missed: int
    """True boxes that nothing found."""
    false: tuple[float, ...]
    """Scores of found boxes that are not right."""

    @property
    def cost(self) -> float:
        """A miss costs 1, a false box its score: confident errors are the worst."""
        return self.missed + sum(self.false)


def judged(
    true: TrueSide, found: FoundSide, partner: NDArray[np.int64], score: float
) -> Verdict:
    """Say what is wrong with the boxes found from a score on; `partner` as `partners` gives it."""
    shown = found.scores >= score
    right = np.count_nonzero(shown & (partner >= 0))
    false = found.scores[shown & (partner == FALSE)]
    return Verdict(int(np.count_nonzero(~true.crowd) - right), tuple(false.tolist()))


def partners(true: TrueSide, found: FoundSide) -> NDArray[np.int64]:
    """Return for each found box the index of the true one that it is, or FALSE, or NEUTRAL.

    Best scores choose first: each takes the free true box of its class that it overlaps most,
    by `LEAST_IOU` or more; of equal ones the last, as COCO's own code does. What is left may lie
    in a crowd of its class, by that share of its own area, and then counts neither way.

    Leaving out boxes below a score changes no other box's partner: they had chosen before.
    """
    answer = np.full(len(found.scores), NEUTRAL, np.int64)
    shares, inside = overlaps(found.boxes, true.boxes), _inside(found.boxes, true.boxes)
    free = ~true.crowd
    chosen = np.zeros(0 if not len(found.labels) else int(found.labels.max()) + 1, np.int64)
    for i in np.argsort(-found.scores, kind='stable'):
        label = found.labels[i]
        chosen[label] += 1
        if chosen[label] > MOST_BOXES:
            continue
        same = true.labels == label
        rivals = np.where(same & free, shares[i], -1.0)[::-1]
        best = len(rivals) - 1 - int(rivals.argmax()) if len(rivals) else -1
        if len(rivals) and rivals.max() >= LEAST_IOU:
            answer[i], free[best] = best, False
        elif not (inside[i][same & true.crowd] >= LEAST_IOU).any():
            answer[i] = FALSE
    return answer


def confused(
    true: TrueSide, found: FoundSide, partner: NDArray[np.int64], score: float
) -> list[tuple[int, int]]:
    """Return (true label, found label) of what was found from a score on; -1: background.

    First each found box stands with its partner. What then is left on both sides belongs together
    where it overlaps by `LEAST_IOU`, most first: the object was seen and called another. The rest
    was missed, or is nothing.

    :param partner: as `partners` gives it.
    """
    seen = found.scores >= score
    pairs = [(int(true.labels[p]),) * 2 for p in partner[seen & (partner >= 0)]]
    missed = np.setdiff1d(np.flatnonzero(~true.crowd), partner[seen])
    false = np.flatnonzero(seen & (partner == FALSE))
    called = match(overlaps(true.boxes[missed], found.boxes[false]), LEAST_IOU)
    pairs += [(int(true.labels[missed[t]]), int(found.labels[false[f]])) for t, f in called]
    rest_true = np.delete(missed, [t for t, _ in called])
    rest_false = np.delete(false, [f for _, f in called])
    return [*pairs, *((int(label), -1) for label in true.labels[rest_true]),
            *((-1, int(label)) for label in found.labels[rest_false])]


def _inside(boxes: NDArray[np.floating[Any]],
            regions: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return the share of each box's area that lies in each region, [boxes, regions]."""
    low = np.maximum(boxes[:, None, :2], regions[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], regions[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0.0, None), axis=2)
    area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    return np.asarray(shared / np.maximum(area, 1e-9)[:, None], np.float64)
