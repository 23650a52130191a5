"""Real images for an engine's input: spread over what is there, letterboxed as cameras' are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from perception_ros.bags import open_input
from perception_ros.bundles.manifest import InputInfo
from perception_ros.core.letterbox import Letterbox
from perception_ros.core.sources import Frame

Item = TypeVar('Item')


def read_pictures(path: Path, count: int) -> list[Frame]:
    """Return at most `count` pictures, BGR, from all over a folder, a video, a bag or a rig.

    :raises ImageError: there is none, or one cannot be read.
    """
    source = open_input(path, ('camera',))
    frames = (frame for frames in source.frame_sets() for frame in frames.values())
    return spread(frames, count)


def spread(items: Iterable[Item], count: int) -> list[Item]:
    """Return at most `count` items at even distances, and never hold more than twice as many."""
    kept: list[Item] = []
    stride = 1
    for index, item in enumerate(items):
        if index % stride:
            continue
        kept.append(item)
        if len(kept) == 2 * count:
            kept, stride = kept[::2], 2 * stride
    return [kept[i * len(kept) // count] for i in range(count)] if len(kept) > count else kept


def letterboxed(
    pictures: list[Frame], size: InputInfo
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return pictures as a bundle's input.

    :return: uint8 [n, H, W, 3] RGB; and int64 [n, 4], where in it the picture itself lies:
        (x1, y1, x2, y2) in input pixels.
    """
    batch = np.zeros((len(pictures), size.height, size.width, 3), np.uint8)
    return batch, np.array(list(_write(pictures, size, batch)), np.int64).reshape(-1, 4)


def _write(
    pictures: list[Frame], size: InputInfo, batch: NDArray[np.uint8]
) -> Iterator[tuple[int, int, int, int]]:
    for bgr, out in zip(pictures, batch, strict=True):
        height, width = bgr.shape[:2]
        fit = Letterbox.fit((width, height), (size.width, size.height), size.letterbox.policy)
        fit.write(bgr, cv2.COLOR_BGR2RGB, out)
        x, y = fit.offset
        yield x, y, x + fit.scaled_size[0], y + fit.scaled_size[1]
