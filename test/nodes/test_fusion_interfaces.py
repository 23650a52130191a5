"""The running fusion node as other stacks meet it: Autoware, RViz, and a planner's health."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
import time

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs rclpy')
pytest.importorskip('tf2_msgs', reason='needs tf2_msgs')
pytest.importorskip('autoware_perception_msgs', reason='needs the message packages of Autoware')
pytest.importorskip('tier4_perception_msgs', reason='needs the message packages of Autoware')

from autoware_perception_msgs.msg import DetectedObjects, ObjectClassification, TrackedObjects
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import MarkerArray

from perception_ros.ros.messages import to_stamp
from perception_ros.ros.trust import TRUST_QOS
from test.nodes.bench import wait_until
from test.nodes.vehicle import CAR, transform, Vehicle

pytestmark = pytest.mark.dds

S = 1_000_000_000
BEGIN = np.array([100.0, 50.0, 0.0])
"""Where the vehicle is in odom: far from where the drive began."""


@pytest.fixture
def vehicle() -> Iterator[Vehicle]:
    made = Vehicle(interfaces=['vision_msgs', 'autoware'], fixed_frame='odom')
    with closing(made.drive()):
        made.frames()
        made.lens()
        yield made


def drive(vehicle: Vehicle, sweeps: int) -> None:
    """Publish sweeps at 10 Hz with what belongs to them, from where the vehicle stands."""
    for number in range(sweeps):
        stamp_ns = 5 * S + number * S // 10
        place = transform('odom', 'base_link', BEGIN)
        place.header.stamp = to_stamp(stamp_ns)
        vehicle.publish('/tf', TFMessage(transforms=[place]))
        vehicle.look(stamp_ns)
        vehicle.sweep(stamp_ns)
        time.sleep(0.1)


def test_autoware_gets_objects_where_the_vehicle_is_and_tracks_where_the_world_is(
    vehicle: Vehicle,
) -> None:
    found = vehicle.listen(DetectedObjects, '/perception/object_recognition/detection/objects')
    followed = vehicle.listen(TrackedObjects, '/perception/object_recognition/tracking/objects')
    markers = vehicle.listen(MarkerArray, '/perception/markers')
    drive(vehicle, 6)
    wait_until(lambda: len(found) == len(followed) == 6)
    [car] = found[-1].objects
    at = car.kinematics.pose_with_covariance.pose.position
    assert found[-1].header.frame_id == 'base_link'
    np.testing.assert_allclose((at.x, at.y), CAR[:2], atol=0.4)
    assert car.classification[0].label == ObjectClassification.CAR
    [track] = followed[-1].objects
    at = track.kinematics.pose_with_covariance.pose.position
    assert followed[-1].header.frame_id == 'odom'
    np.testing.assert_allclose((at.x, at.y), (BEGIN + CAR)[:2], atol=0.4)
    ids = {bytes(item.object_id.uuid) for message in followed for item in message.objects}
    assert len(ids) == 1, 'one car, one id'
    wait_until(lambda: len(markers) == 6)
    [text] = [marker.text for marker in markers[-1].markers if marker.ns == 'labels']
    assert text.split()[1:4] == ['car', f'{np.hypot(*CAR[:2]):.0f}', 'm'], 'from the vehicle'


def test_a_planner_sees_that_the_fusion_can_be_trusted(vehicle: Vehicle) -> None:
    heard: list[DiagnosticArray] = []
    vehicle.me.create_subscription(
        DiagnosticArray, '/perception/health', heard.append, TRUST_QOS
    )

    def levels() -> dict[str, bytes]:
        return {status.name: status.level for status in heard[-1].status} if heard else {}

    wait_until(lambda: set(levels()) == {'lidar', 'fusion', 'camera front in fusion'})
    assert set(levels().values()) == {DiagnosticStatus.ERROR}, 'nothing has come yet'
    for _ in range(10):
        drive(vehicle, 15)
        if set(levels().values()) == {DiagnosticStatus.OK}:
            break
    assert set(levels().values()) == {DiagnosticStatus.OK}
    assert {status.hardware_id for status in heard[-1].status} == {'/perception/fusion_node'}
    wait_until(lambda: levels()['lidar'] == DiagnosticStatus.ERROR)
