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
        across = self._sampling(g, boxes, 0, width)
        down = self._sampling(g, boxes, 1, height)
        sampled = g.op('MatMul', down, whole)
        sampled = g.op('MatMul', sampled, g.op('Transpose', across, perm=[0, 1, 3, 2]))
        return g.op('Sigmoid', sampled)

    def _sampling(self, g: GraphBuilder, boxes: str, axis: int, count: int) -> str:
        """Return weights [B, N, cells, count] that sample one axis of the prototypes.

        Centre of cell j lies at low + (j + 0.5) / cells * (high - low); between the centres of two
        prototypes' cells both count, and beyond the outermost the outermost.
        """
        low = g.slice(boxes, axis, axis + 1, axis=2)
        high = g.slice(boxes, axis + 2, axis + 3, axis=2)
        share = g.constant((np.arange(self.cells) + 0.5) / self.cells, np.float32)
        place = g.op('Add', low, g.op('Mul', g.op('Sub', high, low), share))
        place = g.op('Mul', place, g.scalar(count / self.size[axis]))
        place = g.op('Sub', place, g.scalar(0.5))
        place = g.op('Clip', place, g.scalar(0), g.scalar(count - 1))
        away = g.op('Sub', g.unsqueeze(place, 3), g.constant(np.arange(count), np.float32))
        return g.op('Relu', g.op('Sub', g.scalar(1), g.op('Abs', away)))


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
