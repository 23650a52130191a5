"""Models whose boxes and scores are two outputs, one row a box: decoded ones and SSDs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

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
from perception_ros.bundles.families.semantic import add_remaining_heads
from perception_ros.bundles.graph.assemble import behind
from perception_ros.bundles.graph.decode import best_class, in_pixels
from perception_ros.bundles.graph.foreign import ForeignGraph
from perception_ros.bundles.graph.masks import MaskHead, PrototypeMasks, ReadyMasks
from perception_ros.bundles.graph.nms import Selection
from perception_ros.bundles.graph.preprocess import PixelFormat
from perception_ros.bundles.manifest import LetterboxInfo
from perception_ros.bundles.options import ImportOptions
from perception_ros.core.errors import ImportModelError

Floats = NDArray[np.float32]


class Decoded:
    """Boxes [B, A, 4] x1, y1, x2, y2 in input pixels, and class probabilities [B, A, C].

    Perhaps with masks: 0..1 relative to the boxes [B, A, h, w], or weights [B, A, P] of prototypes
    [B, P, h, w] that lie over the whole input.
    """

    name = 'decoded'
    pixels = PixelFormat()
    letterbox = LetterboxInfo()
    selection = Selection()
    background = 0
    """Columns of the scores before the first class."""
    relative = False
    """Whether the sides of boxes are relative to the input."""

    def recognise(self, foreign: ForeignGraph) -> Match:
        """Two outputs of as many rows: corners in pixels, and probabilities."""
        pair = find_pair(foreign, None, None)
        if pair is None:
            return Match.no('not exactly one output [B, A, 4] with scores [B, A, C]')
        boxes, scores = (foreign.values(name) for name in pair)
        if not probabilities(scores):
            return Match.no(f'{pair[1]!r} holds logits, not probabilities')
        if not are_corners(boxes):
            return Match.no(f'{pair[0]!r} holds no corners: sides are out of order')
        if relative(boxes) != self.relative:
            return Match.no(f'{pair[0]!r} is {"not " if self.relative else ""}relative')
        return self._judge(foreign, pair, scores)

    def _judge(self, foreign: ForeignGraph, pair: tuple[str, str], scores: Floats) -> Match:
        if _sums_to_one(scores):
            return Match(
                0.6, f'{pair[0]!r} holds corners in pixels, and {pair[1]!r} shares that sum to '
                'one: is its first class the background? Then give --background 1'
            )
        outlines = ' and '.join(map(repr, find_masks(foreign, pair, ImportOptions())))
        return Match(
            0.9, f'{pair[0]!r} holds corners in pixels, {pair[1]!r} probabilities'
            + (f', {outlines} masks' if outlines else '')
        )

    def plan(self, foreign: ForeignGraph, options: ImportOptions) -> Plan:
        """Take the best class of each box, and suppress."""
        names = pair_of(self.name, foreign, options)
        anchors, _ = foreign.outputs[names[0]]
        background = self.background if options.background is None else options.background
        classes = foreign.outputs[names[1]][1] - background
        if classes < 1:
            raise refuse(self.name, f'{names[1]!r} [B, A, background and classes]', foreign)
        if not probabilities(foreign.values(names[1])):
            raise refuse(
                self.name, f'probabilities in {names[1]!r}', foreign, 'they are not within 0..1'
            )
        selection = chosen(self.selection, options.selection)
        plan = Plan(foreign)
        # A network that needs no suppression may have sorted its boxes itself.
        plan.sorts = selection.nms_iou is None
        g = plan.nodes
        size = (foreign.width, foreign.height)
        outlines = find_masks(foreign, names, options)
        boxes, rows = (behind(g, name) for name in names)
        if self.relative:
            boxes = in_pixels(g, boxes, size)
        if background:
            rows = g.slice(rows, background, classes + background, axis=2)
        cells = _mask_cells(foreign, outlines, options.mask_cells)
        masks = _mask_head(plan, foreign, outlines, options.mask_cells)
        found = Candidates(boxes, *best_class(g, rows), anchors, masks)
        add_detection(plan, found, selection, options, classes, cells)

        def boxes_of(raw: recipe.Raw) -> recipe.Boxes:
            boxes, scores = raw[names[0]], raw[names[1]][:, background:]
            if self.relative:
                boxes = boxes * np.array([*size, *size], np.float32)

            def masks_of(order: NDArray[np.intp]) -> Floats:
                rows = raw[outlines[0]][order]
                if len(outlines) == 1:
                    return rows
                return recipe.prototype_masks(
                    rows, raw[outlines[1]], boxes[order], size, options.mask_cells
                )

            return recipe.select(
                boxes, scores, selection, anchors, masks_of=masks_of if outlines else None
            )

        plan.boxes_of = boxes_of
        add_remaining_heads(plan, foreign, options, (*names, *outlines))
        return plan


class Ssd(Decoded):
    """SSD: relative corners [B, A, 4], and shares [B, A, 1 + C] whose first is the background."""

    name = 'ssd'
    pixels = PixelFormat('rgb', 1.0, (127.0, 127.0, 127.0), (128.0, 128.0, 128.0))
    background = 1
    relative = True

    def _judge(self, foreign: ForeignGraph, pair: tuple[str, str], scores: Floats) -> Match:
        if not _sums_to_one(scores):
            return Match(
                0.5, f'{pair[0]!r} holds relative corners, but the scores of a row do not sum to '
                'one, so that there may be no background class: then give --background 0'
            )
        return Match(
            0.95, f'{pair[0]!r} holds relative corners, and each row of {pair[1]!r} sums to one, '
            'with the background first'
        )


def find_pair(
    foreign: ForeignGraph, boxes: str | None, scores: str | None
) -> tuple[str, str] | None:
    """Return the outputs with boxes [B, A, 4] and scores [B, A, C]; None if that is not clear."""
    tables = {name: shape for name, shape in foreign.outputs.items() if len(shape) == 2}
    if boxes is None:
        fours = [name for name, shape in tables.items() if shape[1] == 4 and name != scores]
        called = [name for name in fours if 'box' in name.lower()]
        sure = called if len(called) == 1 else fours
        boxes = sure[0] if len(sure) == 1 else None
    if boxes is None or boxes not in tables:
        return None
    if scores is None:
        rows = tables[boxes][0]
        same = [name for name, shape in tables.items() if shape[0] == rows and name != boxes]
        called = [n for n in same if any(w in n.lower() for w in ('score', 'logit', 'class'))]
        sure = called if len(called) == 1 else same
        scores = sure[0] if len(sure) == 1 else None
    return (boxes, scores) if scores is not None else None


def pair_of(family: str, foreign: ForeignGraph, options: ImportOptions) -> tuple[str, str]:
    """Return the outputs with boxes and scores, as a user named them or as they look.

    :raises ImportModelError: there are none, or their shapes do not fit.
    """
    pair = find_pair(foreign, options.boxes_output, options.scores_output)
    boxes, scores = pair or (options.boxes_output or 'boxes', options.scores_output or 'scores')
    what = f"family '{family}': boxes [B, A, 4]"
    anchors, four = foreign.output(boxes, 3, what)
    same, classes = foreign.output(scores, 3, f"family '{family}': class scores [B, A, C]")
    if four != 4 or same != anchors:
        raise ImportModelError(
            f'family {family!r}: expected {boxes!r} [B, A, 4] and {scores!r} [B, A, C], got '
            f'[B, {anchors}, {four}] and [B, {same}, {classes}]; name them with --boxes-output '
            'and --scores-output'
        )
    return boxes, scores


def find_masks(
    foreign: ForeignGraph, pair: tuple[str, str], options: ImportOptions
) -> tuple[str, ...]:
    """Return the output with masks [B, A, h, w], or those with weights and prototypes, or none.

    :param pair: outputs with boxes and scores.
    """
    rows = foreign.outputs[pair[0]][0]
    taken = {*pair, *(head.output for head in (options.heads or {}).values())}
    free = {name: shape for name, shape in foreign.outputs.items() if name not in taken}
    ready = [name for name, shape in free.items() if len(shape) == 3 and shape[0] == rows]
    if len(ready) == 1 and probabilities(foreign.values(ready[0])):
        return (ready[0],)
    pairs = [
        (weights, prototypes)
        for weights, row in free.items() if len(row) == 2 and row[0] == rows
        for prototypes, shape in free.items() if len(shape) == 3 and shape[0] == row[1]
        and foreign.width * shape[1] == foreign.height * shape[2]
    ]
    return pairs[0] if len(pairs) == 1 else ()


def _mask_cells(
    foreign: ForeignGraph, outlines: tuple[str, ...], wanted: int
) -> tuple[int, int] | None:
    """Return rows and columns of the bundle's masks; None where there are none."""
    if not outlines:
        return None
    if len(outlines) == 2:
        return wanted, wanted
    _, height, width = foreign.outputs[outlines[0]]
    return height, width


def _mask_head(
    plan: Plan, foreign: ForeignGraph, outlines: tuple[str, ...], wanted: int
) -> MaskHead | None:
    """Return what the masks in `outlines` are made of."""
    if not outlines:
        return None
    g = plan.nodes
    rows = behind(g, outlines[0])
    if len(outlines) == 2:
        count, height, width = foreign.outputs[outlines[1]]
        size = (foreign.width, foreign.height)
        return PrototypeMasks(
            rows, behind(g, outlines[1]), (count, height, width), size, wanted
        )
    _, height, width = foreign.outputs[outlines[0]]
    flat = g.op('Reshape', rows, g.constant([0, 0, height * width], np.int64))
    return ReadyMasks(flat, height, width)


def relative(boxes: Floats) -> bool:
    """Say whether sides are relative to the input: a few boxes may reach beyond it."""
    return bool(np.quantile(np.abs(boxes), 0.9) <= 2)


def are_corners(boxes: Floats) -> bool:
    """Say whether boxes are x1, y1, x2, y2: no side comes before its opposite."""
    ordered = (boxes[:, 2] >= boxes[:, 0]) & (boxes[:, 3] >= boxes[:, 1])
    return bool(ordered.mean() > 0.98)


def _sums_to_one(scores: Floats) -> bool:
    return scores.shape[1] > 1 and bool(np.abs(scores.sum(axis=1) - 1).max() < 0.02)
