"""Values of the core as ROS messages."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs rclpy')
pytest.importorskip('vision_msgs', reason='needs vision_msgs')

from diagnostic_msgs.msg import DiagnosticStatus

from perception_ros.core.errors import ImageError
from perception_ros.core.image import Image
from perception_ros.ros import bridge, messages

HEADER = messages.to_header(1_700_000_000_123_456_789, 'front_optical')


def test_header_keeps_every_nanosecond() -> None:
    assert HEADER.frame_id == 'front_optical'
    assert messages.to_nanoseconds(HEADER.stamp) == 1_700_000_000_123_456_789


def test_label_info_lists_names_in_order() -> None:
    info = messages.to_label_info(HEADER, ('sky', 'road'))
    assert [(entry.class_id, entry.class_name) for entry in info.class_map] == [
        (0, 'sky'),
        (1, 'road'),
    ]


def test_overlay_keeps_its_colours() -> None:
    rgb = np.full((32, 48, 3), (220, 120, 20), np.uint8)
    message = messages.to_jpeg(HEADER, rgb, quality=95)
    assert message.header == HEADER
    image = messages.from_compressed_message(message)
    assert image.encoding == 'jpeg'
    assert np.abs(image.rgb().astype(int) - rgb).max() < 6


def test_diagnostics_from_a_mapping() -> None:
    message = messages.to_diagnostics(
        5, {'front': {'p50': 1.25}, 'rear': {}}, levels={'rear': DiagnosticStatus.STALE}
    )
    front, rear = message.status
    assert (front.name, front.level) == ('front', DiagnosticStatus.OK)
    assert [(pair.key, pair.value) for pair in front.values] == [('p50', '1.25')]
    assert rear.level == DiagnosticStatus.STALE


def test_image_message_round_trip() -> None:
    image = Image(bytes(range(24)), 'bgr8', 2, 3, 8)
    back = messages.from_image_message(messages.to_image_message(HEADER, image))
    assert (back.encoding, back.width, back.height, back.step) == ('bgr8', 2, 3, 8)
    assert bytes(memoryview(back.data)) == image.data


def test_known_encodings_never_reach_cv_bridge() -> None:
    image = Image(bytes(12), 'bgr8', 2, 2, 6)
    assert bridge.understood(image) is image


def test_unknown_encoding_without_cv_bridge_says_how_to_mend_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(__import__('sys').modules, 'cv_bridge', None)
    with pytest.raises(ImageError, match=r"unknown encoding '8UC3'.*or install cv_bridge"):
        bridge.understood(Image(bytes(12), '8UC3', 2, 2, 6))


def test_unknown_encoding_goes_through_cv_bridge_where_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class CvBridge:
        """Stands in for the distribution's, which no registry carries."""

        def imgmsg_to_cv2(self, message: object, desired_encoding: str) -> np.ndarray:
            assert desired_encoding == 'rgb8'
            if message.encoding == 'strange':
                raise ValueError('strange is not a color format')
            grid = np.frombuffer(message.data, np.uint8).reshape(2, 2, 3)
            return cv2.cvtColor(grid, cv2.COLOR_BGR2RGB)

    module = type(cv2)('cv_bridge')
    module.CvBridge, module.CvBridgeError = CvBridge, TypeError
    monkeypatch.setitem(__import__('sys').modules, 'cv_bridge', module)
    data = bytes(range(12))
    rgb = bridge.understood(Image(data, '8UC3', 2, 2, 6)).rgb()
    np.testing.assert_array_equal(rgb[0, 0], [2, 1, 0])
    with pytest.raises(ImageError, match='cv_bridge cannot convert it to rgb8: strange is not'):
        bridge.understood(Image(data, 'strange', 2, 2, 6))
