"""NanoDet and NanoDet-Plus: class probabilities, then distributions of distances to the sides."""

from __future__ import annotations

import numpy as np

from perception_ros.bundles import recipe
from perception_ros.bundles.families.base import (
    add_detection,
    Candidates,
    chosen,
    Match,
    Plan,
    probabilities,
    refuse,
)
from perception_ros.bundles.families.grid import grid_of, only_rows
from perception_ros.bundles.families.semantic import add_remaining_heads
from perception_ros.bundles.graph.assemble import behind
from perception_ros.bundles.graph.decode import best_class, decode_nanodet
from perception_ros.bundles.graph.foreign import ForeignGraph
from perception_ros.bundles.graph.nms import Selection
from perception_ros.bundles.graph.preprocess import PixelFormat
from perception_ros.bundles.manifest import LetterboxInfo
from perception_ros.bundles.options import ImportOptions

_BINS = (8, 17, 11, 16, 33)
"""Steps of a distance, the usual number first."""


class NanoDet:
    """One output [B, A, C + 4 * bins] over strides 8, 16, 32, and 64 for NanoDet-Plus."""

    name = 'nanodet'
    pixels = PixelFormat('bgr', 1.0, (103.53, 116.28, 123.675), (57.375, 57.12, 58.395))
    letterbox = LetterboxInfo()
    selection = Selection(nms_iou=0.6)

    def recognise(self, foreign: ForeignGraph) -> Match:
        """Probabilities first, and behind them four times the bins of logits."""
        output = only_rows(foreign)
        if output is None:
            return Match.no('not exactly one output [B, A, n]')
        anchors, width = foreign.outputs[output]
        strides = grid_of((foreign.width, foreign.height), anchors, up=True)
        bins = _bins(foreign, output)
        if strides is None:
            return Match.no(f'{output!r} has not one row for each cell of a grid')
        if bins is None:
            return Match.no(f'{output!r} has no distance distributions behind probabilities')
        return Match(
            0.95,
            f'{output!r} has one row for each of the {anchors} cells of strides {strides}: '
            f'{width - 4 * bins} probabilities, then 4 x {bins} logits',
        )

    def plan(self, foreign: ForeignGraph, options: ImportOptions) -> Plan:
        """Make boxes of the expected distances, and suppress."""
        output = only_rows(foreign)
        bins = _bins(foreign, output) if output else None
        size = (foreign.width, foreign.height)
        expected = 'one output [B, A, classes + 4 * bins], probabilities then logits'
        if output is None or bins is None:
            raise refuse(self.name, expected, foreign)
        anchors, width = foreign.outputs[output]
        strides = options.strides or grid_of(size, anchors, up=True)
        if strides is None:
            raise refuse(self.name, expected, foreign, 'the number of rows fits no known strides')
        classes = width - 4 * bins
        # NanoDet-Plus measures from the cell's corner, the first NanoDet from its centre.
        offset = 0.5 if len(strides) == 3 else 0.0
        cells, steps = [], []
        for stride in strides:
            rows, columns = np.mgrid[: -(-size[1] // stride), : -(-size[0] // stride)]
            cells.append(np.stack((columns, rows), axis=-1).reshape(-1, 2))
            steps.append(np.full((len(cells[-1]), 1), stride, np.float32))
        stride_of = np.concatenate(steps)
        if len(stride_of) != anchors:
            raise refuse(
                self.name, f'{len(stride_of)} rows for strides {strides}', foreign,
                'are these its strides?',
            )
        centres = ((np.concatenate(cells) + offset) * stride_of).astype(np.float32)
        selection = chosen(self.selection, options.selection)
        plan = Plan(foreign)
        g = plan.nodes
        raw = behind(g, output)
        scores, labels = best_class(g, g.slice(raw, 0, classes, axis=2))
        distances = g.slice(raw, classes, width, axis=2)
        boxes = decode_nanodet(g, distances, bins, centres, stride_of)
        found = Candidates(boxes, scores, labels, anchors)
        add_detection(plan, found, selection, options, classes)

        def boxes_of(raw: recipe.Raw) -> recipe.Boxes:
            rows = raw[output]
            boxes = recipe.decode_nanodet(rows[:, classes:], size, strides, offset)
            return recipe.select(boxes, rows[:, :classes], selection, anchors)

        plan.boxes_of = boxes_of
        add_remaining_heads(plan, foreign, options, (output,))
        return plan


def _bins(foreign: ForeignGraph, output: str) -> int | None:
    """Return the bins of a distance: behind the probabilities, numbers of every size."""
    values = foreign.values(output)
    for bins in _BINS:
        classes = values.shape[1] - 4 * bins
        if classes >= 1 and probabilities(values[:, :classes]):
            tail = values[:, classes:].reshape(len(values), 4, bins)
            # Every bin must hold logits: else these are fewer of them and more classes.
            if all(not probabilities(tail[:, side]) for side in range(4)):
                return bins
    return None
