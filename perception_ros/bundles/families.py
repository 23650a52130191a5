"""Families of foreign models: how each one's outputs become a bundle's answers.

A family writes the nodes behind the network, and says in plain NumPy what they must compute: the
proof at the end of an import compares the two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
import re

import numpy as np
from numpy.typing import NDArray

from perception_ros.bundles import recipe
from perception_ros.bundles.graph.assemble import behind
from perception_ros.bundles.graph.builder import GraphBuilder
from perception_ros.bundles.graph.decode import (
    anchor_points,
    best_class,
    decode_semantic,
    decode_yolox,
)
from perception_ros.bundles.graph.foreign import ForeignGraph
from perception_ros.bundles.graph.nms import select
from perception_ros.bundles.graph.preprocess import PixelFormat
from perception_ros.bundles.labels import class_infos
from perception_ros.bundles.manifest import DetectionInfo, LetterboxInfo, SemanticInfo
from perception_ros.bundles.options import HeadOptions, ImportOptions
from perception_ros.core.errors import ImportModelError


@dataclass
class Plan:
    """What a family makes of one graph."""

    nodes: GraphBuilder
    """Nodes behind the network; they name the bundle's outputs."""
    detection: DetectionInfo | None = None
    boxes_of: Callable[[recipe.Raw], recipe.Boxes] | None = None
    """The boxes of one image by the plain recipe."""
    semantic: dict[str, SemanticInfo] = field(default_factory=dict)
    logits_of: dict[str, str] = field(default_factory=dict)
    """Head -> output of the network."""


@dataclass(frozen=True)
class Family:
    """A kind of foreign model, with what its makers usually do."""

    name: str
    pixels: PixelFormat
    letterbox: LetterboxInfo
    plan: Callable[[ForeignGraph, ImportOptions], Plan]


def _yolox(foreign: ForeignGraph, options: ImportOptions) -> Plan:
    if len(foreign.outputs) != 1:
        raise ImportModelError(
            f"family 'yolox': expected one output [B, boxes, 5 + classes], got "
            f'{sorted(foreign.outputs)}; is this the right family?'
        )
    (output,) = foreign.outputs
    anchors, width = foreign.output(output, 3, 'boxes [B, A, 5 + classes]')
    size, strides = (foreign.width, foreign.height), options.strides
    cells = len(anchor_points(*size, strides)[0])
    if anchors != cells or width < 6:
        raise ImportModelError(
            f"family 'yolox': expected an output [B, {cells}, 5 + classes] for an input of "
            f'{size[0]}x{size[1]} and strides {strides}, got [B, {anchors}, {width}]; is this the '
            'right family, and are these its strides?'
        )
    plan = Plan(GraphBuilder('behind/'))
    plan.detection = _detection(options, width - 5, anchors)
    decoded = decode_yolox(plan.nodes, behind(plan.nodes, output), width - 5, size, strides)
    select(plan.nodes, *decoded, anchors, options.selection)
    plan.boxes_of = lambda raw: recipe.select(
        *recipe.decode_yolox(raw[output], size, strides), options.selection, anchors
    )
    return plan


def _semantic(foreign: ForeignGraph, options: ImportOptions) -> Plan:
    plan = Plan(GraphBuilder('behind/'))
    _add_heads(plan, foreign, options, tuple(foreign.outputs))
    return plan


def _decoded(foreign: ForeignGraph, options: ImportOptions) -> Plan:
    names = (options.boxes_output, options.scores_output)
    anchors, four = foreign.output(names[0], 3, 'boxes [B, A, 4]')
    same, classes = foreign.output(names[1], 3, 'class probabilities [B, A, C]')
    if four != 4 or same != anchors:
        raise ImportModelError(
            f"family 'decoded': expected {names[0]!r} [B, A, 4] and {names[1]!r} [B, A, C], got "
            f'[B, {anchors}, {four}] and [B, {same}, {classes}]'
        )
    plan = Plan(GraphBuilder('behind/'))
    plan.detection = _detection(options, classes, anchors)
    boxes, scores = (behind(plan.nodes, name) for name in names)
    select(plan.nodes, boxes, *best_class(plan.nodes, scores), anchors, options.selection)
    plan.boxes_of = lambda raw: recipe.select(
        raw[names[0]], raw[names[1]], options.selection, anchors
    )
    _add_heads(plan, foreign, options, tuple(o for o in foreign.outputs if o not in names))
    return plan


FAMILIES: Mapping[str, Family] = {
    'yolox': Family(
        'yolox',
        PixelFormat(order='bgr', divisor=1.0),
        LetterboxInfo(anchor='top_left', rounding='down'),
        _yolox,
    ),
    'semantic': Family('semantic', PixelFormat(), LetterboxInfo(), _semantic),
    'decoded': Family('decoded', PixelFormat(), LetterboxInfo(), _decoded),
}


def family_of(name: str) -> Family:
    """Return a family by name.

    :raises ImportModelError: there is no such family.
    """
    if name not in FAMILIES:
        raise ImportModelError(f'family: expected one of {sorted(FAMILIES)}, got {name!r}')
    return FAMILIES[name]


def _detection(options: ImportOptions, classes: int, anchors: int) -> DetectionInfo:
    return DetectionInfo(
        classes=class_infos(options.classes, classes, 'classes of the boxes'),
        max_detections=options.selection.sizes(anchors)[1],
        score_threshold=options.score_threshold,
        nms_iou=options.selection.nms_iou,
    )


def _add_heads(
    plan: Plan, foreign: ForeignGraph, options: ImportOptions, outputs: tuple[str, ...]
) -> None:
    heads = options.heads
    if heads is None:
        heads = {_head_name(name): HeadOptions(name) for name in outputs}
    for head, wanted in heads.items():
        classes, rows, columns = foreign.output(
            wanted.output, 4, f'logits [B, C, h, w] of head {head!r}'
        )
        stride = _logit_stride(foreign, wanted.output, rows, columns)
        answer = wanted.stride or stride
        if foreign.width % answer or foreign.height % answer:
            raise ImportModelError(
                f'head {head!r}: expected a stride that divides {foreign.width}x'
                f'{foreign.height}, got {answer}'
            )
        plan.semantic[head] = SemanticInfo(
            stride=answer, classes=class_infos(wanted.classes, classes, f'head {head!r}')
        )
        plan.logits_of[head] = wanted.output
        logits = behind(plan.nodes, wanted.output)
        plan.nodes.name(decode_semantic(plan.nodes, logits, stride / answer), f'semantic_{head}')


def _head_name(output: str) -> str:
    """Return a name that topics can bear for an output such as '/decoder/Conv_output_0'."""
    name = re.sub(r'[^a-z0-9]+', '_', output.lower()).strip('_')
    return name if name[:1].isalpha() else f'head_{name}'


def _logit_stride(foreign: ForeignGraph, output: str, rows: int, columns: int) -> int:
    strides = (foreign.width / columns, foreign.height / rows)
    if strides[0] != strides[1] or strides[0] != int(strides[0]):
        raise ImportModelError(
            f'output {output!r}: expected logits over the whole input of {foreign.width}x'
            f'{foreign.height} with one whole stride, got {columns}x{rows}'
        )
    return int(strides[0])


def head_ids(plan: Plan, head: str, raw: recipe.Raw, width: int) -> NDArray[np.uint8]:
    """Return the class ids of a head of one image by the plain recipe."""
    logits = raw[plan.logits_of[head]]
    return recipe.semantic(logits, width // plan.semantic[head].stride / logits.shape[2])
