"""Boxes as Foxglove draws them over an image: foxglove_msgs/ImageAnnotations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perception_ros.bags.types import standard

ANNOTATIONS = 'foxglove_msgs/msg/ImageAnnotations'

_LINE_LOOP = 2
_THICKNESS_PX = 2.0
_FONT_PX = 14.0


def image_annotations(
    head: Any,
    boxes: NDArray[np.floating[Any]],
    texts: Sequence[str],
    colors: Sequence[tuple[int, int, int]],
) -> Any:
    """Return an ImageAnnotations message.

    :param head: the image's header.
    :param boxes: [N, 4] x1, y1, x2, y2 in pixels; Foxglove's (0, 0) is ours, the outer corner of
        the first pixel.
    :param texts: [N], what is written above each box.
    :param colors: [N], red, green, blue.
    """
    points, labels = [], []
    for (x1, y1, x2, y2), text, rgb in zip(boxes.tolist(), texts, colors, strict=True):
        color = _color(rgb)
        points.append(_make(
            'PointsAnnotation', timestamp=head.stamp, type=_LINE_LOOP,
            points=[_point(*corner) for corner in ((x1, y1), (x2, y1), (x2, y2), (x1, y2))],
            outline_color=color, outline_colors=[], fill_color=_color((0, 0, 0), 0.0),
            thickness=_THICKNESS_PX,
        ))
        labels.append(_make(
            'TextAnnotation', timestamp=head.stamp, position=_point(x1, y1), text=text,
            font_size=_FONT_PX, text_color=_color((255, 255, 255)), background_color=color,
        ))
    return _make('ImageAnnotations', circles=[], points=points, texts=labels)


def _point(x: float, y: float) -> Any:
    return _make('Point2', x=x, y=y)


def _color(rgb: tuple[int, int, int], opacity: float = 1.0) -> Any:
    red, green, blue = (value / 255 for value in rgb)
    return _make('Color', r=red, g=green, b=blue, a=opacity)


def _make(name: str, /, **fields: Any) -> Any:
    return standard().types[f'foxglove_msgs/msg/{name}'](**fields)
