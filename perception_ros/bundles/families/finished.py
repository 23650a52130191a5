"""What heads have in common whose detections come out finished: a row each, with a class id."""

from __future__ import annotations

import numpy as np

from perception_ros.bundles.families.base import Plan
from perception_ros.bundles.graph.builder import GraphBuilder
from perception_ros.bundles.graph.foreign import ForeignGraph
from perception_ros.bundles.labels import COCO
from perception_ros.bundles.options import ImportOptions


def class_count(
    plan: Plan, foreign: ForeignGraph, options: ImportOptions, assumed: int = len(COCO)
) -> int:
    """Return how many classes there are, which class ids alone do not say."""
    if foreign.names:
        return len(foreign.names)
    if options.classes:
        return len(options.classes)
    plan.notes.append(
        f'the graph does not say how many classes it has: {assumed} are assumed, as COCO has; '
        'give --labels if it has others.'
    )
    return assumed


def known_classes_only(g: GraphBuilder, scores: str, labels: str, classes: int) -> str:
    """Give score 0 to boxes [B, A] whose class id has no name: none of ours can stand for it."""
    above = g.op('GreaterOrEqual', labels, g.constant(0, np.int32))
    known = g.op('And', above, g.op('Less', labels, g.constant(classes, np.int32)))
    return g.op('Where', known, scores, g.scalar(0))
