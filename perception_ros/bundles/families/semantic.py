"""Semantic logits: alone as a family, or beside the boxes of another."""

from __future__ import annotations

from collections.abc import Collection
import re

import numpy as np
from numpy.typing import NDArray

from perception_ros.bundles import recipe
from perception_ros.bundles.families.base import Match, Plan, probabilities
from perception_ros.bundles.graph.assemble import behind
from perception_ros.bundles.graph.decode import decode_binary, decode_semantic
from perception_ros.bundles.graph.foreign import ForeignGraph
from perception_ros.bundles.graph.nms import Selection
from perception_ros.bundles.graph.preprocess import PixelFormat
from perception_ros.bundles.labels import class_infos
from perception_ros.bundles.manifest import LetterboxInfo, SemanticInfo
from perception_ros.bundles.options import HeadOptions, ImportOptions
from perception_ros.core.errors import ImportModelError

BINARY = ('background', 'foreground')


class Semantic:
    """Any number of logits [B, C, h, w] or [B, h, w, C]; a single channel is yes or no."""

    name = 'semantic'
    pixels = PixelFormat()
    letterbox = LetterboxInfo()
    selection = Selection()

    def recognise(self, foreign: ForeignGraph) -> Match:
        """Look for outputs that lie over the whole input."""
        heads = [name for name in foreign.outputs if is_logits(foreign, name)]
        others = sorted(set(foreign.outputs) - set(heads))
        if not heads:
            return Match.no('no output lies over the whole input with one whole stride')
        if others:
            return Match(0.3, f'{heads} look like logits, but {others} do not')
        return Match(0.9, f'all outputs lie over the whole input: logits of {heads}')

    def plan(self, foreign: ForeignGraph, options: ImportOptions) -> Plan:
        """Make a head of each output."""
        plan = Plan(foreign)
        add_heads(plan, foreign, options, foreign.outputs)
        return plan


def add_remaining_heads(
    plan: Plan, foreign: ForeignGraph, options: ImportOptions, used: Collection[str]
) -> None:
    """Add the heads that a user named, or else what looks like logits beside the boxes."""
    left = [name for name in foreign.outputs if name not in used]
    heads = [name for name in left if is_logits(foreign, name)]
    if options.heads is None and (ignored := sorted(set(left) - set(heads))):
        plan.notes.append(f'outputs {ignored} are not used.')
    add_heads(plan, foreign, options, heads)


def add_heads(
    plan: Plan, foreign: ForeignGraph, options: ImportOptions, outputs: Collection[str]
) -> None:
    """Put argmax behind the heads that a user named, or else behind each of `outputs`.

    :raises ImportModelError: an output is no logits, or what a user says does not fit them.
    """
    heads = options.heads
    if heads is None:
        heads = {head_name(name): HeadOptions(name) for name in outputs}
    for head, wanted in heads.items():
        _add_head(plan, foreign, head, wanted)


def _add_head(plan: Plan, foreign: ForeignGraph, head: str, wanted: HeadOptions) -> None:
    output = wanted.output
    shape = foreign.output(output, 4, f'logits [B, C, h, w] of head {head!r}')
    last = _channels_last(foreign, shape)
    classes, rows, columns = (shape[2], *shape[:2]) if last else shape
    stride = _stride(foreign, output, rows, columns)
    answer = wanted.stride or stride
    if foreign.width % answer or foreign.height % answer:
        raise ImportModelError(
            f'head {head!r}: expected a stride that divides {foreign.width}x'
            f'{foreign.height}, got {answer}'
        )
    names = wanted.classes
    if classes == 1 and names is None:
        names = BINARY
    binary = classes == 1
    plan.semantic[head] = SemanticInfo(
        stride=answer, classes=class_infos(names, 2 if binary else classes, f'head {head!r}')
    )
    logits = behind(plan.nodes, output)
    if last:
        logits = plan.nodes.op('Transpose', logits, perm=[0, 3, 1, 2])
    enlarge = stride / answer
    # A logit says yes above zero, a probability above one half.
    limit = 0.5 if binary and probabilities(foreign.values(output)) else 0.0
    if binary:
        ids = decode_binary(plan.nodes, logits, enlarge, limit)
    else:
        ids = decode_semantic(plan.nodes, logits, enlarge)
    plan.nodes.name(ids, f'semantic_{head}')

    def ids_of(raw: recipe.Raw) -> NDArray[np.uint8]:
        values = raw[output].transpose(2, 0, 1) if last else raw[output]
        return recipe.semantic(values, enlarge, limit)

    plan.ids_of[head] = ids_of


def head_name(output: str) -> str:
    """Return a name that topics can bear for an output such as '/decoder/Conv_output_0'."""
    name = re.sub(r'[^a-z0-9]+', '_', output.lower()).strip('_')
    return name if name[:1].isalpha() else f'head_{name}'


def is_logits(foreign: ForeignGraph, output: str) -> bool:
    """Say whether an output can be logits over the whole input."""
    shape = foreign.outputs[output]
    if len(shape) != 3 or foreign.sample[output].dtype.kind != 'f':
        return False
    if _channels_last(foreign, shape):
        return shape[2] <= 255
    return shape[0] <= 255 and _whole_stride(foreign, shape[1], shape[2]) is not None


def _channels_last(foreign: ForeignGraph, shape: tuple[int, ...]) -> bool:
    if _whole_stride(foreign, shape[1], shape[2]) is not None:
        return False
    return _whole_stride(foreign, shape[0], shape[1]) is not None


def _whole_stride(foreign: ForeignGraph, rows: int, columns: int) -> int | None:
    if rows < 1 or columns < 1 or foreign.width % columns or foreign.height % rows:
        return None
    stride = foreign.width // columns
    return stride if stride == foreign.height // rows else None


def _stride(foreign: ForeignGraph, output: str, rows: int, columns: int) -> int:
    stride = _whole_stride(foreign, rows, columns)
    if stride is None:
        raise ImportModelError(
            f'output {output!r}: expected logits over the whole input of {foreign.width}x'
            f'{foreign.height} with one whole stride, got {columns}x{rows}'
        )
    return stride
