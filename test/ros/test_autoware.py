"""Results as Autoware's messages, in the types that its stack is built on."""

from __future__ import annotations

import sys

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs rclpy')
pytest.importorskip('autoware_perception_msgs', reason='needs the message packages of Autoware')
pytest.importorskip('tier4_perception_msgs', reason='needs the message packages of Autoware')

from autoware_perception_msgs.msg import (
    DetectedObjectKinematics,
    ObjectClassification,
    Shape,
    TrackedObjectKinematics,
)

from perception_ros.core.autoware import AUTOWARE_LABELS
from perception_ros.core.errors import ConfigError
from perception_ros.ros import autoware as made
from test.ros.seen import no_objects, objects, tracks
from test.ros.test_objects import travelled


def test_the_numbers_are_those_of_the_messages() -> None:
    for number, label in enumerate(AUTOWARE_LABELS):
        assert getattr(ObjectClassification, label.upper()) == number


def test_objects_lie_where_they_are() -> None:
    message = travelled(made.to_detected_objects(objects(), ['person=animal']))
    assert message.header.frame_id == 'lidar_top'
    car, person = message.objects
    at = car.kinematics.pose_with_covariance.pose.position
    assert (at.x, at.y, at.z) == (12.0, -3.0, 0.5)
    assert car.kinematics.has_position_covariance
    assert not car.kinematics.has_twist
    assert (car.shape.type, car.shape.dimensions.x) == (Shape.BOUNDING_BOX, 4.2)
    assert [o.classification[0].label for o in message.objects] == [
        ObjectClassification.CAR, ObjectClassification.ANIMAL
    ]
    assert car.kinematics.orientation_availability == DetectedObjectKinematics.SIGN_UNKNOWN
    assert person.kinematics.orientation_availability == DetectedObjectKinematics.UNAVAILABLE


def test_an_empty_road_is_a_message_too() -> None:
    assert travelled(made.to_detected_objects(no_objects())).objects == []


def test_a_track_keeps_its_uuid_and_moves_along_its_own_axes() -> None:
    """The car looks along the frame's y and drives there: Autoware wants that as its x."""
    message = travelled(made.to_tracked_objects(tracks()))
    again = made.to_tracked_objects(tracks())
    car, other = message.objects
    assert car.object_id == again.objects[0].object_id != other.object_id
    assert int.from_bytes(bytes(car.object_id.uuid), 'big') == 7
    linear = car.kinematics.twist_with_covariance.twist.linear
    assert (linear.x, linear.y) == (pytest.approx(8.0), pytest.approx(0.0, abs=1e-9))
    assert not car.kinematics.is_stationary
    spread = car.kinematics.twist_with_covariance.covariance.reshape(6, 6)
    assert np.diag(spread)[:2] == pytest.approx([0.04, 0.25]), 'how sure it is turns with them'
    assert car.kinematics.orientation_availability == TrackedObjectKinematics.AVAILABLE


def test_a_track_that_stands_is_told_so_and_may_face_either_way() -> None:
    standing = made.to_tracked_objects(
        tracks(velocities=np.full((2, 3), 0.1), has_front=np.zeros(2, np.bool_))
    )
    assert all(track.kinematics.is_stationary for track in standing.objects)
    assert [track.kinematics.orientation_availability for track in standing.objects] == [
        TrackedObjectKinematics.SIGN_UNKNOWN, TrackedObjectKinematics.UNAVAILABLE
    ]


@pytest.mark.parametrize('package', made.PACKAGES)
def test_where_autoware_is_not_installed_that_is_told(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith(package)]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=f'{package} cannot be imported.*Source Autoware'):
        made.check_installed()
