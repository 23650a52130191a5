"""The YOLOs whose boxes come out in pixels: with objectness, without, and end to end.

Each may have instance masks: further columns of weights, and an output with prototypes.
"""

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
from perception_ros.bundles.families.grid import (
    centres_are_decoded,
    grid_of,
    only_rows,
    prototypes_of,
)
from perception_ros.bundles.families.semantic import add_remaining_heads
from perception_ros.bundles.graph.assemble import behind
from perception_ros.bundles.graph.decode import best_class, corners, label_column
from perception_ros.bundles.graph.foreign import ForeignGraph
from perception_ros.bundles.graph.masks import PrototypeMasks
from perception_ros.bundles.graph.nms import Selection
from perception_ros.bundles.graph.preprocess import PixelFormat
from perception_ros.bundles.manifest import LetterboxInfo
from perception_ros.bundles.options import ImportOptions

_OTHER_TASKS = ('pose', 'obb', 'classify')


class _Yolo:
    """What they share; the rows of the output are seen as [A, n], whichever way they lie."""

    name: str
    expected: str
    turned = False
    """Whether the output is [B, n, A]."""
    fixed: int
    """Columns before the classes, or all of them where a column names the class."""
    pixels = PixelFormat()
    letterbox = LetterboxInfo()
    selection = Selection()

    def rows(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the output of one image as [A, n]."""
        return values.T if self.turned else values

    def parts(
        self, foreign: ForeignGraph
    ) -> tuple[str, int, int, tuple[str, tuple[int, int, int]] | None]:
        """Return the output, A, n without the weights of masks, and the prototypes.

        :raises ImportModelError: there is no such output.
        """
        output = only_rows(foreign)
        if output is None:
            raise refuse(self.name, self.expected, foreign)
        if (task := foreign.metadata.get('task', '')) in _OTHER_TASKS:
            raise refuse(
                self.name, self.expected, foreign,
                f'the file says that its task is {task!r}, which a bundle cannot hold',
            )
        anchors, columns = self.rows(foreign.values(output)).shape
        prototypes = prototypes_of(foreign)
        if prototypes and columns - prototypes[1][0] >= self.least:
            return output, anchors, columns - prototypes[1][0], prototypes
        return output, anchors, columns, None

    @property
    def least(self) -> int:
        """Fewest columns without weights of masks."""
        return self.fixed + 1

    def masks(
        self,
        plan: Plan,
        foreign: ForeignGraph,
        raw: str,
        width: int,
        prototypes: tuple[str, tuple[int, int, int]] | None,
        cells: int,
    ) -> PrototypeMasks | None:
        """Return the mask head of rows whose weights begin at column `width`."""
        if prototypes is None:
            return None
        name, grid = prototypes
        weights = plan.nodes.slice(raw, width, width + grid[0], axis=2)
        size = (foreign.width, foreign.height)
        return PrototypeMasks(weights, behind(plan.nodes, name), grid, size, cells)

    def masks_of(
        self,
        foreign: ForeignGraph,
        raw: recipe.Raw,
        rows: NDArray[np.float32],
        boxes: NDArray[np.float32],
        width: int,
        prototypes: tuple[str, tuple[int, int, int]] | None,
        cells: int,
    ) -> recipe.MasksOf | None:
        """Return the plain recipe of the same."""
        if prototypes is None:
            return None
        size = (foreign.width, foreign.height)
        return lambda order: recipe.prototype_masks(
            rows[order, width:], raw[prototypes[0]], boxes[order], size, cells
        )


class _Scored(_Yolo):
    """Rows of a box in the middle form, perhaps objectness, and probabilities by class."""

    objectness: bool

    def plan(self, foreign: ForeignGraph, options: ImportOptions) -> Plan:
        """Take the best class of each row, suppress, and cut the masks."""
        output, anchors, width, prototypes = self.parts(foreign)
        classes, first = width - self.fixed, self.fixed
        values = self.rows(foreign.values(output))
        if classes < 1 or not probabilities(values[:, 4:width]):
            raise refuse(
                self.name, self.expected, foreign,
                'behind the first four columns are numbers other than probabilities',
            )
        size = (foreign.width, foreign.height)
        if grid_of(size, anchors) and not centres_are_decoded(values, size):
            raise refuse(self.name, self.expected, foreign, 'its boxes are not in pixels yet')
        selection, cells = chosen(self.selection, options.selection), options.mask_cells
        plan = Plan(foreign)
        g = plan.nodes
        raw = behind(g, output)
        if self.turned:
            raw = g.op('Transpose', raw, perm=[0, 2, 1])
        scores, labels = best_class(g, g.slice(raw, first, width, axis=2))
        if self.objectness:
            scores = g.op('Mul', scores, g.squeeze(g.slice(raw, 4, 5, axis=2), 2))
        boxes = corners(g, g.slice(raw, 0, 4, axis=2))
        masks = self.masks(plan, foreign, raw, width, prototypes, cells)
        found = Candidates(boxes, scores, labels, anchors, masks)
        add_detection(
            plan, found, selection, options, classes, (cells, cells) if masks else None
        )

        def boxes_of(raw: recipe.Raw) -> recipe.Boxes:
            rows = self.rows(raw[output])
            boxes = recipe.corners(rows[:, :4])
            scores = rows[:, first:width]
            if self.objectness:
                scores = scores * rows[:, 4:5]
            masks = self.masks_of(foreign, raw, rows, boxes, width, prototypes, cells)
            return recipe.select(boxes, scores, selection, anchors, masks_of=masks)

        plan.boxes_of = boxes_of
        used = (output, prototypes[0]) if prototypes else (output,)
        add_remaining_heads(plan, foreign, options, used)
        return plan


def _with_masks(prototypes: object) -> str:
    return ', and prototypes for masks' if prototypes else ''


class YoloObjectness(_Scored):
    """YOLOv5, YOLOv6 and YOLOv7, YOLOP, and YOLOX decoded by its exporter."""

    name = 'yolov5'
    expected = 'one output [B, A, 5 + classes], for masks [B, A, 5 + classes + P] and [B, P, h, w]'
    fixed = 5
    objectness = True

    def recognise(self, foreign: ForeignGraph) -> Match:
        """Rows with objectness, in the number that a grid has."""
        if only_rows(foreign) is None:
            return Match.no('not exactly one output [B, A, n]')
        if foreign.metadata.get('task', '') in _OTHER_TASKS:
            return Match.no(f'the file says that its task is {foreign.metadata["task"]!r}')
        output, anchors, width, prototypes = self.parts(foreign)
        values = foreign.values(output)
        if width < 6 or not probabilities(values[:, 4:width]):
            return Match.no(f'{output!r} has no columns of objectness and classes')
        size, how = (foreign.width, foreign.height), f'{output!r} [B, {anchors}, {width}]'
        if strides := grid_of(size, anchors, boxes=3):
            return Match(
                0.95, f'{how} has three rows for each cell of strides {strides}, with objectness '
                'and probabilities' + _with_masks(prototypes)
            )
        strides = grid_of(size, anchors)
        if strides and centres_are_decoded(values, size):
            return Match(
                0.9, f'{how} has one row for each cell of strides {strides}, with its box in '
                'pixels, objectness and probabilities' + _with_masks(prototypes)
            )
        if strides:
            return Match.no(f'the boxes of {how} are not in pixels')
        if anchors <= width or np.ptp(values[:, :4]) < 4:
            return Match.no(f'{how} is no table of boxes in pixels')
        if width == 6 and _is_whole(values[:, 5]):
            return Match.no(f'the last column of {how} holds class ids')
        return Match(0.5, f'{how} could be boxes with objectness, of a grid that is not known')


class YoloPlain(_Scored):
    """YOLOv8, YOLOv9, YOLO11, YOLO12 and others of the same head."""

    name = 'yolov8'
    expected = 'one output [B, 4 + classes, A], for masks [B, 4 + classes + P, A] and [B, P, h, w]'
    turned = True
    fixed = 4
    objectness = False

    def recognise(self, foreign: ForeignGraph) -> Match:
        """Columns of boxes and probabilities, in the number that a grid has."""
        if only_rows(foreign) is None:
            return Match.no('not exactly one output [B, n, A]')
        if foreign.metadata.get('task', '') in _OTHER_TASKS:
            return Match.no(f'the file says that its task is {foreign.metadata["task"]!r}')
        output, anchors, width, prototypes = self.parts(foreign)
        values = self.rows(foreign.values(output))
        if width < 5 or not probabilities(values[:, 4:width]):
            return Match.no(f'{output!r} has no probabilities below its first four rows')
        size, how = (foreign.width, foreign.height), f'{output!r} [B, {width}, {anchors}]'
        if strides := grid_of(size, anchors):
            if not centres_are_decoded(values, size):
                return Match(0.4, f'{how} has one column a cell, but no boxes in pixels')
            return Match(
                0.95, f'{how} has one column for each cell of strides {strides}, boxes in pixels '
                'and probabilities without objectness' + _with_masks(prototypes)
            )
        if anchors <= width or np.ptp(values[:, :4]) < 4:
            return Match.no(f'{how} is no table of boxes in pixels')
        return Match(0.5, f'{how} could be boxes and classes of a grid that is not known')


class YoloEndToEnd(_Yolo):
    """YOLOv10, YOLO26 and all that choose their boxes themselves: one row a detection."""

    name = 'yolov10'
    expected = (
        'one output [B, N, 6] of x1, y1, x2, y2, score, class; for masks [B, N, 6 + P] and '
        '[B, P, h, w]'
    )
    fixed = 6
    selection = Selection(nms_iou=None)

    @property
    def least(self) -> int:
        """All columns are fixed."""
        return self.fixed

    def recognise(self, foreign: ForeignGraph) -> Match:
        """Six columns, of which the last is whole."""
        if only_rows(foreign) is None:
            return Match.no('not exactly one output [B, N, 6]')
        if foreign.metadata.get('task', '') in _OTHER_TASKS:
            return Match.no(f'the file says that its task is {foreign.metadata["task"]!r}')
        output, count, width, prototypes = self.parts(foreign)
        values = foreign.values(output)
        if width != 6:
            return Match.no(f'{output!r} has {width} columns, not 6')
        if not probabilities(values[:, 4]) or not _is_whole(values[:, 5]):
            return Match.no(f'the last columns of {output!r} are not score and class id')
        return Match(
            0.95, f'{output!r} has {count} rows of x1, y1, x2, y2, score and a whole class id'
            + _with_masks(prototypes)
        )

    def plan(self, foreign: ForeignGraph, options: ImportOptions) -> Plan:
        """Sort and pad; the network has chosen already."""
        output, count, width, prototypes = self.parts(foreign)
        if width != 6:
            raise refuse(self.name, self.expected, foreign)
        selection, cells = chosen(self.selection, options.selection), options.mask_cells
        plan = Plan(foreign)
        g = plan.nodes
        plan.sorts = True
        classes = class_count(plan, foreign, options)
        raw = behind(g, output)
        labels = label_column(g, raw, 5)
        scores = known_classes_only(
            g, g.squeeze(g.slice(raw, 4, 5, axis=2), 2), labels, classes
        )
        masks = self.masks(plan, foreign, raw, width, prototypes, cells)
        found = Candidates(g.slice(raw, 0, 4, axis=2), scores, labels, count, masks)
        add_detection(
            plan, found, selection, options, classes, (cells, cells) if masks else None
        )

        def boxes_of(raw: recipe.Raw) -> recipe.Boxes:
            rows = raw[output]
            labels = np.round(rows[:, 5]).astype(np.int32)
            scores = np.where((labels >= 0) & (labels < classes), rows[:, 4], 0)
            boxes = rows[:, :4]
            masks = self.masks_of(foreign, raw, rows, boxes, width, prototypes, cells)
            return recipe.select(boxes, scores, selection, count, labels, masks)

        plan.boxes_of = boxes_of
        used = (output, prototypes[0]) if prototypes else (output,)
        add_remaining_heads(plan, foreign, options, used)
        return plan


def _is_whole(values: NDArray[np.float32]) -> bool:
    return bool(values.size and values.min() >= 0 and (values == np.round(values)).all())
