"""Boxes as Autoware's ROIs: the message is the one that rclpy would have sent."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs rclpy')
pytest.importorskip('autoware_perception_msgs', reason='needs the message packages of Autoware')
pytest.importorskip('tier4_perception_msgs', reason='needs the message packages of Autoware')

from autoware_perception_msgs.msg import ObjectClassification
from rclpy.serialization import deserialize_message, serialize_message
from tier4_perception_msgs.msg import DetectedObjectsWithFeature, DetectedObjectWithFeature

from perception_ros.core.types import Detections
from perception_ros.ros import rois as made
from perception_ros.ros.messages import to_header, to_nanoseconds
from test.ros.seen import STAMP_NS


def detections(*boxes: tuple[float, ...]) -> Detections:
    count = len(boxes)
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.linspace(0.9, 0.5, count).astype(np.float32),
        (np.arange(count) % 2).astype(np.int32),
        ('person', 'excavator'),
    )


def rois(*args: Any) -> DetectedObjectsWithFeature:
    return deserialize_message(bytes(made.serialise_rois(*args)), DetectedObjectsWithFeature)


def plain(stamp_ns: int, frame_id: str, found: Detections) -> DetectedObjectsWithFeature:
    """Return the message of people, and what a detector calls excavator is unknown to Autoware."""
    message = DetectedObjectsWithFeature(header=to_header(stamp_ns, frame_id))
    for box, score, label in zip(found.boxes, found.scores, found.labels, strict=True):
        item = DetectedObjectWithFeature()
        item.object.existence_probability = float(score)
        item.object.classification = [
            ObjectClassification(label=0 if label else 7, probability=float(score))
        ]
        roi = item.feature.roi
        roi.x_offset, roi.y_offset, x2, y2 = map(int, box)
        roi.width, roi.height = x2 - roi.x_offset, y2 - roi.y_offset
        message.feature_objects.append(item)
    return message


def test_boxes_become_rois_in_whole_pixels_under_the_image_s_header() -> None:
    found = detections((10.4, 20.6, 30.2, 40.0), (-3, 0, 700, 480.5))
    message = rois(STAMP_NS, 'front_optical', found, (640, 480))
    assert to_nanoseconds(message.header.stamp) == STAMP_NS
    assert message.header.frame_id == 'front_optical'
    person, unknown = message.feature_objects
    roi = person.feature.roi
    assert (roi.x_offset, roi.y_offset, roi.width, roi.height) == (10, 21, 20, 19)
    roi = unknown.feature.roi
    assert (roi.x_offset, roi.y_offset, roi.width, roi.height) == (0, 0, 640, 480)
    assert person.object.existence_probability == pytest.approx(0.9)
    [guess] = person.object.classification
    assert (guess.label, guess.probability) == (
        ObjectClassification.PEDESTRIAN, pytest.approx(0.9)
    )
    assert unknown.object.classification[0].label == ObjectClassification.UNKNOWN


@given(st.lists(st.tuples(*[st.floats(-2000, 3000, width=32)] * 4), max_size=8))
def test_a_roi_never_leaves_the_image_and_is_the_box_to_half_a_pixel(
    corners: list[tuple[float, ...]],
) -> None:
    """An offset is unsigned: a box that begins left of the image must not begin far right."""
    boxes = np.sort(np.array(corners, np.float32).reshape(-1, 2, 2), axis=1).reshape(-1, 4)
    x, y, width, height = made.whole_pixels(boxes, (1920, 1080)).T
    assert (np.stack([x, y, width, height]) >= 0).all()
    assert (x + width <= 1920).all()
    assert (y + height <= 1080).all()
    inside = np.clip(boxes, 0, [1920, 1080, 1920, 1080])
    edges = np.column_stack([x, y, x + width, y + height])
    assert np.abs(edges - inside).max(initial=0) <= 0.5


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 70), st.text(max_size=12), st.integers(0, 2**31 * 10**9 - 1))
def test_the_message_is_that_of_rclpy(count: int, frame_id: str, stamp_ns: int) -> None:
    """Whatever lies in front of the rows: they are aligned anew after each name of a frame."""
    frame_id = frame_id.replace('\0', '').encode('ascii', 'ignore').decode()
    boxes = np.arange(4 * count).reshape(-1, 2, 2) % 480
    corners = np.sort(boxes, axis=1).reshape(-1, 4)
    found = detections(*map(tuple, corners.tolist()))
    expected = plain(stamp_ns, frame_id, found)
    serialised = made.serialise_rois(stamp_ns, frame_id, found, (640, 480))
    assert len(serialised) == len(serialize_message(expected))
    assert deserialize_message(bytes(serialised), type(expected)) == expected
