"""A sender keeps absolute time and sends no burst after it was held up."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
import pytest
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CompressedImage, Image

from perception_ros.benchmarks.live.settings import Stream
from perception_ros.rig.pictures import pictures
from perception_ros.rig.sender import _serialised, _STAMP, _STAMP_AT, Ticks
from perception_ros.ros.messages import to_nanoseconds

PERIOD = 10


@given(st.lists(st.integers(0, 35), min_size=1, max_size=50))
def test_ticks(delays: list[int]) -> None:
    """Whatever holds the sender up: each tick begins less than a period late, or is left out."""
    ticks, now = Ticks(1000, PERIOD, 20 * PERIOD), 0
    begun = []
    for delay in delays:
        if (due := ticks.next_ns()) is None:
            break
        assert (due - 1000) % PERIOD == 0, 'what one tick takes does not add up'
        now = max(now, due) + delay
        if ticks.begin(now):
            begun.append(due)
            assert now - due < PERIOD
    assert begun == sorted(set(begun)) and ticks.done == len(begun) <= 20
    assert ticks.skipped + ticks.done <= 20 + 35 // PERIOD


@pytest.mark.parametrize('encoding', ['raw', 'jpeg'])
def test_a_stamp_is_written_where_the_message_has_it(encoding: str) -> None:
    stream = Stream(cameras=1, width=64, height=48, rate_hz=10, encoding=encoding)
    message = _serialised('camera1', pictures(stream)[0], stream)
    _STAMP.pack_into(message, _STAMP_AT, 12, 345)
    kind = CompressedImage if encoding == 'jpeg' else Image
    read = deserialize_message(bytes(message), kind)
    assert to_nanoseconds(read.header.stamp) == 12_000_000_345
    assert read.header.frame_id == 'camera1_optical_frame'
