"""Results on the wire: against bytes laid out by hand, and against rclpy."""

from __future__ import annotations

from itertools import count
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs rclpy')
pytest.importorskip('vision_msgs', reason='needs vision_msgs')

from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import Image
from vision_msgs.msg import Detection2D, Detection2DArray, ObjectHypothesisWithPose

from perception_ros.core.canvas import Canvas, HEADROOM
from perception_ros.core.errors import PerceptionError
from perception_ros.core.types import Detections, InstanceMasks, SemanticMask, UNLABELLED
from perception_ros.ros import serialise
from perception_ros.ros.messages import from_image_message, to_header
from test.ros.writer import Writer

STAMP_NS = 1_700_000_000_123_456_789

texts = st.text(st.characters(exclude_categories=['Cs'], exclude_characters='\0'), max_size=12)
stamps = st.integers(-(2**31) * 10**9, 2**31 * 10**9 - 1)
numbers = st.floats(-1e6, 1e6, width=32)


@st.composite
def detections(draw: st.DrawFn) -> Detections:
    names = draw(st.lists(texts, min_size=1, max_size=4))
    rows = st.tuples(*[numbers] * 4, st.floats(0, 1, width=32))
    found = draw(st.lists(st.tuples(st.integers(0, len(names) - 1), rows), max_size=6))
    values = np.array([row for _, row in found], np.float32).reshape(-1, 5)
    labels = np.array([label for label, _ in found], np.int32)
    length = draw(st.sampled_from([8, 16, 24]))
    signs = st.text('abcdefghij/0123456789', min_size=length, max_size=length)
    ids = draw(st.one_of(
        st.just([]), st.lists(st.just('') | signs, min_size=len(found), max_size=len(found))
    ))
    return Detections(values[:, :4], values[:, 4], labels, tuple(names), tuple(ids))


def ids_of(found: Detections) -> tuple[str, ...]:
    return found.ids or ('',) * len(found)


def by_hand(stamp_ns: int, frame_id: str, found: Detections) -> Writer:
    """Write a Detection2DArray down as vision_msgs 4 defines it."""
    header = (*divmod(stamp_ns, 10**9), frame_id)
    writer = Writer('<').header(*header).number('I', len(found))
    for box, score, label, text in zip(
        found.boxes, found.scores, found.labels, ids_of(found), strict=True
    ):
        x1, y1, x2, y2 = box.tolist()
        writer.header(*header).number('I', 1)
        writer.string(found.class_names[label]).number('d', score)
        position, orientation, covariance = [0] * 3, [0, 0, 0, 1], [0] * 36
        bounds = (x1 + x2) / 2, (y1 + y2) / 2, 0, x2 - x1, y2 - y1
        for number in (*position, *orientation, *covariance, *bounds):
            writer.number('d', number)
        writer.string(text)
    return writer


def by_rclpy(stamp_ns: int, frame_id: str, found: Detections) -> bytes:
    """Do what a node with message objects does."""
    header = to_header(stamp_ns, frame_id)
    message = Detection2DArray(header=header)
    for box, score, label, text in zip(
        found.boxes, found.scores, found.labels, ids_of(found), strict=True
    ):
        x1, y1, x2, y2 = box.tolist()
        hypothesis = ObjectHypothesisWithPose()
        hypothesis.hypothesis.class_id = found.class_names[label]
        hypothesis.hypothesis.score = float(score)
        detection = Detection2D(header=header, results=[hypothesis], id=text)
        detection.bbox.center.position.x = (x1 + x2) / 2
        detection.bbox.center.position.y = (y1 + y2) / 2
        detection.bbox.size_x, detection.bbox.size_y = x2 - x1, y2 - y1
        message.detections.append(detection)
    return bytes(serialize_message(message))


def without(gaps: list[int], message: bytes) -> bytes:
    """Empty the gaps between fields, where rclpy leaves what was in the memory before."""
    emptied = bytearray(message)
    for at in gaps:
        emptied[at] = 0
    return bytes(emptied)


@given(stamp_ns=stamps, frame_id=texts, found=detections())
@example(stamp_ns=-1, frame_id='kamera_straße', found=Detections(
    np.zeros((2, 4), np.float32), np.ones(2, np.float32), np.array([1, 1], np.int32), ('', '車')
))
def test_boxes_are_the_bytes_that_rclpy_makes(
    stamp_ns: int, frame_id: str, found: Detections
) -> None:
    """Whatever the lengths of the names are, on which it depends where each number lies."""
    made = bytes(serialise.serialise_detections(stamp_ns, frame_id, found))
    expected = by_hand(stamp_ns, frame_id, found)
    assert made == expected.done()
    assert made == without(expected.gaps, by_rclpy(stamp_ns, frame_id, found))


def test_boxes_are_in_source_pixels_from_the_outer_corner() -> None:
    found = Detections(
        boxes=np.array([[0, 0, 640, 480], [10.5, 20, 30, 60.25]], np.float32),
        scores=np.array([0.9, 0.25], np.float32),
        labels=np.array([1, 0], np.int32),
        class_names=('car', 'person'),
    )
    sent = bytes(serialise.serialise_detections(STAMP_NS, 'front_optical', found))
    message = deserialize_message(sent, Detection2DArray)
    assert message.header == to_header(STAMP_NS, 'front_optical')
    whole, small = message.detections
    assert whole.header == message.header
    assert (whole.bbox.center.position.x, whole.bbox.center.position.y) == (320.0, 240.0)
    assert (whole.bbox.size_x, whole.bbox.size_y, whole.bbox.center.theta) == (640.0, 480.0, 0.0)
    assert (small.bbox.center.position.x, small.bbox.center.position.y) == (20.25, 40.125)
    assert (small.bbox.size_x, small.bbox.size_y) == (19.5, 40.25)
    assert whole.results[0].hypothesis.class_id == 'person'
    assert whole.results[0].hypothesis.score == pytest.approx(0.9)
    assert small.results[0].hypothesis.class_id == 'car'


def test_a_model_without_classes_still_sends_the_header() -> None:
    found = Detections(
        np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32), ()
    )
    made = bytes(serialise.serialise_detections(STAMP_NS, 'front', found))
    assert deserialize_message(made, Detection2DArray).header == to_header(STAMP_NS, 'front')
    assert made == by_hand(STAMP_NS, 'front', found).done()


def test_another_definition_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A definition that begins otherwise would give bytes that nobody can read."""

    def with_a_field_more(message: Any) -> bytes:
        return serialize_message(message).replace(b'example\0', b'\1\0\0\0example\0')

    monkeypatch.setattr(serialise, 'serialize_message', with_a_field_more)
    with pytest.raises(PerceptionError, match='as vision_msgs 4 has them; the installed one'):
        serialise._tail.__wrapped__()


ids = st.tuples(st.integers(1, 9), st.integers(1, 9)).map(
    lambda size: np.arange(size[0] * size[1]).reshape(size)
)
rooms = st.sampled_from(['drawn to be sent', 'not', 'seen through a stride'])


def placed(values: np.ndarray, dtype: Any, room: str) -> tuple[np.ndarray, Canvas | None]:
    """Return an image of ids as it comes from the core or from elsewhere."""
    if room == 'drawn to be sent':
        canvas = Canvas.empty((values.shape[1], values.shape[0]), dtype)
        canvas.pixels[:] = values
        return canvas.pixels, canvas
    values = values.astype(dtype)
    return (values if room == 'not' else np.repeat(values, 2, axis=1)[:, ::2]), None


def rclpy_image(frame_id: str, encoding: str, pixels: np.ndarray) -> tuple[bytes, list[int]]:
    """Return what rclpy makes of ids, and where the gaps in it are."""
    height, width = pixels.shape
    message = Image(header=to_header(STAMP_NS, frame_id), encoding=encoding)
    message.height, message.width, message.step = height, width, width * pixels.itemsize
    message.data = pixels.tobytes()
    writer = Writer('<').header(*divmod(STAMP_NS, 10**9), frame_id)
    writer.number('I', height).number('I', width).string(encoding)
    writer.number('B', 0).number('I', message.step).octets(pixels.tobytes())
    return bytes(serialize_message(message)), writer.gaps


@given(frame_id=st.one_of(texts, st.just('f' * HEADROOM)), values=ids, room=rooms)
def test_class_ids_are_the_bytes_that_rclpy_makes(
    frame_id: str, values: np.ndarray, room: str
) -> None:
    pixels, canvas = placed(values, np.uint8, room)
    mask = SemanticMask(pixels, ('road',), canvas)
    made = bytes(serialise.serialise_semantic(STAMP_NS, frame_id, mask))
    expected, gaps = rclpy_image(frame_id, 'mono8', values.astype(np.uint8))
    assert made == without(gaps, expected)


@given(frame_id=texts, values=ids, room=rooms)
def test_instances_are_the_bytes_that_rclpy_makes(
    frame_id: str, values: np.ndarray, room: str
) -> None:
    pixels, canvas = placed(values, np.uint16, room)
    masks = InstanceMasks(pixels, canvas=canvas)
    made = bytes(serialise.serialise_instances(STAMP_NS, frame_id, masks))
    expected, gaps = rclpy_image(frame_id, 'mono16', values.astype('<u2'))
    assert made == without(gaps, expected)


def test_a_mask_that_was_drawn_to_be_sent_is_not_copied() -> None:
    canvas = Canvas.empty((4, 3), np.uint8)
    canvas.pixels[:] = UNLABELLED
    sent = serialise.serialise_semantic(
        STAMP_NS, 'front', SemanticMask(canvas.pixels, ('road',), canvas)
    )
    assert np.shares_memory(np.frombuffer(sent, np.uint8), canvas.pixels)
    read, _ = from_image_message(deserialize_message(bytes(sent), Image)).pixels()
    np.testing.assert_array_equal(read, canvas.pixels)


def test_names_are_laid_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The names of classes are looked at once for each frame_id, not for every message."""
    calls = count()
    written = serialise.string

    def counted(text: str) -> bytes:
        next(calls)
        return written(text)

    monkeypatch.setattr(serialise, 'string', counted)
    names = tuple(f'kind of thing {i}' for i in range(50))
    found = Detections(
        np.ones((50, 4), np.float32), np.ones(50, np.float32), np.arange(50, dtype=np.int32), names
    )
    for stamp_ns in range(10):
        serialise.serialise_detections(stamp_ns, 'seen for the first time', found)
    assert next(calls) < 250


def test_a_box_has_the_id_of_its_track() -> None:
    """What one is called moves the bytes of those behind it."""
    found = Detections(
        np.ones((3, 4), np.float32), np.ones(3, np.float32), np.zeros(3, np.int32), ('car',),
        ('front/01', '', 'front/17'),
    )
    read = deserialize_message(
        bytes(serialise.serialise_detections(STAMP_NS, 'front', found)), Detection2DArray
    )
    assert [item.id for item in read.detections] == ['front/01', '', 'front/17']
    assert [item.bbox.size_x for item in read.detections] == [0, 0, 0]
    assert [item.results[0].hypothesis.class_id for item in read.detections] == ['car'] * 3
