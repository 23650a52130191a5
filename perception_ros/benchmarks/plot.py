"""Draws how many times as fast as the reference each engine is, with the spread of the rounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import math

import cv2
import numpy as np
from numpy.typing import NDArray

from perception_ros.benchmarks.report import EngineReport, EngineRow
from perception_ros.benchmarks.statistics import Spread
from perception_ros.core.errors import BenchmarkError

Pixels = NDArray[np.uint8]
Color = tuple[int, int, int]

_WIDTH, _PANEL, _LEGEND = 1600, 420, 60
"""Of the picture, of a model's panel, of a row of the legend: px."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 110, 30, 60, 60
_BAR = 60
"""Greatest width, px."""
_FINER = 2
"""Drawn so many times as large, then shrunk: smooth edges."""
_INK, _FAINT, _PAPER = (40, 40, 40), (214, 214, 214), (255, 255, 255)
_COLORS: tuple[Color, ...] = (
    (0, 114, 178), (230, 159, 0), (0, 158, 115), (204, 121, 167), (86, 180, 233), (213, 94, 0),
)
"""Okabe and Ito's, which people with any colour vision can tell apart; red, green, blue."""
_SHADES = {'fp32': 1.0, 'fp16': 0.65, 'int8': 0.35}
"""How strong a backend's colour is at each precision."""

Key = tuple[str, str]
"""Backend and precision: what has a colour."""


def draw(report: EngineReport) -> Pixels:
    """Return the picture, uint8 [H, W, 3] BGR as OpenCV writes it.

    :raises BenchmarkError: there is nothing that can be compared.
    """
    rows = [row for row in report.rows if row.images_ratio and not report.is_reference(row)]
    if not rows:
        raise BenchmarkError('--plot: expected something to compare with the reference, got none')
    colors = _colors(list(dict.fromkeys(_key(report, row) for row in rows)))
    scale = ticks([row.images_ratio for row in rows if row.images_ratio])
    panels = [
        _panel(model, found, report, colors, scale)
        for model in report.models
        if (found := [row for row in rows if report.bundle(row.bundle).model == model])
    ]
    sheet = np.vstack([*panels, _legend(colors)])
    small = cv2.resize(sheet, None, fx=1 / _FINER, fy=1 / _FINER, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2BGR), np.uint8)


def ticks(spreads: Sequence[Spread]) -> list[float]:
    """Return powers of two that hold all spreads and 1."""
    low = min(1.0, *(spread.p10 for spread in spreads))
    high = max(1.0, *(spread.p90 for spread in spreads))
    first = math.floor(math.log2(max(low, 1e-3)))
    last = max(math.ceil(math.log2(high)), first + 1)
    return [2.0**power for power in range(first, last + 1)]


def _key(report: EngineReport, row: EngineRow) -> Key:
    return row.backend, report.bundle(row.bundle).precision


def _colors(keys: Sequence[Key]) -> dict[Key, Color]:
    backends = list(dict.fromkeys(backend for backend, _ in keys))
    found = {}
    for backend, precision in keys:
        color = _COLORS[backends.index(backend) % len(_COLORS)]
        shade = _SHADES[precision]
        red, green, blue = (round(255 - (255 - part) * shade) for part in color)
        found[(backend, precision)] = (red, green, blue)
    return found


def _panel(
    model: str,
    rows: list[EngineRow],
    report: EngineReport,
    colors: dict[Key, Color],
    scale: list[float],
) -> Pixels:
    canvas = _blank(_PANEL)

    def height(ratio: float) -> float:
        share = math.log2(max(ratio, scale[0]) / scale[0]) / math.log2(scale[-1] / scale[0])
        return _PANEL - _BOTTOM - share * (_PANEL - _TOP - _BOTTOM)

    _write(canvas, f"{model}: images/s, times the reference's", _LEFT, 34, 1.0)
    for tick in scale:
        is_one = tick == 1
        _line(canvas, (_LEFT, height(tick)), (_WIDTH - _RIGHT, height(tick)),
              _INK if is_one else _FAINT, 2 if is_one else 1)
        _write(canvas, f'{tick:g}', _LEFT - 14, height(tick) + 8, 0.7, align=1.0)
    batches = list(dict.fromkeys(row.batch for row in rows))
    room = (_WIDTH - _LEFT - _RIGHT) / len(batches)
    bar = min(0.84 * room / len(colors), _BAR)
    for group, batch in enumerate(batches):
        middle = _LEFT + (group + 0.5) * room
        _write(canvas, f'batch {batch}', middle, _PANEL - 18, 0.75, align=0.5)
        for place, (key, color) in enumerate(colors.items()):
            x = middle + (place - len(colors) / 2) * bar
            for row in rows:
                if row.batch == batch and _key(report, row) == key and row.images_ratio:
                    _bar(canvas, x, bar, row.images_ratio, color, height)
    return canvas


def _bar(
    canvas: Pixels,
    x: float,
    width: float,
    ratio: Spread,
    color: Color,
    height: Callable[[float], float],
) -> None:
    top, one = height(ratio.median), height(1.0)
    corners = (x + 0.08 * width, top), (x + 0.92 * width, one)
    (left, up), (right, down) = (tuple(round(v * _FINER) for v in corner) for corner in corners)
    cv2.rectangle(canvas, (left, min(up, down)), (right, max(up, down)), color, -1)
    cv2.rectangle(canvas, (left, min(up, down)), (right, max(up, down)), _INK, 1)
    centre = x + width / 2
    _line(canvas, (centre, height(ratio.p10)), (centre, height(ratio.p90)), _INK, 2)
    for end in (ratio.p10, ratio.p90):
        _line(canvas, (centre - 6, height(end)), (centre + 6, height(end)), _INK, 2)


def _legend(colors: dict[Key, Color]) -> Pixels:
    columns = 3
    canvas = _blank(_LEGEND * -(-len(colors) // columns) + 50)
    for index, ((backend, precision), color) in enumerate(colors.items()):
        row, column = divmod(index, columns)
        x, y = _LEFT + column * (_WIDTH - _LEFT) / columns, 20 + row * _LEGEND
        start, end = ((round(a * _FINER), round(b * _FINER)) for a, b in
                      ((x, y), (x + 36, y + 26)))
        cv2.rectangle(canvas, start, end, color, -1)
        cv2.rectangle(canvas, start, end, _INK, 1)
        _write(canvas, f'{backend}, {precision}', x + 50, y + 22, 0.75)
    note = 'Reference: ONNX Runtime on the CPU at FP32, same batch. Whiskers: eight of ten rounds.'
    _write(canvas, note, _LEFT, canvas.shape[0] / _FINER - 18, 0.65)
    return canvas


def _blank(height: int) -> Pixels:
    return np.full((height * _FINER, _WIDTH * _FINER, 3), _PAPER, np.uint8)


def _line(
    canvas: Pixels,
    start: tuple[float, float],
    end: tuple[float, float],
    color: Color,
    width: int,
) -> None:
    places = [(round(x * _FINER), round(y * _FINER)) for x, y in (start, end)]
    cv2.line(canvas, places[0], places[1], color, width * _FINER, cv2.LINE_AA)


def _write(
    canvas: Pixels, text: str, x: float, y: float, size: float, *, align: float = 0.0
) -> None:
    """Write a line; `align` is the share of its width that lies left of x."""
    font, thickness = cv2.FONT_HERSHEY_SIMPLEX, 2 * _FINER
    (width, _), _ = cv2.getTextSize(text, font, size * _FINER, thickness)
    place = (round(x * _FINER - align * width), round(y * _FINER))
    cv2.putText(canvas, text, place, font, size * _FINER, _INK, thickness, cv2.LINE_AA)
