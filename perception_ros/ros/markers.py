"""Objects as markers for RViz and Foxglove: for people, not for planners."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import count
import math

from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point, Pose, Quaternion, Vector3
import numpy as np
from numpy.typing import NDArray
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from perception_ros.bundles.labels import class_infos
from perception_ros.fusion.types import Tracks
from perception_ros.ros.messages import to_header
from perception_ros.ros.objects import Boxes, to_poses, to_size

LIFETIME_S = 1
"""Markers of a fusion that has gone vanish after this."""

OPACITY, OPACITY_BY_CAMERA = 0.75, 0.25
_LEAST_SIZE_M = 0.1
"""RViz does not draw a box that is flat."""
_TEXT_HEIGHT_M = 0.6
_SHAFT_M, _HEAD_M = 0.15, 0.35
_LEAST_SPEED_M_S = 0.3
"""A slower object is drawn without an arrow: it would point anywhere."""
_WHITE = ColorRGBA(r=1.0, g=1.0, b=1.0, a=1.0)


def to_markers(
    boxes: Boxes,
    ids: Sequence[object] | None = None,
    vehicle: NDArray[np.float64] | None = None,
) -> MarkerArray:
    """Return a box, a line of text and, for what moves, an arrow for each object.

    Boxes have the colour of their class, and are nearly transparent where the range comes from a
    camera alone. The text says id, class, range in m and speed in km/h; the arrow is as long as
    the way of one second. All earlier markers of the topic go.

    :param ids: of the tracks, if there are any.
    :param vehicle: float64 [3], from where ranges are measured; None: the frame's origin.
    """
    header = to_header(boxes.stamp_ns, boxes.frame_id)
    colours = class_colours(boxes.class_names)
    numbers = count()
    markers = [Marker(header=header, action=Marker.DELETEALL)]
    origin = np.zeros(3) if vehicle is None else vehicle
    ranges_m = np.linalg.norm((boxes.centres - origin)[:, :2], axis=1)
    velocities = boxes.velocities if isinstance(boxes, Tracks) else None
    for row, pose in enumerate(to_poses(boxes)):
        label = int(boxes.labels[row])
        red, green, blue = colours[label]
        opacity = OPACITY_BY_CAMERA if boxes.by_camera[row] else OPACITY
        velocity = None if velocities is None else velocities[row]
        parts = ([str(ids[row])] if ids is not None else []) + [
            boxes.class_names[label], f'{ranges_m[row]:.0f} m'
        ]
        box = _marker(header, 'boxes', next(numbers), Marker.CUBE)
        box.pose, box.scale = pose.pose, _drawn_size(boxes.sizes[row])
        box.color = ColorRGBA(r=red, g=green, b=blue, a=opacity)
        markers.append(box)
        if velocity is not None:
            speed_m_s = float(np.linalg.norm(velocity))
            parts.append(f'{3.6 * speed_m_s:.0f} km/h')
            if speed_m_s >= _LEAST_SPEED_M_S:
                markers.append(_arrow(header, next(numbers), pose.pose.position, velocity))
        markers.append(_text(header, next(numbers), box, parts))
    return MarkerArray(markers=markers)


@lru_cache(maxsize=16)
def class_colours(class_names: tuple[str, ...]) -> tuple[tuple[float, float, float], ...]:
    """Return red, green and blue, 0..1, of each class: those of the overlays by default."""
    infos = class_infos(class_names, len(class_names), 'objects')
    return tuple((r / 255, g / 255, b / 255) for r, g, b in (info.color for info in infos))


def _marker(header: Header, namespace: str, number: int, kind: int) -> Marker:
    return Marker(
        header=header, ns=namespace, id=number, type=kind, action=Marker.ADD,
        lifetime=Duration(sec=LIFETIME_S),
        pose=Pose(orientation=Quaternion(x=0.0, y=0.0, z=0.0, w=1.0)),
    )


def _drawn_size(size: NDArray[np.float64]) -> Vector3:
    return to_size(np.fmax(size, _LEAST_SIZE_M))


def _text(header: Header, number: int, box: Marker, parts: Iterable[str]) -> Marker:
    text = _marker(header, 'labels', number, Marker.TEXT_VIEW_FACING)
    at = box.pose.position
    text.pose.position = Point(x=at.x, y=at.y, z=at.z + box.scale.z / 2 + _TEXT_HEIGHT_M)
    text.scale.z = _TEXT_HEIGHT_M
    text.color = _WHITE
    text.text = ' '.join(parts)
    return text


def _arrow(
    header: Header, number: int, begin: Point, velocity: NDArray[np.float64]
) -> Marker:
    arrow = _marker(header, 'velocities', number, Marker.ARROW)
    x, y, z = velocity.tolist()
    end = Point(x=begin.x + x, y=begin.y + y, z=begin.z + z)
    arrow.points = [begin, end]
    arrow.scale = Vector3(x=_SHAFT_M, y=_HEAD_M, z=min(_HEAD_M, math.hypot(x, y, z) / 2))
    arrow.color = _WHITE
    return arrow
