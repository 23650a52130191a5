"""Curves as SVG that takes ink and font from the page around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import io
import re
import warnings

import matplotlib as mpl
from matplotlib.figure import Figure
import numpy as np

# Okabe and Ito's colours, which people with any colour vision can tell apart; the blue is lighter,
# so that it can be seen on dark pages too, and grey takes the place of their second blue.
COLOURS = ('#1f88c9', '#e69f00', '#009e73', '#d55e00', '#cc79a7', '#868d96')
DASHES = ('-', '--', ':', '-.')
_INK = '#010203'
"""Stands for the page's own ink until the SVG is written."""
_SIZE_INCH = (4.7, 2.9)
_WIDTH_PT = 72 * _SIZE_INCH[0]
_MOST_POINTS = 600


@dataclass(frozen=True)
class Line:
    """A named curve; x and y are as long as each other."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    faint: bool = False
    """Noise behind another line; it has no entry in the legend."""
    marks: bool = False
    """Whether its points are shown: few of them were measured."""


def curves(lines: Sequence[Line], x: str, y: str, *, share: bool = False,
           share_x: bool = False) -> str:
    """
    Draw curves with axes, and a legend where there is more than one.

    :param x, y: what the axes say, with their unit.
    :param share: whether y lies in 0..1, all of which is shown; the same for x.
    """
    with warnings.catch_warnings(), mpl.rc_context({
        'svg.fonttype': 'none', 'svg.hashsalt': f'{x}{y}{[line.name for line in lines]}',
        'font.size': 8, 'text.color': _INK, 'axes.edgecolor': _INK, 'axes.labelcolor': _INK,
        'text.parse_math': False, 'xtick.color': _INK,
        'ytick.color': _INK, 'axes.spines.top': False, 'axes.spines.right': False,
        'legend.frameon': False,
    }):
        # The page's own font draws what the one that measures lacks.
        warnings.filterwarnings('ignore', 'Glyph', UserWarning)
        figure = Figure(figsize=_SIZE_INCH, layout='constrained')
        axes = figure.subplots()
        named = [line.name for line in lines if not line.faint]
        for line in lines:
            place = named.index(line.name) if line.name in named else 0
            colour = COLOURS[place % len(COLOURS)]
            dash = DASHES[place // len(COLOURS) % len(DASHES)]
            step = max(len(line.x) // _MOST_POINTS, 1)
            axes.plot(line.x[::step], line.y[::step], dash, color=colour,
                      alpha=0.3 if line.faint else 1.0, linewidth=0.8 if line.faint else 1.6,
                      marker='o' if line.marks else None, markersize=3,
                      label='_' if line.faint else _entry(line.name))
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        axes.grid(color=_INK, alpha=0.13, linewidth=0.6)
        if share:
            axes.set_ylim(0, 1.02)
        if share_x:
            axes.set_xlim(0, 1)
        if len(named) > 1:
            # What does not fit would be wider than the picture, and the axes narrower for it.
            columns = int(_WIDTH_PT // (44 + 4 * max(map(len, named))))
            axes.legend(loc='upper center', bbox_to_anchor=(0.5, -0.2),
                        ncols=min(max(columns, 1), 3), fontsize=7.5, handlelength=2.4)
        return _svg(figure)


def _entry(name: str) -> str:
    """Give a name as the legend shows it, which leaves out those that begin with _."""
    return f' {name}' if name.startswith('_') else name


def smoothed(values: Sequence[float], window: int) -> list[float]:
    """Give the mean of the last values at each place."""
    sums = np.cumsum(np.concatenate([[0.0], np.asarray(values, float)]))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - window, 0)
    found: list[float] = ((sums[ends] - sums[starts]) / (ends - starts)).tolist()
    return found


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format='svg', transparent=True, metadata={
        'Date': None, 'Creator': None, 'Format': None, 'Type': None})
    text = buffer.getvalue()
    text = text[text.index('<svg'):]
    text = re.sub(r'<metadata>.*?</metadata>', '', text, flags=re.DOTALL)
    # Its rules would hold for the whole page.
    text = re.sub(r'<style.*?</style>', '', text, flags=re.DOTALL)
    # Names of groups would be there once for each picture of a page; nothing refers to them.
    text = re.sub(r'<g id="[^"]*"', '<g', text)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r'\1', text, count=1, flags=re.DOTALL)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r'\1', text, count=1, flags=re.DOTALL)
    text = re.sub(r"'DejaVu Sans'(, [^;\"]*)?", 'inherit', text)
    text = re.sub(r'\n\s*', '\n', text)
    return text.replace(_INK, 'currentColor')
