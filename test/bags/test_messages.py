"""What is written without ROS is what ROS itself reads, field by field."""

from __future__ import annotations

from pathlib import Path
import tempfile
from typing import Any

from geometry_msgs.msg import Point
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo, PointCloud2
from sensor_msgs.msg import Image as ImageMessage
from vision_msgs.msg import Detection2DArray, Detection3DArray, LabelInfo

from perception_ros.bags import messages
from perception_ros.bags.bag import open_bag
from perception_ros.bags.messages import Box3D
from perception_ros.bags.types import _VISION, standard
from perception_ros.bags.writer import BagWriter
from perception_ros.core.encodings import Bayer, LAYOUTS, Packed
from perception_ros.core.errors import BagError
from perception_ros.core.image import Image
from perception_ros.core.types import Detections
from perception_ros.ros.cdr import read_image
from perception_ros.ros.messages import to_header, to_image_message, to_label_info
from perception_ros.ros.serialise import serialise_detections

STAMP_NS, FRAME_ID = 1_500_000_000_123_456_789, 'front_optical_frame'
HEAD = messages.header(STAMP_NS, FRAME_ID)
ROS_HEAD = to_header(STAMP_NS, FRAME_ID)
MSG = Path(__file__).parents[2] / 'tools' / 'interfaces' / 'vision_msgs' / 'msg'


def as_ros(message: Any, kind: type[Any]) -> Any:
    return deserialize_message(
        bytes(standard().serialize_cdr(message, message.__msgtype__)), kind
    )


HASHES = {
    'sensor_msgs/msg/Image': 'd31d41a9a4c4bc8eae9be757b0beed306564f7526c88ea6a4588fb9582527d47',
    'sensor_msgs/msg/CompressedImage':
        '15640771531571185e2efc8a100baf923961a4d15d5569652e6cb6691e8e371a',
    'sensor_msgs/msg/CameraInfo':
        'b3dfd68ff46c9d56c80fd3bd4ed22c7a4ddce8c8348f2f59c299e73118e7e275',
    'sensor_msgs/msg/PointCloud2':
        '9198cabf7da3796ae6fe19c4cb3bdd3525492988c70522628af5daa124bae2b5',
    'vision_msgs/msg/Detection2DArray':
        '214274120007f4a683866481336b70310268cfa107aebe9d594a6acf75bda968',
    'vision_msgs/msg/Detection3DArray':
        '793f5eab9595ac1c0da07873cc859db42eae51f0ee76056db8562515d830e018',
    'vision_msgs/msg/LabelInfo':
        '3d37df4015cdf660cc851c51897f2acd957e1ca6205ba0a99aebffb9406b0783',
}
"""Of REP-2011, as a publisher of ROS 2 Kilted states them: they cover every field."""


@pytest.mark.parametrize('name', HASHES)
def test_types_have_the_hash_that_ros_states(name: str) -> None:
    assert standard().hash_rihs01(name) == f'RIHS01_{HASHES[name]}'


@pytest.mark.parametrize('name', _VISION)
def test_definitions_are_those_that_ours_are_built_of(name: str) -> None:
    text = (MSG / f'{name}.msg').read_text(encoding='utf-8')
    lines = [line.partition('#')[0].strip() for line in text.splitlines()]
    assert [line for line in lines if line] == _VISION[name].splitlines()


def test_boxes_are_what_the_node_publishes() -> None:
    boxes = np.array([[1, 2, 31.5, 42], [0, 0, 640, 480]], np.float32)
    found = Detections(boxes, np.ones(2, np.float32), np.array([1, 0], np.int32), ('car', 'bus'))
    sent = bytes(serialise_detections(STAMP_NS, FRAME_ID, found))
    made = as_ros(messages.detections_2d(HEAD, boxes, ['bus', 'car']), Detection2DArray)
    assert made == deserialize_message(sent, Detection2DArray)


def test_label_info_is_what_the_node_publishes() -> None:
    made = as_ros(messages.label_info(HEAD, ('road', 'sky')), LabelInfo)
    assert made == to_label_info(ROS_HEAD, ('road', 'sky'))
    assert messages.class_names(messages.label_info(HEAD, ('road', 'sky'))) == ('road', 'sky')


def test_a_region_without_a_class_comes_back_as_one() -> None:
    boxes = np.array([[1, 2, 31.5, 42], [5, 6, 7, 8]])
    message = messages.detections_2d(HEAD, boxes, ['bus', None])
    back, names = messages.boxes_of(message)
    assert np.allclose(back, boxes) and names == ['bus', None]
    assert as_ros(message, Detection2DArray).detections[1].results == []


def test_the_guess_with_the_highest_score_is_the_class() -> None:
    message = messages.detections_2d(HEAD, np.array([[0, 0, 2, 2.0]]), ['bus'])
    other = messages.detections_2d(HEAD, np.array([[0, 0, 2, 2.0]]), ['car'])
    message.detections[0].results.extend(other.detections[0].results)
    message.detections[0].results[0].hypothesis.score = 0.2
    assert messages.boxes_of(message)[1] == ['car']


def test_camera_info() -> None:
    matrix = np.array([[700.0, 0, 320], [0, 701, 240], [0, 0, 1]])
    made = as_ros(messages.camera_info(HEAD, 640, 480, matrix), CameraInfo)
    assert (made.width, made.height, made.header) == (640, 480, ROS_HEAD)
    assert made.k.tolist() == matrix.reshape(-1).tolist()
    assert made.p.reshape(3, 4)[:, :3].tolist() == matrix.tolist()
    assert made.r.reshape(3, 3).tolist() == np.eye(3).tolist() and list(made.d) == [0.0] * 5


def test_points_come_back_with_their_types() -> None:
    kind = np.dtype({
        'names': ['x', 'y', 'z', 'ring'], 'formats': ['<f4', '<f4', '<f4', '<u2'],
        'offsets': [0, 4, 8, 12], 'itemsize': 16,
    })
    points = np.zeros(5, kind)
    points['x'], points['ring'] = np.arange(5) / 3, np.arange(5) * 1000
    message = messages.point_cloud(HEAD, points)
    assert np.array_equal(messages.points_of(message), points)
    made = as_ros(message, PointCloud2)
    assert (made.width, made.height, made.point_step, made.row_step) == (5, 1, 16, 80)
    assert [(f.name, f.offset, f.datatype) for f in made.fields] == [
        ('x', 0, 7), ('y', 4, 7), ('z', 8, 7), ('ring', 12, 4)]
    message.width = 6
    with pytest.raises(BagError, match='takes 96 bytes, got 80'):
        messages.points_of(message)


@given(st.lists(st.floats(-4, 4), min_size=3, max_size=3), st.floats(0, 4))
def test_poses_come_back(axis: list[float], angle: float) -> None:
    x, y, z = np.array(axis) / max(float(np.linalg.norm(axis)), 1e-9)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    pose = np.eye(4)
    if np.linalg.norm(axis) > 1e-3:
        pose[:3, :3] += np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    pose[:3, 3] = axis
    tf = messages.transforms([(7, 'map', 'base_link', pose)]).transforms[0]
    assert np.allclose(messages.matrix_of(tf.transform), pose, atol=1e-9)
    boxes = messages.detections_3d(HEAD, [Box3D('car', pose, (4.0, 2.0, 1.5))])
    back = messages.boxes_3d_of(boxes)[0]
    assert np.allclose(back.pose, pose, atol=1e-9) and back.size_m == (4.0, 2.0, 1.5)
    centre = as_ros(boxes, Detection3DArray).detections[0].bbox.center.position
    assert centre == Point(x=axis[0], y=axis[1], z=axis[2])


@st.composite
def raw_images(draw: st.DrawFn) -> Image:
    encoding = draw(st.sampled_from([
        name for name, layout in LAYOUTS.items() if isinstance(layout, (Packed, Bayer))
    ]))
    layout = LAYOUTS[encoding]
    samples = layout.channels if isinstance(layout, Packed) else 1
    width, height = draw(st.integers(3, 9)), draw(st.integers(3, 9))
    step = width * samples * layout.sample_bytes + draw(st.integers(0, 5))
    data = draw(st.binary(min_size=step * height, max_size=step * height))
    return Image(data, encoding, width, height, step, draw(st.booleans()))


@settings(max_examples=5, deadline=None)
@given(images=st.lists(raw_images(), min_size=8, max_size=30), frame_id=st.text(max_size=9).filter(
    lambda text: '\0' not in text))
def test_images_come_back_from_a_bag_and_are_those_of_ros(
    images: list[Image], frame_id: str
) -> None:
    """Through the writer, the file and the reader, and beside what rclpy makes of the bytes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'bag.mcap')
        with BagWriter(path) as writer:
            for i, image in enumerate(images):
                head = messages.header(i + 1, frame_id)
                writer.write('/front/image_raw', messages.raw_image(head, image), i + 1)
        with open_bag(path) as bag:
            found = list(bag.messages())
    assert len(found) == len(images)
    for i, (message, image) in enumerate(zip(found, images, strict=True)):
        back = read_image(message.data)
        assert (back.stamp_ns, back.frame_id) == (i + 1, frame_id)
        assert bytes(back.image.data) == image.data
        for field in ('encoding', 'width', 'height', 'step', 'is_bigendian'):
            assert getattr(back.image, field) == getattr(image, field)
        ros = deserialize_message(bytes(message.data), ImageMessage)
        assert ros == to_image_message(to_header(i + 1, frame_id), image)
