"""Draws the figures of all sides as bars, one panel a figure."""

from __future__ import annotations

from itertools import pairwise
import math

import numpy as np

from perception_ros.benchmarks.canvas import Canvas, Color, COLORS, FAINT, INK, Pixels, WIDTH
from perception_ros.benchmarks.grids import number
from perception_ros.benchmarks.live.reports import LiveReport, SoakReport
from perception_ros.benchmarks.live.tables import NAMES
from perception_ros.benchmarks.statistics import Spread
from perception_ros.core.errors import BenchmarkError

_DRAWN = ('results_per_s', 'delay_p99_ms', 'cpu_ms_per_frame')
_LEFT, _RIGHT, _TOP, _ROW, _BOTTOM = 330, 170, 70, 46, 50
_CURVE = 420
"""Height of the panel of memory over time, px."""


def draw(report: LiveReport) -> Pixels:
    """Return the picture, uint8 [H, W, 3] BGR as OpenCV writes it.

    :raises BenchmarkError: nothing was measured.
    """
    colors = {row.side: COLORS[n % len(COLORS)] for n, row in enumerate(report.rows)}
    panels = [
        _panel(NAMES[name], spreads, colors)
        for name in _DRAWN
        if (spreads := {
            row.side: value for row in report.rows if (value := getattr(row, name)) is not None
        })
    ]
    if isinstance(report, SoakReport) and len(report.samples) > 1:
        panels.append(_memory(report))
    if not panels:
        raise BenchmarkError('--plot: expected a side that was measured, got none')
    return np.vstack(panels)


def _panel(title: str, spreads: dict[str, Spread], colors: dict[str, Color]) -> Pixels:
    height = _TOP + _ROW * len(spreads) + _BOTTOM
    canvas = Canvas(height)
    canvas.write(title, _LEFT, 40, 1.0)
    ticks = _ticks(max(spread.p90 for spread in spreads.values()))

    def x(value: float) -> float:
        return _LEFT + value / ticks[-1] * (WIDTH - _LEFT - _RIGHT)

    for tick in ticks:
        canvas.line((x(tick), _TOP - 10), (x(tick), height - _BOTTOM + 10), FAINT, 1)
        canvas.write(number(tick), x(tick), height - 14, 0.65, align=0.5)
    for place, (side, spread) in enumerate(spreads.items()):
        top = _TOP + place * _ROW
        canvas.write(side, _LEFT - 20, top + 29, 0.75, align=1.0)
        canvas.box((_LEFT, top + 6), (x(spread.median), top + _ROW - 8), colors[side])
        middle = top + _ROW / 2 - 1
        canvas.line((x(spread.p10), middle), (x(spread.p90), middle), INK, 2)
        for end in (spread.p10, spread.p90):
            canvas.line((x(end), middle - 7), (x(end), middle + 7), INK, 2)
        canvas.write(number(spread.median), max(x(spread.p90), x(0)) + 14, top + 29, 0.75)
    return canvas.finished()


def _memory(report: SoakReport) -> Pixels:
    canvas = Canvas(_CURVE)
    canvas.write('memory, MB, over time, s', _LEFT, 40, 1.0)
    values = [sample.memory_bytes / 1e6 for sample in report.samples]
    ticks = _ticks(max(values))
    end_s = report.samples[-1].at_s

    def place(at_s: float, value: float) -> tuple[float, float]:
        return (
            _LEFT + at_s / end_s * (WIDTH - _LEFT - _RIGHT),
            _CURVE - _BOTTOM - value / ticks[-1] * (_CURVE - _TOP - _BOTTOM),
        )

    for tick in ticks:
        canvas.line(place(0, tick), place(end_s, tick), FAINT, 1)
        canvas.write(number(tick), _LEFT - 14, place(0, tick)[1] + 8, 0.65, align=1.0)
    points = [place(s.at_s, value) for s, value in zip(report.samples, values, strict=True)]
    for start, end in pairwise(points):
        canvas.line(start, end, COLORS[0], 2)
    canvas.write(number(end_s), *place(end_s, -0.09 * ticks[-1]), 0.65, align=1.0)
    return canvas.finished()


def _ticks(highest: float) -> list[float]:
    """Return round numbers from 0 to at least the highest value, four to ten of them."""
    if highest <= 0:
        return [0.0, 1.0]
    rough = highest / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = max(factor * power for factor in (1, 2, 5) if factor * power <= rough)
    return [step * index for index in range(math.ceil(highest / step) + 1)]
