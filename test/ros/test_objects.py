"""Objects and tracks as messages: what a planner reads is what the fusion has said."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs rclpy')
pytest.importorskip('vision_msgs', reason='needs vision_msgs')

from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import PointCloud2, PointField
from vision_msgs.msg import Detection3DArray

from perception_ros.ros import objects as made
from perception_ros.ros.messages import to_nanoseconds
from test.ros.seen import no_objects, no_tracks, objects, STAMP_NS, tracks


def travelled(message: object) -> object:
    """Return a message as it arrives: rclpy's own check of types is in it."""
    return deserialize_message(serialize_message(message), type(message))


def detections(*args: object) -> Detection3DArray:
    return travelled(made.to_detections(*args))  # type: ignore[arg-type]


def read(message: PointCloud2) -> np.ndarray:
    """Read a table as docs/interfaces.md says."""
    kinds = {PointField.UINT32: 'u4', PointField.FLOAT32: 'f4'}
    row = np.dtype([(field.name, kinds[field.datatype]) for field in message.fields])
    return np.frombuffer(message.data, row)


def test_a_box_lies_where_the_object_is_under_the_header_of_the_sweep() -> None:
    message = detections(objects(), ['7', ''])
    assert to_nanoseconds(message.header.stamp) == STAMP_NS
    car, person = message.detections
    assert car.header == message.header
    assert (message.header.frame_id, car.id, person.id) == ('lidar_top', '7', '')
    centre, size = car.bbox.center, car.bbox.size
    assert (centre.position.x, centre.position.y, centre.position.z) == (12.0, -3.0, 0.5)
    assert (size.x, size.y, size.z) == (4.2, 1.8, 1.5)
    assert centre.orientation.z == pytest.approx(math.sin(math.pi / 4))
    assert centre.orientation.w == pytest.approx(math.cos(math.pi / 4))
    [guess] = car.results
    assert (guess.hypothesis.class_id, round(guess.hypothesis.score, 3)) == ('car', 0.9)
    assert guess.pose.pose == centre
    covariance = guess.pose.covariance.reshape(6, 6)
    assert covariance[:3, :3].tolist() == np.diag([0.04, 0.09, 0.01]).tolist()
    assert covariance[5, 5] == made.YAW_VARIANCE


def test_a_box_lies_as_it_was_laid_and_says_when_nobody_knows_how_the_thing_does() -> None:
    """Its size means nothing without its turn; the variance says what that is worth."""
    _, person = detections(objects()).detections
    turn = person.bbox.center.orientation
    half = math.pi / 12
    assert (turn.x, turn.y, turn.z, turn.w) == (0.0, 0.0, math.sin(half), math.cos(half))
    assert person.results[0].pose.covariance.reshape(6, 6)[5, 5] == made.UNKNOWN_ANGLE_VARIANCE


def test_a_range_by_camera_is_marked_and_changes_no_class() -> None:
    car, person = detections(objects()).detections
    assert len(car.results) == 1
    names = [(r.hypothesis.class_id, r.hypothesis.score) for r in person.results]
    assert names == [('person', 0.5), (made.RANGE_BY_CAMERA, 0.0)]
    assert max(person.results, key=lambda r: r.hypothesis.score).hypothesis.class_id == 'person'


def test_an_empty_road_is_a_message_too() -> None:
    """No message means that nobody looked; no objects, that somebody has and saw none."""
    assert detections(no_objects()).detections == []
    table = travelled(made.to_tracks(no_tracks()))
    assert (table.width, len(read(table))) == (0, 0)


def test_numpy_reads_a_table_of_tracks() -> None:
    message = travelled(made.to_tracks(tracks()))
    assert (message.header.frame_id, message.height, message.width) == ('lidar_top', 1, 2)
    assert len(message.data) == message.row_step == 2 * message.point_step
    car, person = rows = read(message)
    assert rows.dtype.names == made.TRACK_TYPE.names
    assert (car['id'], person['id']) == (7, 5), 'modulo 2 ** 32'
    assert (car['x'], car['vy'], car['length'], car['age']) == pytest.approx((12.0, 8, 4.2, 2.5))
    assert (car['by_camera'], person['by_camera']) == (0, 1)
    assert car['yaw'] == pytest.approx(math.pi / 2)
    assert person['yaw'] == pytest.approx(math.pi / 6)
    assert (car['oriented'], person['oriented']) == (1, 0)
    assert (car['has_front'], person['has_front']) == (1, 0)
    assert rows['deviation'] == pytest.approx([0.3, 3.0])
    assert rows['velocity_deviation'] == pytest.approx([0.5, 2.0])
    assert rows['class_id'].tolist() == [0, 1]
    assert rows['seen'].tolist() == [1, 0], 'and what is only predicted'


@given(st.floats(0, np.pi), st.floats(0.01, 9), st.floats(0.01, 9))
def test_the_deviation_is_that_of_the_worst_direction(turn: float, a: float, b: float) -> None:
    """A range that is known badly must show whichever way the object lies."""
    axes = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    covariance = np.zeros((1, 3, 3))
    covariance[0, :2, :2] = axes @ np.diag([a, b]) @ axes.T
    assert made.horizontal_deviations(covariance) == pytest.approx(np.sqrt(max(a, b)), rel=1e-6)
