"""What a user may say about a foreign model; all of it has a default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from perception_ros.bundles.graph.nms import Selection
from perception_ros.bundles.graph.preprocess import PixelFormat
from perception_ros.bundles.manifest import (
    ClassInfo,
    LetterboxInfo,
    LicenceInfo,
    Precision,
    ProvenanceInfo,
)

Names = tuple[str | ClassInfo, ...]


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
    raw: float = 0.001
    """Difference of the network's own outputs, relative to their greatest magnitude."""


# Half precision and rounding to integers make each sum depend on the order of its terms.
_COARSE = Tolerance(score=0.02, box_px=1.0, boxes=0.05, cells=0.01, raw=0.02)
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
    pixels: PixelFormat | None = None
    """What the network wants to see."""
    letterbox: LetterboxInfo | None = None
    """How images are fitted to its input."""
    classes: Names | None = None
    """Of the boxes, in the order of the scores; None: COCO's if there are 80."""
    heads: Mapping[str, HeadOptions] | None = None
    """Semantic heads by name; None: each output that can be one, under its own name."""
    boxes_output: str = 'boxes'
    """Family `decoded`: output with the boxes, [B, A, 4] as x1, y1, x2, y2 in input pixels."""
    scores_output: str = 'scores'
    """Family `decoded`: output with class probabilities, [B, A, C]."""
    strides: tuple[int, ...] = (8, 16, 32)
    """Family `yolox`: strides of the levels in the order of the output."""
    selection: Selection = field(default_factory=Selection)
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
