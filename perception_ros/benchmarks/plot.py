"""Draws how many times as fast as the reference each engine is, with the spread of the rounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import math

import numpy as np

from perception_ros.benchmarks.canvas import Canvas, Color, COLORS, FAINT, INK, Pixels, WIDTH
from perception_ros.benchmarks.report import EngineReport, EngineRow
from perception_ros.benchmarks.statistics import Spread
from perception_ros.core.errors import BenchmarkError

_PANEL, _LEGEND = 420, 60
"""Of a model's panel, of a row of the legend: px."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 110, 30, 60, 60
_BAR = 60
"""Greatest width, px."""
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
    return np.vstack([*panels, _legend(colors)])


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
        color = COLORS[backends.index(backend) % len(COLORS)]
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
    canvas = Canvas(_PANEL)

    def height(ratio: float) -> float:
        share = math.log2(max(ratio, scale[0]) / scale[0]) / math.log2(scale[-1] / scale[0])
        return _PANEL - _BOTTOM - share * (_PANEL - _TOP - _BOTTOM)

    canvas.write(f"{model}: images/s, times the reference's", _LEFT, 34, 1.0)
    for tick in scale:
        is_one = tick == 1
        ends = (_LEFT, height(tick)), (WIDTH - _RIGHT, height(tick))
        canvas.line(*ends, INK if is_one else FAINT, 2 if is_one else 1)
        canvas.write(f'{tick:g}', _LEFT - 14, height(tick) + 8, 0.7, align=1.0)
    batches = list(dict.fromkeys(row.batch for row in rows))
    room = (WIDTH - _LEFT - _RIGHT) / len(batches)
    bar = min(0.84 * room / len(colors), _BAR)
    for group, batch in enumerate(batches):
        middle = _LEFT + (group + 0.5) * room
        canvas.write(f'batch {batch}', middle, _PANEL - 18, 0.75, align=0.5)
        for place, (key, color) in enumerate(colors.items()):
            x = middle + (place - len(colors) / 2) * bar
            for row in rows:
                if row.batch == batch and _key(report, row) == key and row.images_ratio:
                    _bar(canvas, x, bar, row.images_ratio, color, height)
    return canvas.finished()


def _bar(
    canvas: Canvas,
    x: float,
    width: float,
    ratio: Spread,
    color: Color,
    height: Callable[[float], float],
) -> None:
    top, one = height(ratio.median), height(1.0)
    canvas.box((x + 0.08 * width, top), (x + 0.92 * width, one), color)
    centre = x + width / 2
    canvas.line((centre, height(ratio.p10)), (centre, height(ratio.p90)), INK, 2)
    for end in (ratio.p10, ratio.p90):
        canvas.line((centre - 6, height(end)), (centre + 6, height(end)), INK, 2)


def _legend(colors: dict[Key, Color]) -> Pixels:
    columns = 3
    height = _LEGEND * -(-len(colors) // columns) + 50
    canvas = Canvas(height)
    for index, ((backend, precision), color) in enumerate(colors.items()):
        row, column = divmod(index, columns)
        x, y = _LEFT + column * (WIDTH - _LEFT) / columns, 20 + row * _LEGEND
        canvas.box((x, y), (x + 36, y + 26), color)
        canvas.write(f'{backend}, {precision}', x + 50, y + 22, 0.75)
    note = 'Reference: ONNX Runtime on the CPU at FP32, same batch. Whiskers: eight of ten rounds.'
    canvas.write(note, _LEFT, height - 18, 0.65)
    return canvas.finished()
