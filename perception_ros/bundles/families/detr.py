"""RT-DETR and D-FINE: queries with a box each, in the forms that exporters give them."""

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
from perception_ros.bundles.families.finished import class_count, known_classes_only
from perception_ros.bundles.families.grid import only_rows
from perception_ros.bundles.families.pairs import are_corners, find_pair, pair_of, relative
from perception_ros.bundles.families.semantic import add_remaining_heads
from perception_ros.bundles.graph.assemble import behind, integers_behind
from perception_ros.bundles.graph.decode import best_class, best_pairs, corners, in_pixels
from perception_ros.bundles.graph.foreign import ForeignGraph
from perception_ros.bundles.graph.nms import Selection
from perception_ros.bundles.graph.preprocess import PixelFormat
from perception_ros.bundles.manifest import LetterboxInfo
from perception_ros.bundles.options import ImportOptions
from perception_ros.core.errors import ImportModelError


class Detr:
    """RT-DETR and D-FINE: queries with their boxes, or what their deployed form makes of them.

    - logits [B, Q, C] and boxes [B, Q, 4] as relative cx, cy, w, h; with `background` the last
      column stands for no object, as DETR and YOLOS have it;
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
        if not relative(boxes):
            return Match.no(f'{pair[0]!r} is not relative to the input')
        # On noise a network may give one great box for all queries, whose size exceeds its centre;
        # with logits there is no family of corners that it could be.
        if are_corners(boxes) and probabilities(scores):
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
            if not relative(foreign.values(used[0])):
                raise refuse(
                    self.name, f'relative boxes in {used[0]!r}', foreign, 'they are in pixels'
                )
            queries, classes = foreign.outputs[used[1]]
            logits = not probabilities(foreign.values(used[1]))
            boxes, scores = (behind(g, name) for name in used)
            if logits and options.background:
                return self._plan_shares(plan, foreign, options, used, boxes, scores)
            if logits:
                _tell_of_no_object(plan, options, classes)
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

    def _plan_shares(
        self,
        plan: Plan,
        foreign: ForeignGraph,
        options: ImportOptions,
        used: tuple[str, ...],
        boxes: str,
        logits: str,
    ) -> Plan:
        """Take the best class of each query, of shares among all classes and no object."""
        size = (foreign.width, foreign.height)
        selection, g = chosen(self.selection, options.selection), plan.nodes
        queries, columns = foreign.outputs[used[1]]
        if columns < 2:
            raise refuse(self.name, f'{used[1]!r} [B, Q, classes and no object]', foreign)
        shares = g.slice(g.op('Softmax', logits, axis=2), 0, columns - 1, axis=2)
        boxes = in_pixels(g, corners(g, boxes), size)
        found = Candidates(boxes, *best_class(g, shares), queries)
        add_detection(plan, found, selection, options, columns - 1)

        def boxes_of(raw: recipe.Raw) -> recipe.Boxes:
            boxes, logits = (raw[name] for name in used)
            shares = np.exp(logits - logits.max(axis=1, keepdims=True))
            shares /= shares.sum(axis=1, keepdims=True)
            boxes = recipe.corners(boxes) * np.array([*size, *size], np.float32)
            return recipe.select(boxes, shares[:, :-1], selection, queries)

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
        fits = values.shape[1] > 4 and probabilities(values) and not are_corners(values[:, :4])
        return output if fits else None


def _tell_of_no_object(plan: Plan, options: ImportOptions, columns: int) -> None:
    """Nothing in a graph says whether its last column is a class: ask whoever knows.

    :raises ImportModelError: the names that were given say that it is none.
    """
    ask = 'if the last column stands for no object, as with DETR and YOLOS, give --background 1'
    if options.classes and len(options.classes) == columns - 1:
        raise ImportModelError(
            f'classes of the boxes: expected {columns} class names, as many as the logits have '
            f'columns, got {columns - 1}; {ask}'
        )
    if options.background is None:
        plan.notes.append(f'scores are sigmoid(logits), as RT-DETR and D-FINE have it; {ask}.')


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
