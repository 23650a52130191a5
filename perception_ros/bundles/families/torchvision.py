"""torchvision's Faster and Mask R-CNN, whose exports have data-dependent shapes and no batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import onnx

from perception_ros.bundles import recipe
from perception_ros.bundles.families.base import (
    add_detection,
    Candidates,
    chosen,
    Match,
    Plan,
    refuse,
)
from perception_ros.bundles.families.finished import class_count, known_classes_only
from perception_ros.bundles.graph.assemble import behind, integers_behind
from perception_ros.bundles.graph.builder import GraphBuilder
from perception_ros.bundles.graph.foreign import ForeignGraph
from perception_ros.bundles.graph.loop import loop_over_images
from perception_ros.bundles.graph.masks import cut_to_boxes, ReadyMasks
from perception_ros.bundles.graph.nms import Selection
from perception_ros.bundles.graph.preprocess import PixelFormat
from perception_ros.bundles.labels import COCO_IDS
from perception_ros.bundles.manifest import LetterboxInfo
from perception_ros.bundles.options import ImportOptions
from perception_ros.core.errors import ImportModelError

_TYPES = {
    'boxes': onnx.TensorProto.FLOAT,
    'scores': onnx.TensorProto.FLOAT,
    'labels': onnx.TensorProto.INT64,
}


class Torchvision:
    """boxes [n, 4] in input pixels, labels [n] from 1, scores [n], perhaps masks [n, 1, h, w].

    Masks lie over the whole input, as torchvision exports them, or over their boxes if h and w are
    others than the input's.

    The network runs image by image inside of the graph, where its answers are padded to a fixed
    number: n differs from image to image.
    """

    name = 'torchvision'
    pixels = PixelFormat()
    letterbox = LetterboxInfo()
    selection = Selection(max_detections=100, nms_iou=None)

    def recognise(self, foreign: ForeignGraph) -> Match:
        """Look for outputs without a batch, as many of each as there are detections."""
        names = _names(foreign)
        if names is None:
            return Match.no('no boxes [n, 4] with labels [n] and scores [n]')
        return Match(0.95, f'boxes, scores and labels are {names[:3]}, without a batch')

    def plan(self, foreign: ForeignGraph, options: ImportOptions) -> Plan:
        """Loop, pad, and number the classes from 0."""
        names = _names(foreign)
        if names is None:
            raise refuse(
                self.name, 'boxes [n, 4], labels [n], scores [n] and perhaps masks [n, 1, h, w]',
                foreign,
            )
        if options.batch == 'dynamic':
            raise ImportModelError(
                f"family '{self.name}': a dynamic batch was asked for, and the number of boxes "
                'depends on the image; leave --batch out, so that it runs image by image, or '
                'export the model with a fixed number of detections'
            )
        selection = chosen(self.selection, options.selection)
        count = selection.max_detections
        cells = _mask_cells(foreign, names, options.mask_cells)
        plan = Plan(_looped(foreign, names, count, cells), outputs_have_batch=False)
        plan.notes.append(
            'the number of boxes depends on the image, so that the graph runs image by image: a '
            'batch is no faster, and TensorRT may refuse it. For a vehicle, train or export a '
            'model with a fixed number of detections.'
        )
        g = plan.nodes
        classes = class_count(plan, foreign, options, len(COCO_IDS))
        if foreign.names is None and options.classes is None:
            options = replace(options, classes=COCO_IDS)
        labels = g.op('Sub', integers_behind(g, 'labels'), g.constant(1, np.int32))
        scores = known_classes_only(g, behind(g, 'scores'), labels, classes)
        masks = ReadyMasks(behind(g, 'masks'), *cells) if cells else None
        found = Candidates(behind(g, 'boxes'), scores, labels, count, masks)
        add_detection(plan, found, selection, options, classes, cells)

        def boxes_of(raw: recipe.Raw) -> recipe.Boxes:
            boxes, scores = raw[names[0]], raw[names[1]]
            labels = raw[names[2]].astype(np.int32) - 1
            scores = np.where((labels >= 0) & (labels < classes), scores, 0)
            masks = raw[names[3]][:, 0] if cells else None
            if masks is not None and _over_the_input(foreign, names):
                size = (foreign.width, foreign.height)
                masks = recipe.cut_to_boxes(masks, boxes, size, options.mask_cells)
            return recipe.select(
                boxes, scores, selection, max(len(scores), 1), labels,
                None if masks is None else lambda order: masks[order],
            )

        plan.boxes_of = boxes_of
        return plan


def _over_the_input(foreign: ForeignGraph, names: tuple[str, ...]) -> bool:
    """Say whether masks lie over the whole input rather than over their boxes."""
    return foreign.sample[names[3]].shape[-2:] == (foreign.height, foreign.width)


def _mask_cells(
    foreign: ForeignGraph, names: tuple[str, ...], wanted: int
) -> tuple[int, int] | None:
    """Return rows and columns of the bundle's masks; None where there are none."""
    if len(names) < 4:
        return None
    if _over_the_input(foreign, names):
        return wanted, wanted
    height, width = foreign.sample[names[3]].shape[-2:]
    return height, width


def _looped(
    foreign: ForeignGraph,
    names: tuple[str, ...],
    count: int,
    cells: tuple[int, int] | None,
) -> ForeignGraph:
    """Return the network in a loop, with `count` rows in each answer."""

    def padded(g: GraphBuilder, outputs: Mapping[str, str]) -> Mapping[str, str]:
        def filled(tensor: str, shape: tuple[int, ...], dtype: type[np.generic]) -> str:
            return g.op('Concat', tensor, g.constant(np.zeros(shape), dtype), axis=0)

        boxes, scores, labels = (outputs[name] for name in names[:3])
        scores = filled(g.cast(scores, onnx.TensorProto.FLOAT), (count,), np.float32)
        best, rows = g.ops(
            'TopK', scores, g.constant([count], np.int64), outputs=2, axis=0, largest=1, sorted=1
        )
        raw_boxes = g.cast(boxes, onnx.TensorProto.FLOAT)
        boxes = filled(raw_boxes, (count, 4), np.float32)
        labels = filled(g.cast(labels, onnx.TensorProto.INT64), (count,), np.int64)
        answers = {
            'boxes': g.op('Gather', boxes, rows, axis=0),
            'scores': best,
            'labels': g.op('Gather', labels, rows, axis=0),
        }
        if cells:
            masks = g.cast(outputs[names[3]], onnx.TensorProto.FLOAT)
            if _over_the_input(foreign, names):
                masks = _cut(g, masks, raw_boxes, foreign, cells[0])
            masks = g.op('Reshape', masks, g.constant([-1, cells[0] * cells[1]], np.int64))
            masks = filled(masks, (count, cells[0] * cells[1]), np.float32)
            answers['masks'] = g.op('Gather', masks, rows, axis=0)
        return answers

    types = dict(_TYPES)
    if cells:
        types['masks'] = onnx.TensorProto.FLOAT
    model = loop_over_images(foreign.single, padded, types, batched=foreign.batched)
    return replace(foreign, model=model, looped=True)


def _cut(g: GraphBuilder, masks: str, boxes: str, foreign: ForeignGraph, cells: int) -> str:
    """Cut masks [n, 1, H, W] to boxes [n, 4]: [1, n, cells, cells]."""
    whole = g.unsqueeze(g.squeeze(masks, 1), 0)
    size = (foreign.width, foreign.height)
    return cut_to_boxes(g, whole, g.unsqueeze(boxes, 0), (size[1], size[0]), size, cells)


def _names(foreign: ForeignGraph) -> tuple[str, ...] | None:
    """Return the outputs with boxes, scores, labels and perhaps masks."""
    found = foreign.sample
    boxes = [name for name, value in found.items() if value.ndim == 2 and value.shape[1] == 4]
    lists = {name: value for name, value in found.items() if value.ndim == 1}
    labels = [name for name, value in lists.items() if value.dtype.kind in 'iu']
    scores = [name for name, value in lists.items() if value.dtype.kind == 'f']
    masks = [n for n, value in found.items() if value.ndim == 4 and value.shape[1] == 1]
    if [len(boxes), len(labels), len(scores)] != [1, 1, 1] or len(masks) > 1:
        return None
    return boxes[0], scores[0], labels[0], *masks
