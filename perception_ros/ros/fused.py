"""Objects and tracks out: to planners, to people, and to Autoware."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from sensor_msgs.msg import PointCloud2
from vision_msgs.msg import Detection3DArray, LabelInfo
from visualization_msgs.msg import MarkerArray

from perception_ros.core.config import InterfacesConfig
from perception_ros.core.topics import MARKERS, OBJECTS, TRACK_BOXES, TRACK_LABELS, TRACKS
from perception_ros.fusion.types import Objects, Tracks
from perception_ros.ros.autoware import ObjectPublishers
from perception_ros.ros.markers import to_markers
from perception_ros.ros.messages import to_header, to_label_info
from perception_ros.ros.objects import to_detections, to_tracks
from perception_ros.ros.qos import make_qos

FUSED_QOS = make_qos('reliable', 5)
LABEL_QOS = make_qos('reliable', 1, 'transient_local')


class FusedPublishers:
    """The topics of objects and tracks; `destroy` ends them. Nobody listens: nothing is made.

    :raises ConfigError: the interfaces name autoware, and its packages are not installed.
    """

    def __init__(self, node: Node, config: InterfacesConfig) -> None:
        self._node = node
        self._autoware: ObjectPublishers | None = None
        if 'autoware' in config.interfaces:  # first: where it is not installed nothing is made
            self._autoware = ObjectPublishers(node, config.autoware_labels)
        kinds = {TRACKS: PointCloud2, MARKERS: MarkerArray}
        if 'vision_msgs' in config.interfaces:
            kinds |= {OBJECTS: Detection3DArray, TRACK_BOXES: Detection3DArray}
        self._publishers = {
            topic: node.create_publisher(kind, topic, FUSED_QOS) for topic, kind in kinds.items()
        }
        self._labels = node.create_publisher(LabelInfo, TRACK_LABELS, LABEL_QOS)
        self._class_names: tuple[str, ...] = ()

    @property
    def wanted(self) -> bool:
        """Whether anybody listens to any of the topics."""
        return any(map(self._is_heard, self._publishers)) or bool(
            self._autoware and self._autoware.wanted
        )

    def publish(
        self,
        objects: Objects,
        ids: Sequence[object] | None,
        tracks: Tracks | None = None,
        vehicle: NDArray[np.float64] | None = None,
    ) -> None:
        """Publish what came of one sweep.

        :param ids: of the objects: of their tracks, or of the detections that they are made of.
        :param tracks: all that are followed, also those that this sweep did not see; None where
            nothing is tracked. They are what the markers show then, else the objects.
        :param vehicle: float64 [3], where the vehicle is in the frame of the tracks: markers say
            how far from there things are. None: at its origin.
        """
        self._send(OBJECTS, lambda: to_detections(objects, ids))
        if tracks is None:
            self._send(MARKERS, lambda: to_markers(objects, ids))
        else:
            self._tell_class_names(tracks.stamp_ns, tracks.class_names)
            track_ids = tracks.ids.tolist()
            self._send(TRACKS, lambda: to_tracks(tracks))
            self._send(TRACK_BOXES, lambda: to_detections(tracks, track_ids))
            self._send(MARKERS, lambda: to_markers(tracks, track_ids, vehicle))
        if self._autoware:
            self._autoware.publish(objects, tracks)

    def destroy(self) -> None:
        """Withdraw the topics."""
        if self._autoware:
            self._autoware.destroy()
        for publisher in (*self._publishers.values(), self._labels):
            self._node.destroy_publisher(publisher)

    def _tell_class_names(self, stamp_ns: int, class_names: tuple[str, ...]) -> None:
        """Say what `class_id` means, before the first table that needs it."""
        if class_names != self._class_names:
            self._class_names = class_names
            self._labels.publish(to_label_info(to_header(stamp_ns, ''), class_names))

    def _is_heard(self, topic: str) -> bool:
        publisher = self._publishers.get(topic)
        return publisher is not None and bool(publisher.get_subscription_count())

    def _send(self, topic: str, make: Any) -> None:
        if self._is_heard(topic):
            self._publishers[topic].publish(make())
