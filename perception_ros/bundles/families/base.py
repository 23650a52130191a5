"""What a family of foreign models is: the small protocol that each of them implements.

A family recognises its own graphs, writes the nodes behind the network, and says in plain NumPy
what they must compute: the proof at the end of an import compares the two.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from perception_ros.bundles import recipe
from perception_ros.bundles.graph.builder import GraphBuilder
from perception_ros.bundles.graph.foreign import ForeignGraph
from perception_ros.bundles.graph.masks import MaskHead
from perception_ros.bundles.graph.nms import select, Selection
from perception_ros.bundles.graph.preprocess import PixelFormat
from perception_ros.bundles.labels import class_infos
from perception_ros.bundles.manifest import DetectionInfo, LetterboxInfo, MaskInfo, SemanticInfo
from perception_ros.bundles.options import ImportOptions, with_changes
from perception_ros.core.errors import ImportModelError

T = TypeVar('T')


@dataclass(frozen=True, slots=True)
class Match:
    """How well a graph fits a family."""

    score: float
    """0: not at all; 1: it can be nothing else. Two families within 0.2 are ambiguous."""
    reason: str
    """What in the graph says so, as half a sentence."""

    @classmethod
    def no(cls, reason: str) -> Match:
        """Return what says that the graph is of another family."""
        return cls(0.0, reason)


@dataclass
class Plan:
    """What a family makes of one graph."""

    network: ForeignGraph
    """The graph, in the form that the nodes stand behind."""
    nodes: GraphBuilder = field(default_factory=lambda: GraphBuilder('behind/'))
    """Nodes behind the network; they name the bundle's outputs."""
    detection: DetectionInfo | None = None
    boxes_of: Callable[[recipe.Raw], recipe.Boxes] | None = None
    """The boxes of one image by the plain recipe, from the original's outputs."""
    semantic: dict[str, SemanticInfo] = field(default_factory=dict)
    ids_of: dict[str, Callable[[recipe.Raw], NDArray[np.uint8]]] = field(default_factory=dict)
    """Head -> class ids of one image by the plain recipe."""
    outputs_have_batch: bool = True
    """Whether the original's outputs have one; torchvision's detectors give none."""
    sorts: bool = False
    """Whether the network sorts its own answers: then equal scores may swap rows, and only the
    boxes that come out can be compared."""
    notes: list[str] = field(default_factory=list)
    """What a user should know, in sentences."""


class Family(Protocol):
    """A kind of foreign model, with what its makers usually do."""

    name: str
    pixels: PixelFormat
    letterbox: LetterboxInfo
    selection: Selection

    def recognise(self, foreign: ForeignGraph) -> Match:
        """Say how well a graph fits, and why."""
        ...

    def plan(self, foreign: ForeignGraph, options: ImportOptions) -> Plan:
        """Write what goes behind the network.

        :raises ImportModelError: the graph is of another family, or the options do not fit it.
        """
        ...


def chosen(default: T, given: Any) -> T:
    """Return what a user chose, or changed, over what the family has."""
    answer: T = with_changes(default, given)
    return answer


@dataclass(frozen=True)
class Candidates:
    """Boxes in the graph, before the best are chosen."""

    boxes: str
    """float32 [B, A, 4], x1, y1, x2, y2 in input pixels."""
    scores: str
    """float32 [B, A]."""
    labels: str
    """int32 [B, A]."""
    count: int
    """A."""
    masks: MaskHead | None = None


def add_detection(
    plan: Plan,
    found: Candidates,
    selection: Selection,
    options: ImportOptions,
    classes: int,
    mask_size: tuple[int, int] | None = None,
) -> None:
    """Put the choice of the best boxes behind, and say in the plan what comes out.

    :param classes: how many the model has.
    :param mask_size: rows and columns of the masks, where there are any.
    """
    select(
        plan.nodes, found.boxes, found.scores, found.labels, found.count, selection, found.masks
    )
    plan.detection = DetectionInfo(
        classes=class_infos(
            options.classes, classes, 'classes of the boxes', plan.network.names
        ),
        max_detections=selection.sizes(found.count)[1],
        score_threshold=options.score_threshold,
        nms_iou=selection.nms_iou,
        masks=MaskInfo(height=mask_size[0], width=mask_size[1]) if mask_size else None,
    )




def refuse(family: str, expected: str, foreign: ForeignGraph, why: str = '') -> ImportModelError:
    """Return the error that a graph does not fit a family."""
    came = ', '.join(
        f'{name} {list(value.shape)}' for name, value in sorted(foreign.sample.items())
    )
    return ImportModelError(
        f'family {family!r}: expected {expected}, got {came}'
        + (f' ({why})' if why else '')
        + '; is this the right family? --family auto says what the graph looks like'
    )


def grid_cells(size: tuple[int, int], strides: tuple[int, ...], *, up: bool = False) -> int:
    """Return how many cells levels of these strides have; `up` counts cut cells at the border."""
    width, height = size
    if up:
        return sum(-(-width // stride) * -(-height // stride) for stride in strides)
    return sum((width // stride) * (height // stride) for stride in strides)


def probabilities(values: NDArray[np.float32]) -> bool:
    """Say whether all numbers could be probabilities."""
    return bool(values.size and values.min() >= -1e-3 and values.max() <= 1 + 1e-3)
