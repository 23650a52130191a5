"""Instance masks relative to their boxes, from prototypes or as a network gives them.

Prototype masks are cut to the box by bilinear sampling. A box's sides are parallel to the axes, so
that sampling is one small matrix by rows and one by columns: only MatMul, which every engine has
and runs fast, where GridSample differs between opsets and is missing from some accelerators.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from perception_ros.bundles.graph.builder import GraphBuilder


def cut_to_boxes(
    g: GraphBuilder,
    whole: str,
    boxes: str,
    grid: tuple[int, int],
    size: tuple[int, int],
    cells: int,
) -> str:
    """Sample masks that lie over the whole input at `cells` x `cells` places of their boxes.

    :param whole: float32 [B, N, h, w].
    :param boxes: float32 [B, N, 4] in input pixels.
    :param grid: h and w.
    :param size: width and height of the input in pixels.
    :returns: float32 [B, N, cells, cells].
    """
    across = _sampling(g, boxes, 0, grid[1] / size[0], grid[1], cells)
    down = _sampling(g, boxes, 1, grid[0] / size[1], grid[0], cells)
    sampled = g.op('MatMul', down, whole)
    return g.op('MatMul', sampled, g.op('Transpose', across, perm=[0, 1, 3, 2]))


def _sampling(
    g: GraphBuilder, boxes: str, axis: int, scale: float, count: int, cells: int
) -> str:
    """Return weights [B, N, cells, count] that sample one axis of masks.

    Centre of cell j lies at low + (j + 0.5) / cells * (high - low); between the centres of two of
    the mask's own cells both count, and beyond the outermost the outermost.
    """
    low = g.slice(boxes, axis, axis + 1, axis=2)
    high = g.slice(boxes, axis + 2, axis + 3, axis=2)
    share = g.constant((np.arange(cells) + 0.5) / cells, np.float32)
    place = g.op('Add', low, g.op('Mul', g.op('Sub', high, low), share))
    place = g.op('Sub', g.op('Mul', place, g.scalar(scale)), g.scalar(0.5))
    place = g.op('Clip', place, g.scalar(0), g.scalar(count - 1))
    away = g.op('Sub', g.unsqueeze(place, 3), g.constant(np.arange(count), np.float32))
    return g.op('Relu', g.op('Sub', g.scalar(1), g.op('Abs', away)))


class MaskHead(Protocol):
    """What an instance mask is made of, box by box."""

    @property
    def rows(self) -> str:
        """Tensor [B, A, n] that is chosen along with the boxes."""
        ...

    def answer(self, g: GraphBuilder, boxes: str, rows: str) -> str:
        """Return masks [B, N, h, w], 0..1 relative to the box.

        :param boxes: chosen boxes [B, N, 4] in input pixels.
        :param rows: the chosen `rows` [B, N, n].
        """
        ...


@dataclass(frozen=True)
class PrototypeMasks:
    """Masks that are sums of prototypes, weighted for each box."""

    rows: str
    """Weights float32 [B, A, P]."""
    prototypes: str
    """float32 [B, P, h, w] over the whole input."""
    grid: tuple[int, int, int]
    """P, h and w."""
    size: tuple[int, int]
    """Width and height of the input in pixels."""
    cells: int
    """Rows and columns of an answer."""

    def answer(self, g: GraphBuilder, boxes: str, rows: str) -> str:
        """Return sigmoid(sampled sum of prototypes), [B, N, cells, cells]."""
        count, height, width = self.grid
        flat = g.op('Reshape', self.prototypes, g.constant([0, count, height * width], np.int64))
        whole = g.op('MatMul', rows, flat)
        whole = g.op('Reshape', whole, g.constant([0, 0, height, width], np.int64))
        inside = cut_to_boxes(g, whole, boxes, (height, width), self.size, self.cells)
        # ONNX Runtime's own approximation of the sigmoid ends one bit above 1.
        return g.op('Clip', g.op('Sigmoid', inside), g.scalar(0), g.scalar(1))


@dataclass(frozen=True)
class ReadyMasks:
    """Masks that the network gives as the contract wants them."""

    rows: str
    """float32 [B, A, h * w], 0..1."""
    height: int
    width: int

    def answer(self, g: GraphBuilder, boxes: str, rows: str) -> str:
        """Return them in two dimensions."""
        shape = g.constant([0, 0, self.height, self.width], np.int64)
        return g.op('Reshape', rows, shape)
