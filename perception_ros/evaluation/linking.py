"""Pseudo-labels: which boxes of a clip are the same thing, told with hindsight.

What a tracker must decide at once is decided here when all is known, and by other means: pictures
that follow one another are linked only where both sides have no doubt; then the pieces are joined,
all against all and the best pairs first, by where each was going: the earlier one's last boxes,
carried forward, against the later one's first, carried back. Gaps are filled between both ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from perception_ros.core.types import Detections
from perception_ros.evaluation.tracks import iou

_NO_DOUBT, _SECOND = 0.5, 0.3
"""IoU of boxes that are the same for sure, and of any other that might be."""
_LONGEST_GAP_S = 1.5
_FIT_S = 0.4
"""How much of a piece says where it was going."""
_LEAST_IOU = 0.3
"""Of two pieces, carried to the middle of the gap between them."""
_SHORTEST_S = 0.5
"""A thing is labelled if it is there for so long; what is shorter may be followed or not."""
_LEAST_SEEN = 0.6
"""Share of its pictures in which it was found."""


class Linked(NamedTuple):
    """What is labelled in one picture.

    ids: int [N]; boxes: float64 [N, 4] px; is_clear: bool [N], it must be followed.
    """

    ids: NDArray[np.intp]
    boxes: NDArray[np.float64]
    is_clear: NDArray[np.bool_]


@dataclass(slots=True)
class _Piece:
    """Boxes of one thing: places in the clip, in order, float64 [N, 4] px, and scores."""

    frames: list[int]
    boxes: list[NDArray[np.float64]]
    scores: list[float]

    def carried(self, frame: float, window: int, *, from_end: bool) -> NDArray[np.float64]:
        """Return where its box is at another time, by a line through its last or first ones."""
        part = slice(-window, None) if from_end else slice(None, window)
        frames, boxes = np.array(self.frames[part]), np.array(self.boxes[part])
        if len(frames) < 3:
            return np.asarray(boxes.mean(axis=0))
        line = np.polyfit(frames - frame, boxes, 1)
        return np.asarray(line[1])


def link(
    found: Sequence[Detections], rate_hz: float, sure_score: float, least_height_px: float
) -> list[Linked]:
    """Return labels for each picture of a clip.

    :param found: what a detector says of each.
    :param sure_score: what has a lower one in half of its pictures may be followed or not, and
        so may what is smaller than `least_height_px`.
    """
    pieces = _joined(_pieces(found), rate_hz)
    labels: list[list[tuple[int, NDArray[np.float64], bool]]] = [[] for _ in found]
    for number, piece in enumerate(pieces):
        span = piece.frames[-1] - piece.frames[0] + 1
        is_sure = (
            span / rate_hz >= _SHORTEST_S and len(piece.frames) / span >= _LEAST_SEEN
            and np.median(piece.scores) >= sure_score
        )
        frames = np.arange(piece.frames[0], piece.frames[-1] + 1)
        sides = [np.interp(frames, piece.frames, side) for side in np.array(piece.boxes).T]
        for frame, box in zip(frames.tolist(), np.stack(sides, axis=1), strict=True):
            is_clear = bool(is_sure and box[3] - box[1] >= least_height_px)
            labels[frame].append((number, box, is_clear))
    return [
        Linked(
            np.array([number for number, _, _ in items], np.intp),
            np.array([box for _, box, _ in items]).reshape(-1, 4),
            np.array([clear for _, _, clear in items], np.bool_),
        )
        for items in labels
    ]


def _pieces(found: Sequence[Detections]) -> list[_Piece]:
    """Link what follows without doubt."""
    pieces: list[_Piece] = []
    open_: dict[int, _Piece] = {}
    before: NDArray[np.floating] = np.zeros((0, 4))
    for number, item in enumerate(found):
        alike = iou(before, item.boxes)
        following: dict[int, _Piece] = {}
        for index, box in enumerate(item.boxes.astype(np.float64)):
            piece = open_.get(int(alike[:, index].argmax())) if _is_sure(alike, index) else None
            if piece is None:
                piece = _Piece([], [], [])
                pieces.append(piece)
            piece.frames.append(number)
            piece.boxes.append(box)
            piece.scores.append(float(item.scores[index]))
            following[index] = piece
        open_, before = following, item.boxes
    return pieces


def _is_sure(alike: NDArray[np.float64], column: int) -> bool:
    """Whether a box is one of those before it and neither could be another."""
    if not len(alike):
        return False
    row = int(alike[:, column].argmax())
    others = np.append(np.delete(alike[:, column], row), np.delete(alike[row], column))
    return bool(alike[row, column] >= _NO_DOUBT and (others < _SECOND).all())


def _joined(pieces: list[_Piece], rate_hz: float) -> list[_Piece]:
    """Join pieces of the same thing, best pairs first, until none are left."""
    window = max(round(_FIT_S * rate_hz), 3)
    pairs = []
    for i, early in enumerate(pieces):
        for j, late in enumerate(pieces):
            gap = late.frames[0] - early.frames[-1]
            if not 0 < gap <= _LONGEST_GAP_S * rate_hz:
                continue
            middle = (early.frames[-1] + late.frames[0]) / 2
            one = early.carried(middle, window, from_end=True)
            other = late.carried(middle, window, from_end=False)
            alike = float(iou(one[None], other[None])[0, 0])
            if alike >= _LEAST_IOU:
                pairs.append((alike, i, j))
    follows: dict[int, int] = {}
    for _, i, j in sorted(pairs, reverse=True):
        if i not in follows and j not in follows.values():
            follows[i] = j
    joined = []
    for first in sorted(set(range(len(pieces))) - set(follows.values())):
        whole, number = pieces[first], first
        while number in follows:
            number = follows[number]
            whole.frames += pieces[number].frames
            whole.boxes += pieces[number].boxes
            whole.scores += pieces[number].scores
        joined.append(whole)
    return joined
