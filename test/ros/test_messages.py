"""Core results as ROS messages."""

from __future__ import annotations

from array import array
import sys
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs rclpy')
pytest.importorskip('vision_msgs', reason='needs vision_msgs')

from diagnostic_msgs.msg import DiagnosticStatus

from perception_ros.core.errors import ImageError
from perception_ros.core.image import Image
from perception_ros.core.types import (
    Detections,
    InstanceMasks,
    SemanticMask,
    UNLABELLED,
)
from perception_ros.ros import bridge, messages

HEADER = messages.to_header(1_700_000_000_123_456_789, 'front_optical')


def _detections() -> Detections:
    return Detections(
        boxes=np.array([[0, 0, 640, 480], [10.5, 20, 30, 60.25]], np.float32),
        scores=np.array([0.9, 0.25], np.float32),
        labels=np.array([1, 0], np.int32),
        class_names=('car', 'person'),
    )


def test_header_keeps_every_nanosecond() -> None:
    assert HEADER.frame_id == 'front_optical'
    assert messages.to_nanoseconds(HEADER.stamp) == 1_700_000_000_123_456_789


def test_boxes_are_in_source_pixels_from_the_outer_corner() -> None:
    message = messages.to_detections(HEADER, _detections())
    assert message.header == HEADER
    whole, small = message.detections
    assert whole.header == HEADER
    assert (whole.bbox.center.position.x, whole.bbox.center.position.y) == (320.0, 240.0)
    assert (whole.bbox.size_x, whole.bbox.size_y, whole.bbox.center.theta) == (640.0, 480.0, 0.0)
    assert (small.bbox.center.position.x, small.bbox.center.position.y) == (20.25, 40.125)
    assert (small.bbox.size_x, small.bbox.size_y) == (19.5, 40.25)
    assert whole.results[0].hypothesis.class_id == 'person'
    assert whole.results[0].hypothesis.score == pytest.approx(0.9)
    assert small.results[0].hypothesis.class_id == 'car'


def test_no_detections_still_carry_the_header() -> None:
    empty = Detections(
        np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32), ()
    )
    message = messages.to_detections(HEADER, empty)
    assert message.header == HEADER
    assert len(message.detections) == 0


@pytest.mark.parametrize('view', [False, True], ids=['contiguous', 'strided'])
def test_semantic_mask_is_mono8_and_reads_back(view: bool) -> None:
    class_ids = np.arange(12, dtype=np.uint8).reshape(3, 4)
    class_ids[0, 0] = UNLABELLED
    class_ids = class_ids[:, ::2] if view else class_ids
    message = messages.to_semantic_image(HEADER, SemanticMask(class_ids, ('road',)))
    assert (message.encoding, message.step) == ('mono8', class_ids.shape[1])
    grey, _ = messages.from_image_message(message).pixels()
    np.testing.assert_array_equal(grey, class_ids)


def test_instances_are_mono16_little_endian() -> None:
    indices = np.array([[0, 1, 258]], np.uint16)
    message = messages.to_instance_image(HEADER, InstanceMasks(indices))
    assert (message.encoding, message.width, message.step) == ('mono16', 3, 6)
    assert bytes(message.data) == b'\0\0\1\0\2\1'


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


def test_large_masks_are_not_copied_element_by_element() -> None:
    """Counted, not timed: an array of the wrong kind would be looked at two million times."""
    mask = SemanticMask(np.zeros((1080, 1920), np.uint8), ('road',))
    calls = 0

    def count(frame: Any, event: str, argument: Any) -> None:
        nonlocal calls
        calls += 1

    sys.setprofile(count)
    try:
        message = messages.to_semantic_image(HEADER, mask)
    finally:
        sys.setprofile(None)
    assert isinstance(message.data, array)
    assert calls < 1000


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
