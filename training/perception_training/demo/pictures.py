"""Pictures of a segmenter's answers beside the truth."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from perception_ros.core.overlay import draw_legend, draw_semantic
from perception_ros.core.types import SemanticMask
from perception_training.errors import TrainingError

Pixels = NDArray[np.uint8]
Colours = Sequence[tuple[int, int, int]]
LEAST_WIDTH_PX = 480
_TITLE_PX = 28


def beside(image: Pixels, maps: Mapping[str, Pixels], names: tuple[str, ...],
           colours: Colours) -> Pixels:
    """
    Put an image and what label maps paint on it side by side, under their titles.

    :param image: uint8 `[H, W, 3]` RGB.
    :param maps: title -> uint8 `[H, W]` class ids.
    """
    scale = max(1, -(-LEAST_WIDTH_PX // image.shape[1]))
    large = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    panels = [_titled('image', large.copy())]
    for title, ids in maps.items():
        panel, mask = large.copy(), SemanticMask(ids, names)
        draw_semantic(panel, mask, tuple(colours), 0.6)
        draw_legend(panel, {'': mask}, {'': tuple(colours)})
        panels.append(_titled(title, panel))
    return np.hstack(panels)


def write_jpeg(path: Path, image: Pixels) -> None:
    """
    Write uint8 `[H, W, 3]` RGB as JPEG.

    :raises TrainingError: it cannot be written.
    """
    if not cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR)):
        raise TrainingError(f'{path}: cannot be written; is there room?')


def _titled(title: str, panel: Pixels) -> Pixels:
    bar = np.full((_TITLE_PX, panel.shape[1], 3), 24, np.uint8)
    cv2.putText(bar, title, (8, _TITLE_PX - 9), cv2.FONT_HERSHEY_DUPLEX, 0.55, (235, 235, 235), 1,
                cv2.LINE_AA)
    return np.vstack((bar, panel))
