"""Frames, images and bundles for tests, each in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perception_ros.bundles.bundle import Bundle
from perception_ros.bundles.manifest import Manifest
from perception_ros.core.image import Image
from perception_ros.core.types import Frame, FrameSet

MS = 1_000_000
"""Nanoseconds in a millisecond."""

COLOURS = {'red': (255, 0, 0), 'green': (0, 255, 0), 'blue': (0, 0, 255)}
"""What the fake engine sees as class 0, 1 and 2."""


def picture(
    width: int = 64, height: int = 48, **boxes: tuple[int, int, int, int]
) -> NDArray[np.uint8]:
    """Return grey RGB pixels [H, W, 3] with a rectangle (x1, y1, x2, y2) for each colour named."""
    pixels = np.full((height, width, 3), 114, np.uint8)
    for colour, (x1, y1, x2, y2) in boxes.items():
        pixels[y1:y2, x1:x2] = COLOURS[colour]
    return pixels


def frame(
    camera: str = 'front',
    stamp_ms: float = 1000.0,
    received_ms: float | None = None,
    pixels: NDArray[np.uint8] | None = None,
) -> Frame:
    """Return a frame; it is received at its stamp unless said otherwise."""
    return Frame(
        camera=camera,
        stamp_ns=round(stamp_ms * MS),
        received_ns=round((stamp_ms if received_ms is None else received_ms) * MS),
        image=Image.from_array(picture() if pixels is None else pixels),
        frame_id=f'{camera}_optical',
    )


def frame_set(*frames: Frame, matched_ms: float = 1000.0) -> FrameSet:
    """Return a set of these frames."""
    return FrameSet(frames, (), round(matched_ms * MS))


def manifest(**changes: Any) -> Manifest:
    """Return a manifest with three classes and one semantic head; `changes` replace its keys."""
    classes = [{'name': name, 'color': rgb} for name, rgb in COLOURS.items()]
    values: dict[str, Any] = {
        'schema_version': 1,
        'name': 'colours',
        'description': 'Sees red, green and blue rectangles',
        'input': {'width': 96, 'height': 64},
        'detection': {'classes': classes, 'max_detections': 8, 'score_threshold': 0.3},
        'semantic': {
            'ground': {'stride': 1, 'classes': [*classes, {'name': 'other', 'color': (9, 9, 9)}]}
        },
        'graph': {'file': 'model.onnx', 'sha256': '0' * 64},
        'provenance': {'source': 'test', 'data': 'none'},
        'licence': {'weights': 'Apache-2.0', 'data': 'none'},
    }
    return Manifest.model_validate(values | changes)


def fake_bundle(**changes: Any) -> Bundle:
    """Return a bundle for the fake engine, which needs no graph."""
    return Bundle(Path('colours'), manifest(**changes))
