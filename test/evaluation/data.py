"""Small labelled data for tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from test.builders import picture

Row = tuple[float, float, float, float, float]


def write_yolo(
    root: Path, labels: Mapping[str, Sequence[Row]], names: Sequence[str] = (), split: str = ''
) -> Path:
    """Write an image of 96x64 px for each name, with its lines `class cx cy w h`."""
    images, texts = root / split / 'images', root / split / 'labels'
    images.mkdir(parents=True)
    texts.mkdir()
    for name, rows in labels.items():
        assert cv2.imwrite(str(images / f'{name}.png'), picture(96, 64))
        text = '\n'.join(' '.join(f'{value:g}' for value in row) for row in rows)
        (texts / f'{name}.txt').write_text(text)
    if names:
        (root / 'classes.txt').write_text('\n'.join(names))
    return root


def write_masks(
    root: Path, rgb: Mapping[str, NDArray[np.uint8]], ids: Mapping[str, NDArray[np.uint8]],
    names: Sequence[str] = (),
) -> Path:
    """Write images and masks of the same names."""
    (root / 'images').mkdir(parents=True)
    (root / 'labels').mkdir()
    for name, pixels in rgb.items():
        bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
        assert cv2.imwrite(str(root / 'images' / f'{name}.png'), bgr)
        assert cv2.imwrite(str(root / 'labels' / f'{name}.png'), ids[name])
    if names:
        (root / 'classes.txt').write_text('\n'.join(names))
    return root
