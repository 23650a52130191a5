"""Results as Autoware's messages, under Autoware's topic names, where its packages are installed.

Names are below the node's namespace: in the default one, /perception, they are Autoware's own.
What the labels mean is in `core.autoware`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any

from geometry_msgs.msg import Twist, TwistWithCovariance, Vector3
import numpy as np
from rclpy.node import Node

from perception_ros.core.autoware import label_numbers
from perception_ros.core.errors import ConfigError
from perception_ros.core.types import Detections
from perception_ros.fusion.types import Objects, Tracks
from perception_ros.ros.messages import to_header
from perception_ros.ros.objects import Boxes, to_poses, to_size
from perception_ros.ros.qos import make_qos
from perception_ros.ros.rcl import publish
from perception_ros.ros.rois import serialise_rois

AUTOWARE_QOS = make_qos('reliable', 5)

ROIS = 'object_recognition/detection/rois'
"""Plus the camera's number in the configured order, from 0."""
DETECTED_OBJECTS = 'object_recognition/detection/objects'
TRACKED_OBJECTS = 'object_recognition/tracking/objects'

PACKAGES = ('autoware_perception_msgs', 'tier4_perception_msgs')

STATIONARY_M_S = 0.5
"""A track that is slower counts as standing."""


def check_installed() -> None:
    """Import Autoware's message packages.

    :raises ConfigError: one is not installed.
    """
    for package in PACKAGES:
        try:
            import_module(f'{package}.msg')
        except ImportError as error:
            raise ConfigError(
                f'interfaces names autoware, but {package} cannot be imported here: {error}. '
                "Source Autoware's workspace (source install/setup.bash) before the node starts, "
                'or leave autoware out of interfaces'
            ) from error


class RoiPublishers:
    """Boxes in images for Autoware's fusion, one topic for each camera; `destroy` ends them.

    :param cameras: in the configured order, by which Autoware numbers them.
    :param labels: as for `core.autoware.read_labels`.
    :raises ConfigError: Autoware's packages are not installed.
    """

    def __init__(self, node: Node, cameras: Iterable[str], labels: Iterable[str]) -> None:
        check_installed()
        from tier4_perception_msgs.msg import DetectedObjectsWithFeature

        self._node = node
        self._labels = tuple(labels)
        self._publishers = {
            camera: node.create_publisher(
                DetectedObjectsWithFeature, f'{ROIS}{number}', AUTOWARE_QOS
            )
            for number, camera in enumerate(cameras)
        }

    def wanted(self, camera: str) -> bool:
        """Say whether somebody listens for a camera."""
        return bool(self._publishers[camera].get_subscription_count())

    def publish(
        self, camera: str, stamp_ns: int, frame_id: str, found: Detections, size: tuple[int, int]
    ) -> None:
        """Publish boxes; `size` is the (width, height) of the image that they lie in."""
        if self.wanted(camera):
            message = serialise_rois(stamp_ns, frame_id, found, size, self._labels)
            publish(self._publishers[camera], message)

    def destroy(self) -> None:
        """Withdraw the topics."""
        for publisher in self._publishers.values():
            self._node.destroy_publisher(publisher)


class ObjectPublishers:
    """Objects and tracks in space for Autoware; `destroy` ends them.

    :param labels: as for `core.autoware.read_labels`.
    :raises ConfigError: Autoware's packages are not installed.
    """

    def __init__(self, node: Node, labels: Iterable[str]) -> None:
        check_installed()
        from autoware_perception_msgs.msg import DetectedObjects, TrackedObjects

        self._node = node
        self._labels = tuple(labels)
        self._detected = node.create_publisher(DetectedObjects, DETECTED_OBJECTS, AUTOWARE_QOS)
        self._tracked = node.create_publisher(TrackedObjects, TRACKED_OBJECTS, AUTOWARE_QOS)

    @property
    def wanted(self) -> bool:
        """Whether somebody listens."""
        listeners = (p.get_subscription_count() for p in (self._detected, self._tracked))
        return any(listeners)

    def publish(self, objects: Objects | None = None, tracks: Tracks | None = None) -> None:
        """Publish what there is of one sweep, to those who listen."""
        if objects is not None and self._detected.get_subscription_count():
            self._detected.publish(to_detected_objects(objects, self._labels))
        if tracks is not None and self._tracked.get_subscription_count():
            self._tracked.publish(to_tracked_objects(tracks, self._labels))

    def destroy(self) -> None:
        """Withdraw the topics."""
        for publisher in (self._detected, self._tracked):
            self._node.destroy_publisher(publisher)


def to_detected_objects(objects: Objects, labels: Iterable[str] = ()) -> Any:
    """Return a DetectedObjects. Front and back of an object are not told apart."""
    from autoware_perception_msgs.msg import (
        DetectedObject,
        DetectedObjectKinematics,
        DetectedObjects,
    )

    message = DetectedObjects(header=to_header(objects.stamp_ns, objects.frame_id))
    for common, pose, oriented in zip(
        _common(objects, labels), to_poses(objects), objects.oriented.tolist(), strict=True
    ):
        kinematics = DetectedObjectKinematics(
            pose_with_covariance=pose,
            has_position_covariance=True,
            orientation_availability=_orientation(DetectedObjectKinematics, oriented),
        )
        message.objects.append(DetectedObject(kinematics=kinematics, **common))
    return message


def to_tracked_objects(tracks: Tracks, labels: Iterable[str] = ()) -> Any:
    """Return a TrackedObjects; velocities are along the object's own axes, as Autoware has them.

    What was seen to move faces where it went; of the rest front and back are not told apart. The
    UUID holds the id of the track in its last eight bytes.
    """
    from autoware_perception_msgs.msg import (
        TrackedObject,
        TrackedObjectKinematics,
        TrackedObjects,
    )
    from unique_identifier_msgs.msg import UUID

    message = TrackedObjects(header=to_header(tracks.stamp_ns, tracks.frame_id))
    speeds_m_s = np.linalg.norm(tracks.velocities, axis=1)
    rows = zip(
        _common(tracks, labels), to_poses(tracks), tracks.oriented.tolist(),
        tracks.has_front.tolist(), tracks.ids.tolist(), own_twists(tracks), speeds_m_s.tolist(),
        strict=True,
    )
    for common, pose, oriented, has_front, identity, twist, speed_m_s in rows:
        kinematics = TrackedObjectKinematics(
            pose_with_covariance=pose,
            twist_with_covariance=twist,
            orientation_availability=_orientation(TrackedObjectKinematics, oriented, has_front),
            is_stationary=speed_m_s < STATIONARY_M_S,
        )
        uuid = UUID(uuid=np.frombuffer(identity.to_bytes(16, 'big', signed=True), np.uint8))
        message.objects.append(TrackedObject(object_id=uuid, kinematics=kinematics, **common))
    return message


def own_twists(tracks: Tracks) -> list[TwistWithCovariance]:
    """Return velocities along the boxes' own x, y and z, and how far they can be relied on."""
    yaws = tracks.yaws
    own_from_frame = np.zeros((len(yaws), 3, 3))
    own_from_frame[:, 0, 0] = own_from_frame[:, 1, 1] = np.cos(yaws)
    own_from_frame[:, 0, 1], own_from_frame[:, 1, 0] = np.sin(yaws), -np.sin(yaws)
    own_from_frame[:, 2, 2] = 1.0
    velocities = np.einsum('nij,nj->ni', own_from_frame, tracks.velocities)
    covariances = np.zeros((len(yaws), 6, 6))
    covariances[:, :3, :3] = (
        own_from_frame @ tracks.velocity_covariances @ own_from_frame.transpose(0, 2, 1)
    )
    return [
        TwistWithCovariance(
            twist=Twist(linear=Vector3(x=x, y=y, z=z)), covariance=covariance
        )
        for (x, y, z), covariance in zip(
            velocities.tolist(), covariances.reshape(-1, 36), strict=True
        )
    ]


def _common(boxes: Boxes, labels: Iterable[str]) -> list[Mapping[str, Any]]:
    """Return what detected and tracked objects have alike, row by row."""
    from autoware_perception_msgs.msg import Shape

    numbers = label_numbers(boxes.class_names, labels)[boxes.labels].tolist()
    return [
        {
            'existence_probability': score,
            'classification': [_classification(number, score)],
            'shape': Shape(type=Shape.BOUNDING_BOX, dimensions=to_size(size)),
        }
        for number, score, size in zip(numbers, boxes.scores.tolist(), boxes.sizes, strict=True)
    ]


def _classification(number: int, score: float) -> Any:
    from autoware_perception_msgs.msg import ObjectClassification

    return ObjectClassification(label=number, probability=score)


def _orientation(kinematics: Any, oriented: bool, has_front: bool = False) -> int:
    if not oriented:
        return int(kinematics.UNAVAILABLE)
    return int(kinematics.AVAILABLE if has_front else kinematics.SIGN_UNKNOWN)
