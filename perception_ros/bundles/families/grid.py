"""What families with a grid of cells have in common: which output it is, and which strides."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from perception_ros.bundles.families.base import grid_cells
from perception_ros.bundles.graph.foreign import ForeignGraph

STRIDES = ((8, 16, 32), (8, 16, 32, 64), (4, 8, 16, 32), (16, 32))
"""Sets of levels that detectors have: the usual three, one more, or one finer; or two, as tiny
ones."""


def only_rows(foreign: ForeignGraph) -> str | None:
    """Return the only output that is a table, [B, m, n]; None if there are more or none."""
    tables = [name for name, shape in foreign.outputs.items() if len(shape) == 2]
    return tables[0] if len(tables) == 1 else None


def prototypes_of(foreign: ForeignGraph) -> tuple[str, tuple[int, int, int]] | None:
    """Return the only output [B, P, h, w] that may hold mask prototypes, with P, h and w."""
    maps = {name: shape for name, shape in foreign.outputs.items() if len(shape) == 3}
    if len(maps) != 1:
        return None
    ((name, shape),) = maps.items()
    count, height, width = shape
    fits = foreign.width * height == foreign.height * width
    return (name, (count, height, width)) if fits and 8 <= count <= 256 else None


def grid_of(
    size: tuple[int, int], rows: int, *, boxes: int = 1, up: bool = False
) -> tuple[int, ...] | None:
    """Return the strides whose cells, `boxes` to each, make that many rows."""
    for strides in STRIDES:
        if rows == boxes * grid_cells(size, strides, up=up) and rows:
            return strides
    return None


def centres_are_decoded(rows: NDArray[np.float32], size: tuple[int, int]) -> bool:
    """Say whether the first two numbers of the rows are places in pixels.

    Offsets from a cell stay within a few units, while places are spread over the input. How near
    a place is to its own cell says less: for noise, networks draw boxes far beyond their cells.
    """
    return bool((np.median(np.abs(rows[:, :2]), axis=0) > np.array(size) / 8).all())
