"""What a user may say about a foreign model; all of it has a default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from perception_ros.bundles.graph.nms import Selection
from perception_ros.bundles.graph.preprocess import PixelFormat
from perception_ros.bundles.manifest import (
    ClassInfo,
    LetterboxInfo,
    LicenceInfo,
    Precision,
    ProvenanceInfo,
)

Changes = Mapping[str, Any]
"""Some fields of a whole, by name; the others stay as the family has them."""
Names = tuple[str | ClassInfo, ...]


def with_changes(default: Any, given: Any) -> Any:
    """Return `given`, or `default` with the fields that `given` names.

    :raises ImportModelError: a value that cannot be meant (a `ValidationError` for a manifest's).
    """
    if given is None:
        return default
    if not isinstance(given, Mapping):
        return given
    if isinstance(default, LetterboxInfo):
        return LetterboxInfo(**(default.model_dump() | dict(given)))
    return replace(default, **given)


@dataclass(frozen=True, slots=True)
class Tolerance:
    """What counts as the same answer; runtimes add in different orders."""

    score: float = 0.002
    """Difference of scores."""
    box_px: float = 0.1
    """Difference of box sides in input pixels, for boxes up to 100 px; larger ones in
    proportion."""
    boxes: float = 0.01
    """Share of boxes without a partner: equal scores may be ordered either way."""
    cells: float = 0.001
    """Share of mask cells with another class."""
    mask: float = 0.005
    """Average difference of the probabilities of one instance mask."""
    raw: float = 0.001
    """Difference of the network's own outputs, relative to their greatest magnitude."""


# Half precision and rounding to integers make each sum depend on the order of its terms.
_COARSE = Tolerance(score=0.02, box_px=1.0, boxes=0.05, cells=0.01, mask=0.02, raw=0.02)
TOLERANCES: Mapping[Precision, Tolerance] = {
    'fp32': Tolerance(), 'fp16': _COARSE, 'int8': _COARSE
}


@dataclass(frozen=True, slots=True)
class HeadOptions:
    """A semantic head of a foreign model."""

    output: str
    """Graph output with the logits, [B, C, h, w]."""
    classes: Names | None = None
    """Class names in the order of the logits; None: class_0, class_1, ..."""
    stride: int | None = None
    """Input pixels per cell of the answer; None: that of the logits."""


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """How a foreign model is to be understood. None means: as the family has it."""

    name: str = ''
    """Of the bundle; empty: the name of its folder."""
    description: str = ''
    """One sentence; empty: one is made."""
    input_size: tuple[int, int] | None = None
    """Width and height in pixels, for a graph that leaves them open."""
    pixels: PixelFormat | Changes | None = None
    """What the network wants to see."""
    letterbox: LetterboxInfo | Changes | None = None
    """How images are fitted to its input."""
    classes: Names | None = None
    """Of the boxes, in the order of the scores; None: as the file says, or COCO's for 80."""
    heads: Mapping[str, HeadOptions] | None = None
    """Semantic heads by name; None: each output that can be one, under its own name."""
    boxes_output: str | None = None
    """Of families with boxes and scores apart: output with the boxes, [B, A, 4]; None: the one
    called `boxes`, or else the only one of that shape."""
    scores_output: str | None = None
    """Of the same families: output with the scores, [B, A, C]; None: as with the boxes."""
    background: int | None = None
    """Of families `decoded` and `ssd`: columns of the scores before the first class; None: none
    and one. Of `detr`: 1 if the last column of the logits stands for no object."""
    strides: tuple[int, ...] | None = None
    """Of families with a grid: strides of the levels in the order of the output."""
    mask_cells: int = 28
    """Rows and columns of an instance mask that is made of prototypes."""
    batch: Literal['auto', 'dynamic', 'loop'] = 'auto'
    """`dynamic`: fail if the batch cannot be made dynamic; `loop`: go image by image; `auto`: loop
    only where it must be."""
    selection: Selection | Changes | None = None
    """Suppression and the number of boxes."""
    score_threshold: float = 0.3
    """Default of the node, 0..1."""
    provenance: ProvenanceInfo | None = None
    """None: the source file's name and what its exporter wrote."""
    licence: LicenceInfo | None = None
    """None: 'unknown'."""
    card: str = ''
    """Text of CARD.md; empty: one is made from the manifest."""
    tolerance: Tolerance | None = None
    """How far the bundle's answers may lie from the original's; None: `TOLERANCES`."""
