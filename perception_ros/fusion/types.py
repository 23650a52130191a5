"""The values that travel through the fusion, from a LiDAR sweep to objects in metres.

Lengths are in metres, angles in radians. A transform `a_from_b`, float64 [4, 4], takes points of
frame b to frame a. A camera's frame is its optical one: x right, y down, z forward (REP-103).
Pixels are those of `core.types`: (0, 0) is the outer corner of the top-left one.

Objects that hold arrays compare by identity: comparing their contents is never meant.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from perception_ros.core.cloud import Cloud
from perception_ros.core.types import Detections, InstanceMasks, SemanticMask
from perception_ros.fusion.camera import CameraModel

Matrix: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Sweep:
    """One turn of the LiDAR.

    points: float32 [N, 3] in the LiDAR's frame, one for each point of the message, in its order;
    a row that is not finite is a beam that met nothing, and is seen by no camera.
    """

    stamp_ns: int
    received_ns: int
    frame_id: str
    points: NDArray[np.float32]
    cloud: Cloud | None = None
    """The message that they are of, if it is one."""


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """What one camera says about a sweep.

    camera_from_lidar: where a point of the sweep, as it was when the sweep was taken, is for the
    camera when its image was taken: the vehicle's motion in between is in it.
    ids: of the detections, '' where one has none.
    """

    camera: str
    stamp_ns: int
    lens: CameraModel
    camera_from_lidar: Matrix
    detections: Detections | None = None
    ids: tuple[str, ...] = ()
    semantic: Mapping[str, SemanticMask] = field(default_factory=dict)
    instances: InstanceMasks | None = None


@dataclass(frozen=True, slots=True, eq=False)
class FusionSet:
    """A sweep and the views that belong to it, in the cameras' configured order."""

    sweep: Sweep
    views: tuple[View, ...]
    missing: tuple[str, ...] = ()
    """Cameras that should have a view and have none."""


@dataclass(frozen=True, slots=True, eq=False)
class Objects:
    """Objects in space, in one frame, best score first. N of them.

    centres: float64 [N, 3], middle of the box; sizes: float64 [N, 3], along the object's x
    (length), y (width) and z (height); yaws: float64 [N], where that x points about the frame's z;
    oriented: bool [N], whether that is how the object lies, front or back: where nobody sees it,
    the length is laid along the line of sight;
    surfaces: float64 [N, 3], the middle of what is seen of it;
    covariances: float64 [N, 3, 3] of the centre; points: int32 [N], how many of the sweep's are
    its; scores: float32 [N]; labels: int32 [N], index into `class_names`;
    by_camera: bool [N], the range comes from the camera alone; members: of each the indices of
    its points in the sweep;
    sources: which detections each is made of, (camera, index there).
    """

    stamp_ns: int
    frame_id: str
    centres: NDArray[np.float64]
    sizes: NDArray[np.float64]
    yaws: NDArray[np.float64]
    oriented: NDArray[np.bool_]
    surfaces: NDArray[np.float64]
    covariances: NDArray[np.float64]
    points: NDArray[np.int32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int32]
    by_camera: NDArray[np.bool_]
    sources: tuple[tuple[tuple[str, int], ...], ...]
    members: tuple[NDArray[np.intp], ...]
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        """Return the number of objects."""
        return len(self.scores)

    @property
    def by_source(self) -> dict[tuple[str, int], int]:
        """Which object each detection is a part of: (camera, index there) -> index here."""
        return {source: index for index, sources in enumerate(self.sources) for source in sources}


@dataclass(frozen=True, slots=True, eq=False)
class Tracks:
    """Objects that are followed, in a frame in which the world stands still. N of them.

    As `Objects`, and: ids: int64 [N], never used again; has_front: bool [N], whether the x of a
    yaw points to its front: it was seen to go there; velocities: float64 [N, 3], m/s;
    velocity_covariances: float64 [N, 3, 3]; ages: float64 [N], s since the first sight; objects:
    int64 [N], index in the objects of the same stamp, -1 where this sweep did not see it.
    """

    stamp_ns: int
    frame_id: str
    ids: NDArray[np.int64]
    centres: NDArray[np.float64]
    sizes: NDArray[np.float64]
    yaws: NDArray[np.float64]
    oriented: NDArray[np.bool_]
    has_front: NDArray[np.bool_]
    covariances: NDArray[np.float64]
    velocities: NDArray[np.float64]
    velocity_covariances: NDArray[np.float64]
    ages: NDArray[np.float64]
    scores: NDArray[np.float32]
    labels: NDArray[np.int32]
    by_camera: NDArray[np.bool_]
    objects: NDArray[np.int64]
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        """Return the number of tracks."""
        return len(self.scores)


@dataclass(frozen=True, slots=True, eq=False)
class Paint:
    """What each point of a sweep shows, N points.

    classes: uint8 [N], index into `class_names`, 255 = no camera says; scores: float32 [N], 0..1;
    cameras: uint8 [N], index of the view that says it, 255 = none;
    objects: uint16 [N], index in the objects of the same stamp + 1; 0 = none.
    """

    classes: NDArray[np.uint8]
    scores: NDArray[np.float32]
    cameras: NDArray[np.uint8]
    objects: NDArray[np.uint16]
    class_names: tuple[str, ...]
