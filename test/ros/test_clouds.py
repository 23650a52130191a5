"""Clouds between ROS and the core: what goes out is what ROS reads, and the other way round."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs rclpy')

from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import PointCloud2, PointField

from perception_ros.core.errors import PerceptionError
from perception_ros.ros.cdr import read_point_cloud
from perception_ros.ros.messages import to_header
from perception_ros.ros.painted import serialise_cloud

STAMP_NS, FRAME_ID = 1_500_000_000_123_456_789, 'lidar_top'


def message(*, is_bigendian: bool = False) -> PointCloud2:
    """Return two rows of three points with a ring, each row with five bytes too many."""
    real = '>f4' if is_bigendian else '<f4'
    kind = np.dtype({
        'names': ['x', 'y', 'z', 'ring'], 'formats': [real, real, real, 'u1'],
        'offsets': [0, 4, 8, 12], 'itemsize': 13,
    })
    points = np.zeros((2, 3), kind)
    for column, axis in enumerate('xyz'):
        points[axis] = np.arange(6).reshape(2, 3) + column / 4
    points['ring'] = np.arange(6).reshape(2, 3)
    rows = np.zeros((2, 3 * 13 + 5), np.uint8)
    rows[:, :39] = points.view(np.uint8).reshape(2, 39)
    fields = [
        PointField(name=name, offset=4 * index, datatype=7, count=1)
        for index, name in enumerate('xyz')
    ]
    return PointCloud2(
        header=to_header(STAMP_NS, FRAME_ID), height=2, width=3, point_step=13, row_step=44,
        fields=[*fields, PointField(name='ring', offset=12, datatype=2, count=1)],
        is_bigendian=is_bigendian, is_dense=True, data=rows.tobytes(),
    )


@pytest.mark.parametrize('is_bigendian', [False, True], ids=['little', 'big'])
def test_a_cloud_is_read_as_ros_writes_it(is_bigendian: bool) -> None:
    stamp, cloud = read_point_cloud(serialize_message(message(is_bigendian=is_bigendian)))
    assert (stamp.stamp_ns, stamp.frame_id) == (STAMP_NS, FRAME_ID)
    expected = np.arange(6)[:, None] + np.arange(3) / 4
    assert cloud.xyz().tolist() == expected.tolist()
    assert cloud.is_dense and cloud.is_bigendian == is_bigendian


@pytest.mark.parametrize('is_bigendian', [False, True], ids=['little', 'big'])
def test_ros_reads_a_painted_cloud_with_all_that_came_in(is_bigendian: bool) -> None:
    came = message(is_bigendian=is_bigendian)
    _, cloud = read_point_cloud(serialize_message(came))
    labels, scores = np.arange(6).astype(np.uint8) + 10, np.linspace(0, 1, 6, dtype=np.float32)
    painted = cloud.with_fields({'class_id': labels, 'class_score': scores})
    went = deserialize_message(bytes(serialise_cloud(STAMP_NS, FRAME_ID, painted)), PointCloud2)
    assert went.header == came.header
    assert (went.height, went.width, went.is_bigendian) == (2, 3, is_bigendian)
    assert list(went.fields[:4]) == list(came.fields)
    assert [(field.name, field.offset, field.datatype) for field in went.fields[4:]] == [
        ('class_id', 13, 2), ('class_score', 16, 7)]
    assert went.row_step == 3 * went.point_step and len(went.data) == 2 * went.row_step
    octets = np.array(went.data, np.uint8).reshape(6, went.point_step)
    before = np.array(came.data, np.uint8).reshape(2, 44)[:, :39].reshape(6, 13)
    assert octets[:, :13].tolist() == before.tolist()
    assert octets[:, 13].tolist() == labels.tolist()
    stored = octets[:, 16:20].copy().view('>f4' if is_bigendian else '<f4').ravel()
    assert stored.tolist() == scores.tolist()


def test_a_cloud_of_no_points_travels() -> None:
    empty = message()
    empty.height, empty.width, empty.row_step, empty.data = 1, 0, 0, b''
    stamp, cloud = read_point_cloud(serialize_message(empty))
    assert cloud.xyz().shape == (0, 3)
    painted = cloud.with_fields({'class_id': np.zeros(0, np.uint8)})
    went = deserialize_message(
        bytes(serialise_cloud(stamp.stamp_ns, stamp.frame_id, painted)), PointCloud2
    )
    assert (went.width, len(went.data)) == (0, 0) and went.fields[-1].name == 'class_id'


def test_bytes_that_are_cut_off_anywhere_raise_what_the_node_catches() -> None:
    """A callback that meets any other error would end the thread that takes messages."""
    whole = bytes(serialize_message(message()))
    for length in range(len(whole) - 1):
        with pytest.raises(PerceptionError):
            read_point_cloud(whole[:length])[1].xyz()


def test_numbers_of_any_size_raise_what_the_node_catches() -> None:
    _, cloud = read_point_cloud(serialize_message(message()))
    most = 2**32 - 1
    for name in ('height', 'width', 'point_step', 'row_step'):
        wrong = replace(cloud, **{name: most})
        if name == 'row_step':
            wrong = replace(wrong, height=3)
        with pytest.raises(PerceptionError):
            wrong.xyz()
    with pytest.raises(PerceptionError):
        replace(cloud, height=most, width=most, point_step=most, row_step=most).xyz()
