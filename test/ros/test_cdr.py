"""Serialised images, read in place: against bytes laid out by hand, against rclpy, and fuzzed."""

from __future__ import annotations

from contextlib import suppress
import struct
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from perception_ros.core.errors import ImageError
from perception_ros.core.image import Image
from perception_ros.ros.cdr import (
    read_compressed_image,
    read_image,
    shift_transforms,
    write_stamp,
)
from test.ros.writer import Writer

READERS = {'Image': read_image, 'CompressedImage': read_compressed_image}


def write_image(order: str, frame_id: str, image: Image) -> bytes:
    writer = Writer(order).header(12, 345, frame_id)
    writer.number('I', image.height).number('I', image.width).string(image.encoding)
    writer.number('B', image.is_bigendian).number('I', image.step)
    return writer.octets(bytes(image.data)).done()


@pytest.mark.parametrize('order', ['<', '>'], ids=['little endian', 'big endian'])
@pytest.mark.parametrize('frame_id', ['', 'a', 'ab', 'abc', 'abcd', 'kamera_straße'])
@pytest.mark.parametrize('encoding', ['bgr8', 'mono8', 'bayer_rggb8'])
def test_image_fields_at_every_alignment(order: str, frame_id: str, encoding: str) -> None:
    source = Image(bytes(range(36)), encoding, 3, 4, 9, True)
    serialised = write_image(order, frame_id, source)
    stamp_ns, got_frame_id, image = read_image(serialised)
    assert (stamp_ns, got_frame_id) == (12_000_000_345, frame_id)
    assert (image.width, image.height, image.step) == (3, 4, 9)
    assert (image.encoding, image.is_bigendian) == (encoding, True)
    assert bytes(image.data) == source.data
    assert np.shares_memory(np.frombuffer(image.data, 'u1'), np.frombuffer(serialised, 'u1'))


def test_a_stamp_before_1970_stays_negative() -> None:
    serialised = Writer('<').header(-1, 5, '').string('jpeg').octets(b'').done()
    assert read_compressed_image(serialised).stamp_ns == -999_999_995


@pytest.mark.parametrize('order', ['<', '>'], ids=['little endian', 'big endian'])
@given(stamp_ns=st.integers(-(2**31) * 10**9, 2**31 * 10**9 - 1))
def test_another_stamp_changes_nothing_else(order: str, stamp_ns: int) -> None:
    serialised = Writer(order).header(12, 345, 'front').octets(b'rest').done()
    changed = write_stamp(memoryview(serialised), 'Image', stamp_ns)
    assert changed == Writer(order).header(
        stamp_ns // 10**9, stamp_ns % 10**9, 'front').octets(b'rest').done()


@pytest.mark.parametrize('stamp_ns', [2**31 * 10**9, -(2**31) * 10**9 - 1])
def test_a_stamp_that_does_not_fit_is_refused(stamp_ns: int) -> None:
    serialised = Writer('<').header(12, 345, 'front').done()
    with pytest.raises(ImageError, match='expected seconds that fit into 32 bits'):
        write_stamp(serialised, 'Image', stamp_ns)


def test_a_second_has_no_more_than_a_thousand_million_nanoseconds() -> None:
    serialised = Writer('<').header(1, 10**9, '').string('jpeg').octets(b'').done()
    with pytest.raises(ImageError, match='nanosec is 1000000000; expected less'):
        read_compressed_image(serialised)


@pytest.mark.parametrize('kind', READERS)
@pytest.mark.parametrize(
    'start', [b'', b'\0', b'\0\1\0', b'\0\3\0\0', b'\0\7\0\0'], ids=lambda start: start.hex()
)
def test_other_encapsulations_are_refused(kind: str, start: bytes) -> None:
    with pytest.raises(ImageError, match='plain CDR'):
        READERS[kind](start)


def test_every_cut_is_refused_and_names_the_field() -> None:
    serialised = write_image('<', 'front', Image(bytes(12), 'mono8', 4, 3, 4))
    for length in range(4, len(serialised)):
        with pytest.raises(ImageError, match='ends within'):
            read_image(serialised[:length])
    with pytest.raises(ImageError, match='ends within data: expected at least 64 bytes, got 63'):
        read_image(serialised[:-1])


@given(kind=st.sampled_from(sorted(READERS)), order=st.integers(0, 1), content=st.binary())
@settings(max_examples=500, deadline=None)
def test_any_bytes_give_an_image_or_an_image_error(kind: str, order: int, content: bytes) -> None:
    with suppress(ImageError):
        READERS[kind](bytes([0, order, 0, 0]) + content).image.rgb()


@given(at=st.integers(4, 60), value=st.integers(0, 0xFFFFFFFF))
@settings(max_examples=300, deadline=None)
def test_damaged_lengths_give_an_image_or_an_image_error(at: int, value: int) -> None:
    serialised = bytearray(write_image('<', 'front', Image(bytes(48), 'bgr8', 4, 4, 12)))
    struct.pack_into('<I', serialised, at, value)
    with suppress(ImageError):
        read_image(serialised).image.rgb()


def test_image_as_rclpy_serialises_it() -> None:
    serialization = pytest.importorskip('rclpy.serialization', reason='needs rclpy')
    from sensor_msgs.msg import Image as ImageMessage

    for frame_id in ('', 'a', 'camera_front_left_optical_frame'):
        message = ImageMessage(encoding='bgr8', width=5, height=3, step=16, is_bigendian=0)
        message.header.frame_id = frame_id
        message.header.stamp.sec, message.header.stamp.nanosec = 1_700_000_000, 123_456_789
        message.data = bytes(range(48))
        stamp_ns, got_frame_id, image = read_image(serialization.serialize_message(message))
        assert (stamp_ns, got_frame_id) == (1_700_000_000_123_456_789, frame_id)
        assert (image.encoding, image.width, image.height, image.step) == ('bgr8', 5, 3, 16)
        assert bytes(image.data) == bytes(range(48))


def test_compressed_image_as_rclpy_serialises_it() -> None:
    serialization = pytest.importorskip('rclpy.serialization', reason='needs rclpy')
    from sensor_msgs.msg import CompressedImage

    message = CompressedImage(format='bgr8; jpeg compressed bgr8', data=b'\xff\xd8\xff rubbish')
    message.header.frame_id = 'rear'
    stamp_ns, frame_id, image = read_compressed_image(serialization.serialize_message(message))
    assert (stamp_ns, frame_id, image.encoding) == (0, 'rear', 'jpeg')
    assert bytes(image.data) == b'\xff\xd8\xff rubbish'


@given(st.lists(
    st.tuples(st.integers(0, 2**30), st.text('abc', max_size=9), st.text('abc', max_size=9)),
    max_size=4,
))
def test_transforms_of_later_rounds_are_later(
    items: list[tuple[int, str, str]]
) -> None:
    """And nothing else changes, at every alignment; a stamp of 0 says nothing and goes on so."""
    rclpy = pytest.importorskip('rclpy.serialization')
    messages = pytest.importorskip('tf2_msgs.msg')
    from geometry_msgs.msg import TransformStamped

    def message(by_s: int) -> Any:
        made = messages.TFMessage()
        for seconds, parent, child in items:
            one = TransformStamped(child_frame_id=child)
            one.header.frame_id = parent
            one.header.stamp.sec = seconds + by_s * bool(seconds)
            one.transform.translation.x, one.transform.rotation.z = 1.5, 0.25
            made.transforms.append(one)
        return made

    shifted = shift_transforms(rclpy.serialize_message(message(0)), 3_000_000_000)
    assert rclpy.deserialize_message(shifted, messages.TFMessage) == message(3)
    for end in range(len(shifted)):
        with suppress(ImageError):
            shift_transforms(shifted[:end], 1)
