"""Cameras of a bag: topics, frames, and sets for the player."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from perception_ros.bags import messages, open_input
from perception_ros.bags.bag import open_bag
from perception_ros.bags.frames import camera_name, camera_topics, frames
from perception_ros.bags.writer import BagWriter
from perception_ros.core.errors import BagError, ImageError
from perception_ros.core.image import Image
from test.bags.build import FRONT, image, MAKERS, noise, REAR, time_of, two_cameras, write_bag2


@pytest.mark.parametrize(('topic', 'name'), [
    ('/front/image_raw', 'front'),
    ('/front/image_raw/compressed', 'front'),
    ('/camera/left/image_rect_color', 'camera_left'),
    ('/CAM_FRONT', 'CAM_FRONT'),
    ('/image', 'image'),
    ('/image/compressed', 'image'),
    ('/compressed', 'compressed'),
    ('/0/image', 'camera_0'),
    ('/a-b/image', 'a_b'),
])
def test_a_camera_is_called_after_its_topic(topic: str, name: str) -> None:
    assert camera_name(topic) == name


def test_only_what_a_camera_has_taken_is_one(tmp_path: Path) -> None:
    ids = messages.label_image(messages.header(1, 'optical'), noise(0)[..., 0])
    items = [(topic, ids, time_of(0)) for topic in (
        '/a/image_raw', '/a/ground_truth/semantic/scene', '/perception/a/semantic/scene',
        '/perception/a/instances', '/perception/a/overlay/compressed',
    )]
    with open_bag(write_bag2(tmp_path / 'bag', items)) as bag:
        assert camera_topics(bag) == {'a': '/a/image_raw'}
        chosen = camera_topics(bag, ['/perception/a/instances'])
        assert chosen == {'perception_a_instances': '/perception/a/instances'}


def test_raw_images_come_before_compressed_ones(tmp_path: Path) -> None:
    _, jpeg = cv2.imencode('.jpg', noise(1))
    file = messages.image_file(messages.header(1, 'optical'), jpeg.tobytes(), 'jpeg')
    items = [(f'{FRONT}/compressed', file, time_of(0)), (FRONT, image(0), time_of(1)),
             (f'{REAR}/compressed', file, time_of(2))]
    with open_bag(write_bag2(tmp_path / 'bag', items)) as bag:
        assert camera_topics(bag) == {'front': FRONT, 'rear': f'{REAR}/compressed'}


def test_a_bag_without_images_says_what_it_has(tmp_path: Path) -> None:
    tf = messages.transforms([(1, 'map', 'base_link', np.eye(4))])
    with (
        open_bag(write_bag2(tmp_path / 'bag', [('/tf', tf, time_of(0))])) as bag,
        pytest.raises(BagError, match=r'only /tf \(tf2_msgs/msg/TFMessage\)'),
    ):
        camera_topics(bag)


def test_frames_keep_stamp_frame_and_time_of_recording(tmp_path: Path) -> None:
    path = write_bag2(tmp_path / 'bag', [(FRONT, image(3, stamp_ns=77), time_of(3))])
    with open_bag(path) as bag:
        frame = next(frames(bag, camera_topics(bag)))
    assert (frame.camera, frame.frame_id) == ('front', 'optical')
    assert (frame.stamp_ns, frame.received_ns) == (77, time_of(3))
    assert np.array_equal(frame.image.rgb(), noise(3))


def test_pixels_are_read_in_place(tmp_path: Path) -> None:
    with open_bag(MAKERS['mcap'](tmp_path, two_cameras(1))) as bag:
        message = next(bag.messages())
        frame = next(frames(bag, camera_topics(bag)))
    assert isinstance(message.data, bytes)
    assert not frame.image.rgb().flags.owndata


def _bgr(rgb: np.ndarray) -> np.ndarray:
    return rgb[..., ::-1]


@pytest.mark.parametrize('kind', ['mcap', 'db3', 'ros1'])
def test_the_player_gets_a_set_when_each_camera_has_a_new_frame(
    tmp_path: Path, kind: str
) -> None:
    source = open_input(MAKERS[kind](tmp_path, two_cameras(6)))
    assert source.cameras == ('front', 'rear')
    for _ in range(2):  # each call starts again
        sets = list(source.frame_sets())
        assert len(sets) == 3
        for i, frame_set in enumerate(sets):
            assert np.array_equal(frame_set['front'], _bgr(noise(2 * i)))
            assert np.array_equal(frame_set['rear'], _bgr(noise(2 * i + 1)))


def test_a_faster_camera_is_thinned_out(tmp_path: Path) -> None:
    items = [((FRONT, FRONT, REAR)[i % 3], image(i), time_of(i)) for i in range(7)]
    sets = list(open_input(write_bag2(tmp_path / 'bag', items)).frame_sets())
    assert [int(s['front'][0, 0, 2]) for s in sets] == [1, 4], 'the newest before each set'


def test_an_image_that_cannot_be_decoded_does_not_end_the_play(tmp_path: Path) -> None:
    _, jpeg = cv2.imencode('.jpg', noise(1))
    good, cut = jpeg.tobytes(), jpeg.tobytes()[:-99]
    with BagWriter(tmp_path / 'bag.mcap') as writer:
        for i, data in enumerate((good, cut, good)):
            file = messages.image_file(messages.header(i + 1, 'optical'), data, 'jpeg')
            writer.write('/a/image_raw/compressed', file, time_of(i))
    source = open_input(tmp_path / 'bag.mcap')
    assert len(list(source.frame_sets())) == 2
    assert len(source.problems) == 1 and 'no end-of-image marker' in source.problems[0]


def test_what_is_no_bag_is_what_it_was(tmp_path: Path) -> None:
    assert cv2.imwrite(str(tmp_path / 'a.png'), noise(1))
    assert open_input(tmp_path, ('one',)).cameras == ('one',)
    with pytest.raises(ImageError, match='nothing to play'):
        open_input(tmp_path / 'gone.mcap')


def test_a_float_image_is_refused_by_its_encoding(tmp_path: Path) -> None:
    depth = Image(bytes(4 * 4 * 3), '32FC1', 4, 3, 16)
    message = messages.raw_image(messages.header(1, 'optical'), depth)
    with open_bag(write_bag2(tmp_path / 'bag', [(FRONT, message, time_of(0))])) as bag:
        assert list(frames(bag, camera_topics(bag))) == []
        assert "unknown encoding '32FC1'" in bag.problems[0]
