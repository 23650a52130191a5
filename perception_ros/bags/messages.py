"""Messages made of arrays, and arrays of messages, with no ROS installed.

The objects are those of the library `rosbags`: their fields have the names that ROS 2 gives them.
Poses and transforms are float64 [4, 4] matrices that lead from the child's coordinates to the
parent's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from perception_ros.bags.types import standard
from perception_ros.core import poses
from perception_ros.core.cloud import Cloud, PointField, TYPES
from perception_ros.core.errors import BagError, PointCloudError
from perception_ros.core.image import Image
from perception_ros.core.poses import Matrix

IMAGE = 'sensor_msgs/msg/Image'
COMPRESSED_IMAGE = 'sensor_msgs/msg/CompressedImage'
CAMERA_INFO = 'sensor_msgs/msg/CameraInfo'
POINT_CLOUD = 'sensor_msgs/msg/PointCloud2'
TF = 'tf2_msgs/msg/TFMessage'
DETECTIONS_2D = 'vision_msgs/msg/Detection2DArray'
DETECTIONS_3D = 'vision_msgs/msg/Detection3DArray'
LABEL_INFO = 'vision_msgs/msg/LabelInfo'

_NS_PER_S = 1_000_000_000


class Box3D(NamedTuple):
    """An object in space: `pose` of its centre, `size_m` along its x (length), y and z axes."""

    name: str | None
    """None: of a kind that the data have no class for."""
    pose: Matrix
    size_m: tuple[float, float, float]


def header(stamp_ns: int, frame_id: str) -> Any:
    """Return a std_msgs/Header."""
    return _make('std_msgs/msg/Header', stamp=_stamp(stamp_ns), frame_id=frame_id)


def stamp_ns(head: Any) -> int:
    """Return the stamp of a header in nanoseconds."""
    return int(head.stamp.sec) * _NS_PER_S + int(head.stamp.nanosec)


def image_file(head: Any, data: bytes, kind: str) -> Any:
    """Return a CompressedImage of a whole file; `kind` is 'jpeg' or 'png'."""
    return _make(
        COMPRESSED_IMAGE, header=head, format=f'bgr8; {kind} compressed bgr8',
        data=np.frombuffer(data, np.uint8),
    )


def raw_image(head: Any, image: Image) -> Any:
    """Return a sensor_msgs/Image of a raw image; its bytes are borrowed."""
    return _make(
        IMAGE, header=head, height=image.height, width=image.width, encoding=image.encoding,
        is_bigendian=int(image.is_bigendian), step=image.step,
        data=np.frombuffer(memoryview(image.data), np.uint8),
    )


def label_image(head: Any, ids: NDArray[np.uint8]) -> Any:
    """Return class ids, uint8 [H, W], as mono8; 255 = not known."""
    height, width = ids.shape
    data = np.ascontiguousarray(ids).reshape(-1).data
    return raw_image(head, Image(data, 'mono8', width, height, width))


def label_info(head: Any, names: Sequence[str]) -> Any:
    """Return the names behind class ids, in order."""
    classes = [
        _make('vision_msgs/msg/VisionClass', class_id=i, class_name=name)
        for i, name in enumerate(names)
    ]
    return _make(LABEL_INFO, header=head, class_map=classes, threshold=0.0)


def class_names(message: Any) -> tuple[str, ...]:
    """Return the names in a LabelInfo by id; ids that it leaves out are named by their number."""
    named = {int(item.class_id): str(item.class_name) for item in message.class_map}
    return tuple(named.get(i, str(i)) for i in range(max(named, default=-1) + 1))


def camera_info(head: Any, width: int, height: int, matrix: Matrix) -> Any:
    """Return the CameraInfo of a camera without distortion.

    :param matrix: K, float64 [3, 3], in pixels, where (0, 0) is the middle of the first pixel.
    """
    region = _make(
        'sensor_msgs/msg/RegionOfInterest', x_offset=0, y_offset=0, height=0, width=0,
        do_rectify=False,
    )
    projection = np.hstack([matrix, np.zeros((3, 1))])
    return _make(
        CAMERA_INFO, header=head, height=height, width=width, distortion_model='plumb_bob',
        d=np.zeros(5), k=np.ascontiguousarray(matrix, np.float64).reshape(9),
        r=np.eye(3).reshape(9), p=projection.reshape(12), binning_x=0, binning_y=0, roi=region,
    )


def point_cloud(head: Any, points: NDArray[Any]) -> Any:
    """Return a PointCloud2 of a structured array [N], whose field names and offsets it keeps."""
    fields = [
        _make(
            'sensor_msgs/msg/PointField', name=name, offset=int(offset),
            datatype=TYPES.index(kind.base.str[1:]) + 1, count=1,
        )
        for name, (kind, offset, *_) in (points.dtype.fields or {}).items()
    ]
    step = points.dtype.itemsize
    return _make(
        POINT_CLOUD, header=head, height=1, width=len(points), fields=fields, is_bigendian=False,
        point_step=step, row_step=step * len(points),
        data=np.ascontiguousarray(points).view(np.uint8).reshape(-1), is_dense=True,
    )


def points_of(message: Any) -> NDArray[Any]:
    """Return the points of a PointCloud2 as a structured array [N] that looks into the message.

    :raises BagError: its description contradicts its data.
    """
    fields = [
        PointField(field.name, field.offset, field.datatype, field.count)
        for field in message.fields
    ]
    data = np.ascontiguousarray(message.data, np.uint8)
    cloud = Cloud(
        tuple(fields), message.height, message.width, message.point_step, message.row_step, data,
        message.is_bigendian,
    )
    try:
        return cloud.records()
    except PointCloudError as error:
        raise BagError(f'PointCloud2: {error}') from error


def transforms(items: Iterable[tuple[int, str, str, Matrix]]) -> Any:
    """Return a TFMessage of (stamp in ns, parent frame, child frame, child -> parent)."""
    return _make(TF, transforms=[
        _make(
            'geometry_msgs/msg/TransformStamped', header=header(stamp, parent),
            child_frame_id=child,
            transform=_make(
                'geometry_msgs/msg/Transform', translation=_vector(matrix[:3, 3]),
                rotation=_quaternion(matrix[:3, :3]),
            ),
        )
        for stamp, parent, child, matrix in items
    ])


def matrix_of(transform: Any) -> Matrix:
    """Return a Transform or a Pose as a matrix that leads from the child to the parent.

    A quaternion of zeros, which some write for boxes along the axes, turns nothing.
    """
    place = getattr(transform, 'translation', None) or transform.position
    turn = getattr(transform, 'rotation', None) or transform.orientation
    quaternion = turn.x, turn.y, turn.z, turn.w
    return poses.pose((place.x, place.y, place.z), quaternion if any(quaternion) else (0, 0, 0, 1))


def detections_2d(
    head: Any,
    boxes: NDArray[np.floating[Any]],
    names: Sequence[str | None],
    scores: Sequence[float] | None = None,
    places_m: NDArray[np.floating[Any]] | None = None,
) -> Any:
    """Return a Detection2DArray.

    :param boxes: [N, 4] x1, y1, x2, y2 in pixels, (0, 0) = outer corner of the first pixel.
    :param names: [N] classes; None is a region of which nothing is known: no hypothesis.
    :param scores: [N]; None: what is true, with a score of 1.
    :param places_m: [N, 3] middles of the objects, in the frame of the header; None: not known.
    """
    found = []
    scores = [1.0] * len(names) if scores is None else scores
    places_m = np.zeros((len(names), 3)) if places_m is None else places_m
    for (x1, y1, x2, y2), name, score, place in zip(
        boxes.tolist(), names, scores, places_m, strict=True
    ):
        centre = _make(
            'vision_msgs/msg/Pose2D', theta=0.0,
            position=_make('vision_msgs/msg/Point2D', x=(x1 + x2) / 2, y=(y1 + y2) / 2),
        )
        box = _make(
            'vision_msgs/msg/BoundingBox2D', center=centre, size_x=x2 - x1, size_y=y2 - y1
        )
        found.append(_make(
            'vision_msgs/msg/Detection2D', header=head, results=_hypotheses(name, score, place),
            bbox=box, id='',
        ))
    return _make(DETECTIONS_2D, header=head, detections=found)


def boxes_of(message: Any) -> tuple[NDArray[np.float64], list[str | None]]:
    """Return boxes [N, 4] x1, y1, x2, y2 and classes [N] of a Detection2DArray.

    The class of the highest score counts; None stands for a detection without a hypothesis.
    """
    boxes, names = [], []
    for item in message.detections:
        x, y = item.bbox.center.position.x, item.bbox.center.position.y
        half = item.bbox.size_x / 2, item.bbox.size_y / 2
        boxes.append((x - half[0], y - half[1], x + half[0], y + half[1]))
        best = max(item.results, key=lambda result: result.hypothesis.score, default=None)
        names.append(None if best is None else str(best.hypothesis.class_id))
    return np.array(boxes, np.float64).reshape(-1, 4), names


def places_of(message: Any) -> NDArray[np.float64]:
    """Return where the objects of a Detection2DArray are, [N, 3] in its header's frame.

    NaN where nobody says it: their place would be that of the camera.
    """
    places = np.full((len(message.detections), 3), np.nan)
    for row, item in zip(places, message.detections, strict=True):
        best = max(item.results, key=lambda result: result.hypothesis.score, default=None)
        if best is not None:
            at = best.pose.pose.position
            row[:] = at.x, at.y, at.z
    places[(places == 0).all(axis=1)] = np.nan
    return places


def detections_3d(head: Any, boxes: Iterable[Box3D]) -> Any:
    """Return a Detection3DArray in the frame that the header names."""
    return _make(DETECTIONS_3D, header=head, detections=[
        _make(
            'vision_msgs/msg/Detection3D', header=head, results=_hypotheses(box.name), id='',
            bbox=_make(
                'vision_msgs/msg/BoundingBox3D', center=_pose(box.pose), size=_vector(box.size_m)
            ),
        )
        for box in boxes
    ])


def boxes_3d_of(message: Any) -> list[Box3D]:
    """Return the boxes of a Detection3DArray; the class of the highest score counts."""
    found = []
    for item in message.detections:
        best = max(item.results, key=lambda result: result.hypothesis.score, default=None)
        size = item.bbox.size
        found.append(Box3D(
            None if best is None else str(best.hypothesis.class_id),
            matrix_of(item.bbox.center), (size.x, size.y, size.z),
        ))
    return found


def _make(name: str, /, **fields: Any) -> Any:
    return standard().types[name](**fields)


def _stamp(time_ns: int) -> Any:
    seconds, nanoseconds = divmod(time_ns, _NS_PER_S)
    return _make('builtin_interfaces/msg/Time', sec=seconds, nanosec=nanoseconds)


def _vector(values: Iterable[float]) -> Any:
    x, y, z = (float(value) for value in values)
    return _make('geometry_msgs/msg/Vector3', x=x, y=y, z=z)


def _pose(matrix: Matrix) -> Any:
    x, y, z = (float(value) for value in matrix[:3, 3])
    return _make(
        'geometry_msgs/msg/Pose', position=_make('geometry_msgs/msg/Point', x=x, y=y, z=z),
        orientation=_quaternion(matrix[:3, :3]),
    )


def _quaternion(rotation: Matrix) -> Any:
    x, y, z, w = poses.quaternion_of(rotation)
    return _make('geometry_msgs/msg/Quaternion', x=x, y=y, z=z, w=w)


def _hypotheses(
    name: str | None, score: float = 1.0, place_m: NDArray[np.floating[Any]] | None = None
) -> list[Any]:
    if name is None:
        return []
    matrix = np.eye(4)
    if place_m is not None:
        matrix[:3, 3] = place_m
    pose = _make('geometry_msgs/msg/PoseWithCovariance', pose=_pose(matrix),
                 covariance=np.zeros(36))
    guess = _make('vision_msgs/msg/ObjectHypothesis', class_id=name, score=score)
    return [_make('vision_msgs/msg/ObjectHypothesisWithPose', hypothesis=guess, pose=pose)]
