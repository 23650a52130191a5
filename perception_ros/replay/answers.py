"""What a model said about each frame of a finished run, read from its tables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from perception_ros.core.types import DropReason
from perception_ros.replay.tables import DETECTIONS, FRAMES, INFERRED, MISSING, read_rows

Key = tuple[str, int]
"""Camera and stamp of a frame."""

_LEFT_OUT = frozenset({
    DropReason.RATE.value, DropReason.UNWANTED.value, DropReason.DUPLICATE.value,
})
"""Reasons for which a frame is not looked at on purpose, or has been already."""


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What a model said about a frame.

    size: width and height in pixels, (1, 1) where it was dropped; boxes: float64 [N, 4] x1, y1,
    x2, y2 in pixels; scores: float64 [N]; classes: names [N].
    """

    key: Key
    size: tuple[int, int]
    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    classes: tuple[str, ...]
    is_result: bool = True
    """Whether it said anything: not about a frame that was dropped."""


def answers(folder: Path, model: str) -> Iterator[Answer]:
    """Yield what the model said about each frame that it was to look at, once a frame.

    Frames that were dropped come last, with nothing found.

    :raises ReplayError: there are no such tables.
    """
    found = read_rows(
        folder / f'{DETECTIONS}.parquet', ('class', 'score', 'x1', 'y1', 'x2', 'y2')
    )
    seen: set[Key] = set()
    silent: dict[Key, None] = {}
    columns = (
        'camera', 'stamp_ns', 'model', 'outcome', 'reason', 'width', 'height', 'detections'
    )
    frames = read_rows(folder / f'{FRAMES}.parquet', columns)
    for camera, stamp_ns, its_model, outcome, reason, width, height, count in frames:
        rows = list(islice(found, count or 0))  # both tables have the same order
        key = camera, stamp_ns
        if its_model not in ('', model) or outcome == MISSING or key in seen:
            continue
        if outcome == INFERRED:
            seen.add(key)
            yield Answer(
                key, (width, height), np.array([row[2:] for row in rows]).reshape(-1, 4),
                np.array([row[1] for row in rows]), tuple(row[0] for row in rows),
            )
        elif reason not in _LEFT_OUT:
            silent[key] = None
    for key in silent:
        if key not in seen:
            yield Answer(key, (1, 1), np.zeros((0, 4)), np.zeros(0), (), is_result=False)
