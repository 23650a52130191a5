"""Folders, videos and stills as sets of camera frames."""

from __future__ import annotations

from pathlib import Path

import cv2
from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from perception_ros.core.errors import ImageError
from perception_ros.core.sources import (
    DEFAULT_CAMERAS,
    open_source,
    read_picture,
    Source,
    virtual_view,
)
from test.builders import huge_bmp

NAMES = ('a', 'b')


def _picture(path: Path, value: int, size: tuple[int, int] = (64, 48)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((size[1], size[0], 3), value, np.uint8))
    return path


def _video(path: Path, values: list[int]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'mp4v'), 10.0, (64, 48))
    assert writer.isOpened()
    for value in values:
        writer.write(np.full((48, 64, 3), value, np.uint8))
    writer.release()
    return path


def _values(source: Source) -> list[dict[str, int]]:
    """Return the brightness of each frame, to the nearest ten: videos are lossy."""
    return [
        {name: round(float(frame.mean()) / 10) * 10 for name, frame in frames.items()}
        for frames in source.frame_sets()
    ]


def test_a_sequence_is_dealt_in_the_order_in_which_people_count(tmp_path: Path) -> None:
    for number in range(1, 12):
        _picture(tmp_path / f'frame{number}.png', number * 10)
    (tmp_path / 'notes.txt').write_text('not a picture')
    source = open_source(tmp_path, NAMES)
    assert source.cameras == NAMES
    expected = [{'a': 20 * i + 10, 'b': 20 * i + 20} for i in range(5)]
    assert _values(source) == expected, 'the eleventh frame has no partner and is left out'
    assert _values(source) == expected, 'a second pass starts again'


def test_a_video_is_dealt_to_three_cameras(tmp_path: Path) -> None:
    path = _video(tmp_path / 'drive.mp4', [20, 40, 60, 80, 100, 120, 140])
    expected = [(20, 40, 60), (80, 100, 120)]
    assert _values(open_source(path)) == [
        dict(zip(DEFAULT_CAMERAS, row, strict=True)) for row in expected
    ]


def test_cam_entries_are_cameras(tmp_path: Path) -> None:
    _picture(tmp_path / 'CAM_FRONT.jpg', 50)
    for number in range(3):
        _picture(tmp_path / 'CAM_LEFT' / f'{number}.png', 100 + 10 * number)
    _video(tmp_path / 'CAM_REAR-TOP.mp4', [200, 210])
    _picture(tmp_path / 'map.png', 0)
    source = open_source(tmp_path, NAMES)
    assert source.cameras == ('CAM_FRONT', 'CAM_LEFT', 'CAM_REAR_TOP')
    assert [tuple(values.values()) for values in _values(source)] == [
        (50, 100, 200),
        (50, 110, 210),
    ]


def test_stills_alone_are_one_set_and_stay_the_same_arrays(tmp_path: Path) -> None:
    _picture(tmp_path / 'CAM_A.png', 10)
    _picture(tmp_path / 'CAM_B.png', 20)
    source = open_source(tmp_path)
    (first,), (second,) = list(source.frame_sets()), list(source.frame_sets())
    assert all(first[name] is second[name] for name in source.cameras)


def test_virtual_cameras_pan_over_a_still(tmp_path: Path) -> None:
    still = np.zeros((580, 1068, 3), np.uint8)
    still[..., 0] = np.arange(1068) // 5
    cv2.imwrite(str(tmp_path / 'still.png'), still)
    sets = list(open_source(tmp_path / 'still.png').frame_sets())
    assert tuple(sets[0]) == DEFAULT_CAMERAS
    lefts = {name: [int(frames[name][0, 0, 0]) for frames in sets] for name in DEFAULT_CAMERAS}
    assert len({column[0] for column in lefts.values()}) == 3, 'each looks elsewhere'
    for name, column in lefts.items():
        frame = sets[0][name]
        assert frame.shape == (362, 644, 3)
        assert frame.flags.c_contiguous
        assert min(column) < 3, f'{name} gets to the left edge'
        assert max(column) > (1068 - 644) // 5 - 3, f'{name} gets to the right edge'
        assert np.abs(np.diff(column)).max() <= 3, f'{name} pans gently'


@given(width=st.integers(32, 5000), height=st.integers(32, 5000), turn=st.floats(0, 10, width=32))
def test_a_virtual_view_stays_inside(width: int, height: int, turn: float) -> None:
    x, y, view_width, view_height = virtual_view((width, height), turn)
    assert 0 <= x <= x + view_width <= width
    assert 0 <= y <= y + view_height <= height
    assert view_width % 2 == view_height % 2 == 0
    assert view_width > 0
    assert abs(view_width - view_height * 16 / 9) < 6


def _truncated(folder: Path) -> Path:
    data = _picture(folder / 'whole.jpg', 90, (400, 300)).read_bytes()
    path = folder / 'cut.jpg'
    path.write_bytes(data[: len(data) // 2])
    return path


def _two_of_one_name(folder: Path) -> Path:
    for name in ('CAM_左.png', 'CAM_右.png'):
        # OpenCV writes no such names everywhere
        (folder / name).write_bytes(cv2.imencode('.png', np.zeros((8, 8, 3), np.uint8))[1])
    return folder


def _two_pictures(folder: Path) -> Path:
    for name in ('1.png', '2.png'):
        _picture(folder / name, 90)
    return folder


def _one_damaged(folder: Path) -> Path:
    _truncated(folder)
    return folder


def _write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        pytest.param(lambda d: d / 'absent', 'nothing to play at .*Check the name', id='absent'),
        pytest.param(
            lambda d: _write(d / 'cloud.pcd', b'1'), 'nothing to play.*Convert', id='other file'
        ),
        pytest.param(lambda d: d, 'no pictures in', id='empty folder'),
        pytest.param(
            lambda d: _write(d / 'a.png', b''), 'a.png: expected an image', id='empty file'
        ),
        pytest.param(huge_bmp, 'huge.bmp: OpenCV refuses', id='too wide for OpenCV'),
        pytest.param(_one_damaged, 'cut.jpg: the JPEG of', id='one of a folder is damaged'),
        pytest.param(_two_of_one_name, "CAM_.*would both be camera 'CAM__'", id='one name'),
        pytest.param(_two_pictures, r'fewer pictures than there are cameras \(3\)', id='too few'),
        pytest.param(lambda d: _write(d / 'a.mp4', b'no'), 'no video that', id='broken video'),
        pytest.param(_truncated, 'no end-of-image marker', id='truncated'),
        pytest.param(lambda d: _picture(d / 'a.png', 1, (20, 90)), 'at least 32x32', id='tiny'),
    ],
)
def test_what_cannot_be_played_is_refused(tmp_path: Path, make: object, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        list(open_source(make(tmp_path)).frame_sets())


@pytest.mark.parametrize('names', [(), ('a', 'a')], ids=['none', 'twice the same'])
def test_camera_names_must_differ(tmp_path: Path, names: tuple[str, ...]) -> None:
    with pytest.raises(ImageError, match='different camera names'):
        open_source(_picture(tmp_path / 'a.png', 1), names)


def test_a_picture_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r'cannot read .*No such file'):
        read_picture(tmp_path / 'absent.png')
