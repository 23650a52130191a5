"""The frames to look at first: those that cost most, with what is true of them."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from perception_ros.bags.labelled import BOXES
from perception_ros.evaluation.datasets import TrueBoxes
from perception_ros.evaluation.matching import Verdict
from perception_ros.replay.answers import Key

MOST = 6
"""Frames of each output that are kept."""

NamedMask = tuple[NDArray[np.uint8], Sequence[str]]
"""Class ids [H, W], and their names."""


class Worst:
    """Keeps the frames of each output of a model that cost most, of equal ones the first."""

    def __init__(self) -> None:
        self._frames: dict[str, list[tuple[float, Key, dict[str, Any]]]] = {}

    def add_boxes(
        self, key: Key, said: Verdict, truth: TrueBoxes, classes: Sequence[str]
    ) -> None:
        """Look at the boxes of a frame: a miss costs 1, a false box its score."""
        if self._costs(BOXES, said.cost):
            known = [
                {'box': box.tolist(), 'class': None if crowd else classes[label]}
                for box, label, crowd in zip(truth.boxes, truth.labels, truth.crowd, strict=True)
            ]
            self._keep(BOXES, said.cost, key, {
                'missed': said.missed, 'false': len(said.false), 'truth': known,
            })

    def add_mask(
        self, key: Key, output: str, miou: float | None, truth: NamedMask, found: NamedMask
    ) -> None:
        """Look at a mask, which costs what its mean IoU lacks."""
        cost = 0.0 if miou is None else 1 - miou
        if self._costs(output, cost):
            self._keep(output, cost, key, {
                'mIoU': miou,
                'truth': {'png': _png(truth[0]), 'classes': list(truth[1])},
                'found': {'png': _png(found[0]), 'classes': list(found[1])},
            })

    def as_json(self) -> list[dict[str, Any]]:
        """Return them by output, the worst first, ready for JSON."""
        return [
            {'output': output, 'camera': key[0], 'stamp_ns': key[1], 'cost': cost, **said}
            for output, frames in self._frames.items() for cost, key, said in frames
        ]

    def _costs(self, output: str, cost: float) -> bool:
        kept = self._frames.get(output, [])
        return cost > 0 and (len(kept) < MOST or cost > kept[-1][0])

    def _keep(self, output: str, cost: float, key: Key, said: dict[str, Any]) -> None:
        kept = self._frames.setdefault(output, [])
        kept.append((cost, key, said))
        kept.sort(key=lambda item: -item[0])
        del kept[MOST:]


def read_png(text: str) -> NDArray[np.uint8]:
    """Return the class ids, [H, W], that a mask in JSON holds."""
    data = np.frombuffer(base64.b64decode(text), np.uint8)
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), np.uint8)


def _png(ids: NDArray[np.uint8]) -> str:
    return base64.b64encode(cv2.imencode('.png', ids)[1].tobytes()).decode('ascii')
