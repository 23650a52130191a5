"""Models whose boxes and scores are two outputs: decoded ones, SSDs and DETRs."""

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
from perception_ros.bundles.families.finished import class_count, known_classes_only
from perception_ros.bundles.families.grid import only_rows
from perception_ros.bundles.families.semantic import add_remaining_heads
from perception_ros.bundles.graph.assemble import behind, integers_behind
from perception_ros.bundles.graph.decode import best_class, best_pairs, corners, in_pixels
from perception_ros.bundles.graph.foreign import ForeignGraph
from perception_ros.bundles.graph.nms import Selection
from perception_ros.bundles.graph.preprocess import PixelFormat
from perception_ros.bundles.manifest import LetterboxInfo
from perception_ros.bundles.options import ImportOptions
from perception_ros.core.errors import ImportModelError

Floats = NDArray[np.float32]


class Decoded:
    """Boxes [B, A, 4] x1, y1, x2, y2 in input pixels, and class probabilities [B, A, C]."""

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
        if not _are_corners(boxes):
            return Match.no(f'{pair[0]!r} holds no corners: sides are out of order')
        if _relative(boxes) != self.relative:
            return Match.no(f'{pair[0]!r} is {"not " if self.relative else ""}relative')
        return self._judge(pair, scores)

    def _judge(self, pair: tuple[str, str], scores: Floats) -> Match:
        if _sums_to_one(scores):
            return Match(
                0.6, f'{pair[0]!r} holds corners in pixels, and {pair[1]!r} shares that sum to '
                'one: is its first class the background? Then give --background 1'
            )
        return Match(0.9, f'{pair[0]!r} holds corners in pixels, {pair[1]!r} probabilities')

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
        g = plan.nodes
        size = (foreign.width, foreign.height)
        boxes, rows = (behind(g, name) for name in names)
        if self.relative:
            boxes = in_pixels(g, boxes, size)
        if background:
            rows = g.slice(rows, background, classes + background, axis=2)
        found = Candidates(boxes, *best_class(g, rows), anchors)
        add_detection(plan, found, selection, options, classes)

        def boxes_of(raw: recipe.Raw) -> recipe.Boxes:
            boxes, scores = raw[names[0]], raw[names[1]][:, background:]
            if self.relative:
                boxes = boxes * np.array([*size, *size], np.float32)
            return recipe.select(boxes, scores, selection, anchors)

        plan.boxes_of = boxes_of
        add_remaining_heads(plan, foreign, options, names)
        return plan


class Ssd(Decoded):
    """SSD: relative corners [B, A, 4], and shares [B, A, 1 + C] whose first is the background."""

    name = 'ssd'
    pixels = PixelFormat('rgb', 1.0, (127.0, 127.0, 127.0), (128.0, 128.0, 128.0))
    background = 1
    relative = True

    def _judge(self, pair: tuple[str, str], scores: Floats) -> Match:
        if not _sums_to_one(scores):
            return Match(
                0.5, f'{pair[0]!r} holds relative corners, but the scores of a row do not sum to '
                'one, so that there may be no background class: then give --background 0'
            )
        return Match(
            0.95, f'{pair[0]!r} holds relative corners, and each row of {pair[1]!r} sums to one, '
            'with the background first'
        )


class Detr:
    """RT-DETR and D-FINE: queries with their boxes, or what their deployed form makes of them.

    - logits [B, Q, C] and boxes [B, Q, 4] as relative cx, cy, w, h;
    - one output [B, Q, 4 + C] of the same boxes and of probabilities;
    - labels [B, Q], boxes [B, Q, 4] x1, y1, x2, y2 in pixels, and scores [B, Q].
    """

    name = 'detr'
    pixels = PixelFormat()
    letterbox = LetterboxInfo()
    selection = Selection(nms_iou=None)

    def recognise(self, foreign: ForeignGraph) -> Match:
        """Look for one of the three forms."""
        if deployed := find_deployed(foreign):
            return Match(
                0.95, f'boxes, scores and class ids are {deployed}, one row a detection'
            )
        if merged := self._merged(foreign):
            return Match(
                0.85, f'{merged!r} holds relative boxes as cx, cy, w, h and probabilities'
            )
        pair = find_pair(foreign, None, None)
        if pair is None:
            return Match.no('neither boxes with logits nor boxes with scores and labels')
        boxes, scores = (foreign.values(name) for name in pair)
        if not _relative(boxes):
            return Match.no(f'{pair[0]!r} is not relative to the input')
        if _are_corners(boxes):
            return Match.no(f'{pair[0]!r} looks like corners, not like centre and size')
        how = 'logits' if not probabilities(scores) else 'probabilities'
        return Match(
            0.95 if how == 'logits' else 0.7,
            f'{pair[0]!r} holds relative boxes as cx, cy, w, h, and {pair[1]!r} {how}',
        )

    def plan(self, foreign: ForeignGraph, options: ImportOptions) -> Plan:
        """Take the best pairs of query and class; nothing is suppressed."""
        given = options.boxes_output or options.scores_output
        deployed = None if given else find_deployed(foreign)
        if deployed:
            return self._plan_deployed(foreign, options, deployed)
        return self._plan_queries(foreign, options, None if given else self._merged(foreign))

    def _plan_queries(
        self, foreign: ForeignGraph, options: ImportOptions, merged: str | None
    ) -> Plan:
        size = (foreign.width, foreign.height)
        scale = np.array([*size, *size], np.float32)
        plan = Plan(foreign, sorts=True)
        g = plan.nodes
        used: tuple[str, ...]
        if merged:
            used, (queries, width) = (merged,), foreign.outputs[merged]
            classes, logits = width - 4, False
            rows = behind(g, merged)
            boxes, scores = g.slice(rows, 0, 4, axis=2), g.slice(rows, 4, width, axis=2)
        else:
            used = pair_of(self.name, foreign, options)
            if not _relative(foreign.values(used[0])):
                raise refuse(
                    self.name, f'relative boxes in {used[0]!r}', foreign, 'they are in pixels'
                )
            queries, classes = foreign.outputs[used[1]]
            logits = not probabilities(foreign.values(used[1]))
            boxes, scores = (behind(g, name) for name in used)
            if logits:
                scores = g.op('Sigmoid', scores)
        asked = chosen(self.selection, options.selection)
        # As its own recipe has it: a query that is sure of two classes makes two boxes.
        count = min(asked.max_detections, queries * classes)
        selection = Selection(count, asked.nms_iou, count, asked.rounds)
        boxes = in_pixels(g, corners(g, boxes), size)
        found = Candidates(*best_pairs(g, boxes, scores, classes, count), count)
        add_detection(plan, found, selection, options, classes)

        def boxes_of(raw: recipe.Raw) -> recipe.Boxes:
            if merged:
                boxes, scores = raw[merged][:, :4], raw[merged][:, 4:]
            else:
                boxes, scores = (raw[name] for name in used)
            if logits:
                scores = np.asarray(1 / (1 + np.exp(-scores)), np.float32)
            best = recipe.best_pairs(recipe.corners(boxes) * scale, scores, selection)
            return recipe.select(
                best.boxes, best.scores, selection, len(best.scores), best.labels
            ) if len(best.scores) else best

        plan.boxes_of = boxes_of
        add_remaining_heads(plan, foreign, options, used)
        return plan

    def _plan_deployed(
        self, foreign: ForeignGraph, options: ImportOptions, names: tuple[str, str, str]
    ) -> Plan:
        selection = chosen(self.selection, options.selection)
        plan = Plan(foreign, sorts=True)
        g = plan.nodes
        (queries, _) = foreign.outputs[names[0]]
        classes = class_count(plan, foreign, options)
        labels = integers_behind(g, names[2])
        scores = known_classes_only(g, behind(g, names[1]), labels, classes)
        found = Candidates(behind(g, names[0]), scores, labels, queries)
        add_detection(plan, found, selection, options, classes)

        def boxes_of(raw: recipe.Raw) -> recipe.Boxes:
            labels = raw[names[2]].astype(np.int32)
            scores = raw[names[1]] * ((labels >= 0) & (labels < classes))
            return recipe.select(raw[names[0]], scores, selection, queries, labels)

        plan.boxes_of = boxes_of
        add_remaining_heads(plan, foreign, options, names)
        return plan

    def _merged(self, foreign: ForeignGraph) -> str | None:
        output = only_rows(foreign)
        if output is None or len(foreign.outputs) != 1:
            return None
        values = foreign.values(output)
        fits = values.shape[1] > 4 and probabilities(values) and not _are_corners(values[:, :4])
        return output if fits else None


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


def find_deployed(foreign: ForeignGraph) -> tuple[str, str, str] | None:
    """Return the outputs with boxes [B, N, 4], scores [B, N] and class ids [B, N], or None."""
    boxes = [name for name, shape in foreign.outputs.items() if len(shape) == 2 and shape[1] == 4]
    if len(boxes) != 1:
        return None
    count = foreign.outputs[boxes[0]][0]
    lists = [name for name, shape in foreign.outputs.items() if shape == (count,)]
    ids = [name for name in lists if foreign.sample[name].dtype.kind in 'iu']
    if not ids:
        ids = [name for name in lists if any(w in name.lower() for w in ('label', 'class'))]
    scores = [name for name in lists if name not in ids]
    if len(ids) != 1 or len(scores) != 1 or not probabilities(foreign.values(scores[0])):
        return None
    return boxes[0], scores[0], ids[0]


def _relative(boxes: Floats) -> bool:
    """Say whether sides are relative to the input: a few boxes may reach beyond it."""
    return bool(np.quantile(np.abs(boxes), 0.9) <= 2)


def _are_corners(boxes: Floats) -> bool:
    ordered = (boxes[:, 2] >= boxes[:, 0]) & (boxes[:, 3] >= boxes[:, 1])
    return bool(ordered.mean() > 0.98)


def _sums_to_one(scores: Floats) -> bool:
    return scores.shape[1] > 1 and bool(np.abs(scores.sum(axis=1) - 1).max() < 0.02)
