"""Objects and tracks as messages: what a planner reads of where things are and how they move.

`vision_msgs` knows no velocity. Tracks therefore go out as a table too: a PointCloud2 whose fields
are all of four bytes, so that NumPy, `sensor_msgs_py` and RViz read it as it is, a bag needs no
message package of ours, and one message costs one copy however many tracks there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
import math
import sys
from typing import TypeAlias

from geometry_msgs.msg import Point, Pose, PoseWithCovariance, Quaternion, Vector3
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import PointCloud2, PointField
from vision_msgs.msg import (
    BoundingBox3D,
    Detection3D,
    Detection3DArray,
    ObjectHypothesis,
    ObjectHypothesisWithPose,
)

from perception_ros.fusion.types import Objects, Tracks
from perception_ros.ros.messages import octets, to_header

RANGE_BY_CAMERA = 'range_by_camera'
"""Class of a second hypothesis, of score 0: no point of the LiDAR says how far the object is."""

UNKNOWN_ANGLE_VARIANCE = math.pi**2 / 3
"""Of an angle that may be anything, in rad²."""

YAW_VARIANCE = 0.2**2
"""Of a yaw that was told by points or by motion, in rad²: assumed, for no fit says its own."""

TRACK_TYPE = np.dtype([
    ('id', np.uint32), ('x', np.float32), ('y', np.float32), ('z', np.float32),
    ('vx', np.float32), ('vy', np.float32), ('vz', np.float32), ('yaw', np.float32),
    ('length', np.float32), ('width', np.float32), ('height', np.float32),
    ('score', np.float32), ('class_id', np.uint32), ('age', np.float32),
    ('deviation', np.float32), ('velocity_deviation', np.float32), ('by_camera', np.uint32),
    ('seen', np.uint32), ('oriented', np.uint32), ('has_front', np.uint32),
])
"""A row of the table `tracks`. Metres, m/s, radians, seconds; in the frame of the header.

id: of the track, modulo 2 ** 32. x, y, z: middle of the box. yaw: where the length points.
class_id: index in the names of `tracks/label_info`. age: since its first sight. deviation,
velocity_deviation: standard deviations along the worst horizontal directions. by_camera: 1 where
the range comes from a camera alone. seen: 1 where this sweep saw it, 0 where it is predicted.
oriented: 1 where the yaw is how it lies or moves, 0 where nobody knows that and the length is laid
along the line of sight. has_front: 1 where it was seen to go where the yaw points.
"""

Boxes: TypeAlias = Objects | Tracks
"""What lies in space as upright boxes."""

_POINT_TYPES = {
    np.dtype(np.uint32): PointField.UINT32, np.dtype(np.float32): PointField.FLOAT32,
}


def to_detections(boxes: Boxes, ids: Iterable[object] | None = None) -> Detection3DArray:
    """Return boxes with their covariance; `class_id` is the name of the class.

    Where nobody knows how one lies, the yaw has `UNKNOWN_ANGLE_VARIANCE`, which roll and pitch
    always have: its length is drawn along the line of sight.
    A range that comes from a camera alone is marked by a hypothesis `RANGE_BY_CAMERA`.

    :param ids: of the tracks, or of the detections that the boxes are made of; '' for none.
    """
    header = to_header(boxes.stamp_ns, boxes.frame_id)
    texts = [''] * len(boxes.scores) if ids is None else [str(each) for each in ids]
    poses = to_poses(boxes)
    detections = []
    for row, (text, pose) in enumerate(zip(texts, poses, strict=True)):
        results = [_hypothesis(boxes.class_names[boxes.labels[row]], boxes.scores[row], pose)]
        if boxes.by_camera[row]:
            results.append(_hypothesis(RANGE_BY_CAMERA, 0.0, pose))
        box = BoundingBox3D(center=pose.pose, size=to_size(boxes.sizes[row]))
        detections.append(Detection3D(header=header, results=results, bbox=box, id=text))
    return Detection3DArray(header=header, detections=detections)


def to_tracks(tracks: Tracks) -> PointCloud2:
    """Return tracks as a table, whose rows are of `TRACK_TYPE`."""
    rows = np.empty(len(tracks.scores), TRACK_TYPE)
    for names, values in (
        (('x', 'y', 'z'), tracks.centres),
        (('vx', 'vy', 'vz'), tracks.velocities),
        (('length', 'width', 'height'), tracks.sizes),
    ):
        for name, column in zip(names, values.T, strict=True):
            rows[name] = column
    rows['id'] = tracks.ids & 0xFFFFFFFF
    rows['yaw'] = tracks.yaws
    rows['score'] = tracks.scores
    rows['class_id'] = tracks.labels
    rows['age'] = tracks.ages
    rows['deviation'] = horizontal_deviations(tracks.covariances)
    rows['velocity_deviation'] = horizontal_deviations(tracks.velocity_covariances)
    rows['by_camera'] = tracks.by_camera
    rows['seen'] = tracks.objects >= 0
    rows['oriented'] = tracks.oriented
    rows['has_front'] = tracks.has_front
    return to_table(tracks.stamp_ns, tracks.frame_id, rows)


def to_table(stamp_ns: int, frame_id: str, rows: NDArray[np.void]) -> PointCloud2:
    """Return rows [N] of a structured type as a PointCloud2 of one line, a field for each name."""
    fields = [
        PointField(name=name, offset=offset, datatype=_POINT_TYPES[kind], count=1)
        for name, (kind, offset, *_) in (rows.dtype.fields or {}).items()
    ]
    return PointCloud2(
        header=to_header(stamp_ns, frame_id),
        height=1,
        width=len(rows),
        fields=fields,
        is_bigendian=sys.byteorder == 'big',
        point_step=rows.dtype.itemsize,
        row_step=rows.nbytes,
        data=octets(rows.view(np.uint8)),
        is_dense=False,
    )


def to_poses(boxes: Boxes) -> list[PoseWithCovariance]:
    """Return where the middle of each box is and where its length points, row by row."""
    covariances = np.zeros((len(boxes.scores), 6, 6))
    covariances[:, :3, :3] = boxes.covariances
    covariances[:, 3, 3] = covariances[:, 4, 4] = UNKNOWN_ANGLE_VARIANCE
    covariances[:, 5, 5] = np.where(boxes.oriented, YAW_VARIANCE, UNKNOWN_ANGLE_VARIANCE)
    return [
        PoseWithCovariance(
            pose=Pose(
                position=Point(x=x, y=y, z=z),
                orientation=Quaternion(x=0.0, y=0.0, z=math.sin(half), w=math.cos(half)),
            ),
            covariance=covariance,
        )
        for (x, y, z), half, covariance in zip(
            boxes.centres.tolist(), (boxes.yaws / 2).tolist(), covariances.reshape(-1, 36),
            strict=True,
        )
    ]


def to_size(size: Sequence[float] | NDArray[np.float64]) -> Vector3:
    """Return length, width and height in metres; 0 where one is unknown."""
    x, y, z = np.nan_to_num(np.asarray(size, np.float64)).tolist()
    return Vector3(x=x, y=y, z=z)


def horizontal_deviations(covariances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the standard deviations along the worst horizontal directions, float64 [N]."""
    xx, xy, yy = covariances[:, 0, 0], covariances[:, 0, 1], covariances[:, 1, 1]
    largest = (xx + yy) / 2 + np.hypot((xx - yy) / 2, xy)
    return np.asarray(np.sqrt(np.maximum(largest, 0.0)))


def _hypothesis(
    name: str, score: float, pose: PoseWithCovariance
) -> ObjectHypothesisWithPose:
    hypothesis = ObjectHypothesis(class_id=name, score=float(score))
    return ObjectHypothesisWithPose(hypothesis=hypothesis, pose=pose)
