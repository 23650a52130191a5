"""One sweep with all that belongs to it, as the fusion node has it when it begins."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from perception_ros.core.cloud import Cloud, PointField
from perception_ros.core.types import SemanticMask
from perception_ros.fusion.types import FusionSet, Matrix, Sweep, View

_FIELDS = ('x', 'y', 'z', 'intensity', 'ring')
_FLOAT32 = 7
_SURFACES = ('road', 'building', 'sky')
_HORIZON, _ROOFS = 0.55, 0.25
"""Where in the image the road ends and the sky begins, as shares of its height."""


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A cloud of N points, the views of it with a mask each, and where the LiDAR is.

    fusion_set: its sweep holds the same points; output_from_lidar: to a frame whose z points up.
    """

    name: str
    cloud: Cloud
    fusion_set: FusionSet
    output_from_lidar: Matrix

    @classmethod
    def of(cls, name: str, fusion_set: FusionSet, output_from_lidar: Matrix) -> Scene:
        """Make the message of a sweep, and draw a mask for each view.

        A mask shows sky, buildings and road, and the boxes with their classes on top.
        """
        points = fusion_set.sweep.points
        rows = np.zeros((len(points), len(_FIELDS)), '<f4')
        rows[:, :3] = points
        step = rows.shape[1] * rows.itemsize
        fields = [
            PointField(field, rows.itemsize * place, _FLOAT32)
            for place, field in enumerate(_FIELDS)
        ]
        cloud = Cloud(
            tuple(fields), 1, len(points), step, step * len(points),
            rows.reshape(-1).view(np.uint8),
        )
        views = tuple(
            replace(view, semantic={'scene': _mask(view)}) for view in fusion_set.views
        )
        return cls(name, cloud, replace(fusion_set, views=views), output_from_lidar)

    @property
    def boxes(self) -> int:
        """Number of 2D boxes in all views."""
        return sum(len(view.detections or ()) for view in self.fusion_set.views)

    def with_points_of(self, cloud: Cloud) -> FusionSet:
        """Return the set as if a cloud had just come."""
        old = self.fusion_set.sweep
        sweep = Sweep(old.stamp_ns, old.received_ns, old.frame_id, cloud.returns(), cloud)
        return replace(self.fusion_set, sweep=sweep)


def _mask(view: View) -> SemanticMask:
    width, height = view.lens.width, view.lens.height
    found = view.detections
    names = (*_SURFACES, *(found.class_names if found is not None else ()))
    ids = np.zeros((height, width), np.uint8)
    ids[: round(height * _HORIZON)] = _SURFACES.index('building')
    ids[: round(height * _ROOFS)] = _SURFACES.index('sky')
    if found is not None:
        for box, label in zip(found.boxes.round().astype(int), found.labels, strict=True):
            left, top, right, bottom = np.maximum(box, 0)
            ids[top:bottom, left:right] = len(_SURFACES) + label
    return SemanticMask(ids, names)
