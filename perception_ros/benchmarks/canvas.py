"""A sheet to draw figures on with OpenCV, which is there wherever the package is."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Color = tuple[int, int, int]
Place = tuple[float, float]
"""x and y, px."""

WIDTH = 1600
"""Of a sheet, px."""
INK, FAINT, PAPER = (40, 40, 40), (214, 214, 214), (255, 255, 255)
COLORS: tuple[Color, ...] = (
    (0, 114, 178), (230, 159, 0), (0, 158, 115), (204, 121, 167), (86, 180, 233), (213, 94, 0),
)
"""Okabe and Ito's, which people with any colour vision can tell apart; red, green, blue."""
_FINER = 2
"""Drawn so many times as large, then shrunk: smooth edges."""


class Canvas:
    """A sheet `WIDTH` wide; all places and sizes are px of the finished picture."""

    def __init__(self, height: int) -> None:
        self._pixels: Pixels = np.full((height * _FINER, WIDTH * _FINER, 3), PAPER, np.uint8)

    def line(self, start: Place, end: Place, color: Color, width: int) -> None:
        """Draw a straight line."""
        places = [(round(x * _FINER), round(y * _FINER)) for x, y in (start, end)]
        cv2.line(self._pixels, places[0], places[1], color, width * _FINER, cv2.LINE_AA)

    def box(self, corner: Place, opposite: Place, color: Color) -> None:
        """Draw a filled box with an edge."""
        (x1, y1), (x2, y2) = (
            (round(x * _FINER), round(y * _FINER)) for x, y in (corner, opposite)
        )
        low, high = (min(x1, x2), min(y1, y2)), (max(x1, x2), max(y1, y2))
        cv2.rectangle(self._pixels, low, high, color, -1)
        cv2.rectangle(self._pixels, low, high, INK, 1)

    def write(self, text: str, x: float, y: float, size: float, *, align: float = 0.0) -> None:
        """Write a line; `align` is the share of its width that lies left of x."""
        font, thickness = cv2.FONT_HERSHEY_SIMPLEX, 2 * _FINER
        (width, _), _ = cv2.getTextSize(text, font, size * _FINER, thickness)
        place = (round(x * _FINER - align * width), round(y * _FINER))
        cv2.putText(
            self._pixels, text, place, font, size * _FINER, INK, thickness, cv2.LINE_AA
        )

    def finished(self) -> Pixels:
        """Return the picture, uint8 [H, W, 3] BGR as OpenCV writes it."""
        small = cv2.resize(
            self._pixels, None, fx=1 / _FINER, fy=1 / _FINER, interpolation=cv2.INTER_AREA
        )
        return np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2BGR), np.uint8)
