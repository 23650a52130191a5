"""YOLOX as its own exporter writes it: a grid head whose boxes are not decoded."""

from __future__ import annotations

from perception_ros.bundles import recipe
from perception_ros.bundles.families.base import (
    add_detection,
    Candidates,
    chosen,
    grid_cells,
    Match,
    Plan,
    probabilities,
    refuse,
)
from perception_ros.bundles.families.grid import centres_are_decoded, grid_of, only_rows
from perception_ros.bundles.families.semantic import add_remaining_heads
from perception_ros.bundles.graph.assemble import behind
from perception_ros.bundles.graph.decode import decode_yolox
from perception_ros.bundles.graph.foreign import ForeignGraph
from perception_ros.bundles.graph.nms import Selection
from perception_ros.bundles.graph.preprocess import PixelFormat
from perception_ros.bundles.manifest import LetterboxInfo
from perception_ros.bundles.options import ImportOptions

STRIDES = (8, 16, 32)


class Yolox:
    """One output [B, A, 5 + C]: x, y, w, h, objectness, class probabilities."""

    name = 'yolox'
    pixels = PixelFormat(order='bgr', divisor=1.0)
    letterbox = LetterboxInfo(anchor='top_left', rounding='down')
    selection = Selection()

    def recognise(self, foreign: ForeignGraph) -> Match:
        """One row a cell, probabilities behind four numbers that are no place yet."""
        output = only_rows(foreign)
        if output is None:
            return Match.no('not exactly one output [B, A, n]')
        anchors, width = foreign.outputs[output]
        strides = grid_of((foreign.width, foreign.height), anchors)
        if strides is None or width < 6:
            return Match.no(f'{output!r} has not one row for each cell of strides 8, 16, 32')
        values = foreign.values(output)
        if not probabilities(values[:, 4:]):
            return Match.no(f'{output!r} holds more than four numbers that are no probabilities')
        if centres_are_decoded(values, (foreign.width, foreign.height)):
            return Match(0.2, f'{output!r} has one row a cell, but boxes in pixels already')
        return Match(
            0.95,
            f'{output!r} has one row for each of the {anchors} cells of strides {strides}, with '
            'offsets from the cell and probabilities',
        )

    def plan(self, foreign: ForeignGraph, options: ImportOptions) -> Plan:
        """Decode boxes from cells, score = objectness * best class, suppress."""
        output = only_rows(foreign)
        size = (foreign.width, foreign.height)
        if output is None:
            raise refuse(self.name, 'one output [B, boxes, 5 + classes]', foreign)
        anchors, width = foreign.outputs[output]
        strides = options.strides or grid_of(size, anchors) or STRIDES
        cells = grid_cells(size, strides)
        if anchors != cells or width < 6:
            raise refuse(
                self.name,
                f'an output [B, {cells}, 5 + classes] for an input of {size[0]}x{size[1]} and '
                f'strides {strides}',
                foreign,
                'are these its strides?',
            )
        if not probabilities(foreign.values(output)[:, 4:]):
            raise refuse(
                self.name, 'four numbers of a box, then probabilities', foreign,
                'behind the first four columns are numbers other than probabilities',
            )
        selection = chosen(self.selection, options.selection)
        plan = Plan(foreign)
        raw = behind(plan.nodes, output)
        boxes, scores, labels = decode_yolox(plan.nodes, raw, width - 5, size, strides)
        found = Candidates(boxes, scores, labels, anchors)
        add_detection(plan, found, selection, options, width - 5)
        plan.boxes_of = lambda raw: recipe.select(
            *recipe.decode_yolox(raw[output], size, strides), selection, anchors
        )
        add_remaining_heads(plan, foreign, options, (output,))
        return plan
