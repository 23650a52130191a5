"""Painted clouds as bytes: the message is the one that rclpy would have sent."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs rclpy')

from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import PointCloud2

from perception_ros.core.cloud import Cloud, PointField
from perception_ros.fusion.types import Paint
from perception_ros.ros.messages import to_header
from perception_ros.ros.painted import paint_columns, serialise_cloud

STAMP_NS = 1_700_000_000_123_456_789


@settings(deadline=None)
@given(
    st.integers(0, 9), st.integers(4, 11), st.booleans(), st.booleans(),
    st.sampled_from(['', 'a', 'lidar', 'lidar_top']), st.sampled_from(['x', 'range', 'time']),
)
def test_the_message_is_that_of_rclpy(
    count: int, width: int, dense: bool, big: bool, frame_id: str, name: str
) -> None:
    """Whatever lies in front of the points: each number is aligned to its own size."""
    data = (np.arange(count * width) % 251).astype(np.uint8)
    fields = (PointField(name, 0, 7), PointField('i', 3, 2, 1))
    sent = Cloud(fields, 1, count, width, count * width, data, big, dense)
    serialised = serialise_cloud(STAMP_NS, frame_id, sent)
    received = deserialize_message(bytes(serialised), PointCloud2)
    assert received.header == to_header(STAMP_NS, frame_id)
    assert bytes(received.data) == data.tobytes()
    assert (received.is_dense, received.is_bigendian) == (dense, big)
    assert (received.height, received.width) == (1, count)
    assert (received.point_step, received.row_step) == (width, count * width)
    assert [(f.name, f.offset, f.datatype, f.count) for f in received.fields] == [
        (name, 0, 7, 1), ('i', 3, 2, 1)
    ]
    assert len(serialised) == len(serialize_message(received))


def test_colours_are_those_of_the_classes_and_grey_for_none() -> None:
    paint = Paint(
        np.array([1, 255, 0], np.uint8), np.zeros(3, np.float32), np.zeros(3, np.uint8),
        np.zeros(3, np.uint16), ('person', 'car'),
    )
    columns = paint_columns(paint)
    assert [f'{colour:06x}' for colour in columns['rgb'].tolist()] == [
        'ff9e00', '808080', '00d1ff'
    ]
    assert {name: column.dtype.str[1:] for name, column in columns.items()} == {
        'class_id': 'u1', 'camera': 'u1', 'object': 'u2', 'class_score': 'f4', 'rgb': 'u4'
    }
