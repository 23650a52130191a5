"""How well tracks keep to what they follow: MOTA, IDF1, HOTA and switches of ids, by TrackEval.

What is hidden, far or too small to be asked for may be followed or not: as MOTChallenge has it, a
track that is on such a thing is taken out before anything is counted.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from perception_ros.core.errors import DatasetError

SAME = 0.5
"""Least likeness of a track and what it follows: IoU of boxes, or what `nearness` says."""
REACH_M = 2.0
"""How far off a track in space may be, over the ground: nuScenes' rule."""


class TrackFigures(BaseModel):
    """Of all sequences together.

    boxes: how often something was to be followed; missed: of these, how often nothing did; false:
    how often a track followed nothing; switches: how often a thing got another id than it last
    had.
    """

    objects: int
    boxes: int
    mota: float
    idf1: float
    hota: float
    switches: int
    missed: int
    false: int


class TrackScorer:
    """Gathers frames of one sequence after the other, then measures all at once.

    :raises DatasetError: the library is not installed.
    """

    def __init__(self) -> None:
        self._library = library()
        self._sequences: dict[str, _Sequence] = {}

    def add(
        self,
        sequence: str,
        true_ids: Sequence[Hashable],
        asked: NDArray[np.bool_],
        found_ids: Sequence[Hashable],
        likeness: NDArray[np.float64],
    ) -> dict[int, int]:
        """Add a frame, and return which found thing is which true one, where they are alike.

        :param asked: bool [N], which of the true things count.
        :param likeness: float64 [N, M] of true and found things, 0..1.
        """
        pairs = _pairs(likeness)
        on_hidden = [column for row, column in pairs if not asked[row]]
        kept = np.delete(np.arange(len(found_ids)), on_hidden)
        self._sequences.setdefault(sequence, _Sequence()).add(
            [true_ids[row] for row in np.nonzero(asked)[0].tolist()],
            [found_ids[column] for column in kept.tolist()],
            likeness[asked][:, kept],
        )
        return {column: row for row, column in pairs if asked[row]}

    def result(self) -> TrackFigures:
        """Measure what was added."""
        data = {name: item.data() for name, item in self._sequences.items()}
        measured = {
            name: _measure(metric, data) for name, metric in (
                ('clear', self._library.CLEAR({'THRESHOLD': SAME, 'PRINT_CONFIG': False})),
                ('identity', self._library.Identity({'THRESHOLD': SAME, 'PRINT_CONFIG': False})),
                ('hota', self._library.HOTA()),
            )
        }
        clear = measured['clear']
        return TrackFigures(
            objects=sum(item['num_gt_ids'] for item in data.values()),
            boxes=sum(item['num_gt_dets'] for item in data.values()),
            mota=float(clear['MOTA']),
            idf1=float(measured['identity']['IDF1']),
            hota=float(np.mean(measured['hota']['HOTA'])),
            switches=int(clear['IDSW']),
            missed=int(clear['CLR_FN']),
            false=int(clear['CLR_FP']),
        )


class _Sequence:
    """Frames of one sequence, as the library wants them: ids are numbers without gaps."""

    def __init__(self) -> None:
        self._true: dict[Hashable, int] = {}
        self._found: dict[Hashable, int] = {}
        self._frames: list[tuple[Any, Any, NDArray[np.float64]]] = []

    def add(
        self,
        true_ids: Iterable[Hashable],
        found_ids: Iterable[Hashable],
        likeness: NDArray[np.float64],
    ) -> None:
        self._frames.append((
            _numbered(true_ids, self._true), _numbered(found_ids, self._found), likeness
        ))

    def data(self) -> dict[str, Any]:
        true, found, likeness = zip(*self._frames, strict=True)
        return {
            'num_timesteps': len(self._frames),
            'num_gt_ids': len(self._true), 'num_gt_dets': sum(map(len, true)), 'gt_ids': true,
            'num_tracker_ids': len(self._found), 'num_tracker_dets': sum(map(len, found)),
            'tracker_ids': found, 'similarity_scores': likeness,
        }


def iou(boxes: NDArray[np.floating], others: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return intersection over union [N, M] of boxes [N, 4] and [M, 4] as x1, y1, x2, y2."""
    mine, theirs = boxes[:, None].astype(np.float64), others[None].astype(np.float64)
    sides = np.minimum(mine[..., 2:], theirs[..., 2:]) - np.maximum(mine[..., :2], theirs[..., :2])
    shared = sides.clip(min=0).prod(axis=-1)
    areas = (mine[..., 2:] - mine[..., :2]).prod(axis=-1) + (
        theirs[..., 2:] - theirs[..., :2]
    ).prod(axis=-1)
    return np.asarray(shared / np.maximum(areas - shared, np.finfo(float).tiny))


def nearness(places: NDArray[np.floating], others: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return how near places [N, 2] and [M, 2] are: 1 at the same one, `SAME` at `REACH_M`."""
    off_m = np.hypot(*np.moveaxis(places[:, None] - others[None], -1, 0))
    return np.asarray((1 - off_m * (1 - SAME) / REACH_M).clip(min=0.0))


def library() -> Any:
    """Return the metrics of the library.

    :raises DatasetError: it is not installed.
    """
    try:
        from trackeval import metrics
    except ImportError as error:
        raise DatasetError(
            f'tracks cannot be measured here: {error}; pip install trackeval, or the extra '
            'perception_ros[tracking]'
        ) from error
    return metrics


def _measure(metric: Any, data: dict[str, dict[str, Any]]) -> dict[str, Any]:
    results = {name: metric.eval_sequence(item) for name, item in data.items()}
    combined: dict[str, Any] = metric.combine_sequences(results)
    return combined


def _pairs(likeness: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Return which row goes with which column so that all together are most alike."""
    from scipy.optimize import linear_sum_assignment

    enough = np.where(likeness >= SAME, likeness, 0.0)
    rows, columns = linear_sum_assignment(enough, maximize=True)
    return [
        (int(row), int(column)) for row, column in zip(rows, columns, strict=True)
        if enough[row, column]
    ]


def _numbered(ids: Iterable[Hashable], known: dict[Hashable, int]) -> NDArray[np.intp]:
    return np.array([known.setdefault(name, len(known)) for name in ids], np.intp)
