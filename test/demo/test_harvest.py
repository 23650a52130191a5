"""What came out: boxes that agree, and the film of the annotated frames."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from perception_ros.demo.harvest import Agreement, count_matches, FrameKey, Harvest, write_film

BOX = np.array([0.0, 0.0, 10.0, 10.0])


def _shifted(*shifts: float) -> np.ndarray:
    return np.array([[x, 0, x + 10, 10] for x in shifts], float).reshape(-1, 4)


@pytest.mark.parametrize(
    ('wanted', 'offered', 'expected'),
    [
        pytest.param([0], [0], 1, id='the same'),
        pytest.param([0], [3.3], 1, id='IoU just above a half'),
        pytest.param([0], [3.4], 0, id='IoU just below a half'),
        pytest.param([0, 1], [0.5], 1, id='one box is no partner for two'),
        pytest.param([0, 2], [1, 4], 2, id='each its own partner'),
        pytest.param([], [1], 0, id='none wanted'),
        pytest.param([1], [], 0, id='none offered'),
    ],
)
def test_boxes_match_one_to_one(wanted: list[float], offered: list[float], expected: int) -> None:
    assert count_matches(_shifted(*wanted), _shifted(*offered), 0.5) == expected


def test_agreement_counts_frames_that_both_saw(tmp_path: Path) -> None:
    harvest = Harvest(tmp_path)
    for stamp_ns in (1, 2, 3):
        harvest.add_boxes('reference', FrameKey('front', stamp_ns), [('car', BOX), ('bus', BOX)])
    harvest.add_boxes('own', FrameKey('front', 1), [('car', BOX + 1)])
    harvest.add_boxes('own', FrameKey('front', 2), [('bus', BOX)])
    harvest.add_boxes('own', FrameKey('rear', 3), [('car', BOX)])
    agreement = harvest.agreement('reference', 'own', 'car', 0.5)
    assert agreement == Agreement(frames=2, boxes=2, found=1)
    assert agreement.share == 0.5
    assert Agreement(3, 0, 0).share is None


def test_film_shows_the_cameras_side_by_side(tmp_path: Path) -> None:
    harvest = Harvest(tmp_path / 'frames')
    values = {'left': 60, 'front': 120, 'right': 180}
    for stamp_ns in (10, 20, 30):
        for camera, value in values.items():
            if (camera, stamp_ns) != ('front', 20):  # keeps its last picture
                _, jpeg = cv2.imencode('.jpg', np.full((90, 160, 3), value, np.uint8))
                harvest.add_picture(FrameKey(camera, stamp_ns), jpeg.tobytes())
    harvest.number_pictures()
    names = sorted(path.name for path in (tmp_path / 'frames' / 'front').iterdir())
    assert names == ['00000.jpg', '00002.jpg']
    assert write_film(harvest, tuple(values), tmp_path / 'film.mp4', 5.0)
    film = cv2.VideoCapture(str(tmp_path / 'film.mp4'))
    frames = [film.read()[1] for _ in range(3)]
    assert not film.read()[0]
    film.release()
    for frame in frames:
        assert frame.shape == (90, 480, 3)
        tiles = [frame[:, x + 20 : x + 140].mean() for x in (0, 160, 320)]
        assert tiles == pytest.approx(list(values.values()), abs=6)


def test_cameras_of_different_shapes_fit_their_tiles(tmp_path: Path) -> None:
    harvest = Harvest(tmp_path / 'frames')
    for camera, size in {'wide': (90, 160, 3), 'tall': (160, 90, 3)}.items():
        _, jpeg = cv2.imencode('.jpg', np.full(size, 200, np.uint8))
        harvest.add_picture(FrameKey(camera, 1), jpeg.tobytes())
    assert write_film(harvest, ('wide', 'tall'), tmp_path / 'film.mp4', 5.0)


@pytest.mark.parametrize('size', [(10, 20_000), (20_000, 10)], ids=['wide', 'tall'])
def test_a_line_camera_has_its_place_in_the_film(tmp_path: Path, size: tuple[int, int]) -> None:
    harvest = Harvest(tmp_path / 'frames')
    for camera in ('line', 'other'):
        _, jpeg = cv2.imencode('.jpg', np.full((*size, 3), 200, np.uint8))
        harvest.add_picture(FrameKey(camera, 1), jpeg.tobytes())
    assert write_film(harvest, ('line', 'other'), tmp_path / 'film.mp4', 5.0)


def test_nothing_to_show_is_no_film(tmp_path: Path) -> None:
    assert not write_film(Harvest(tmp_path), ('front',), tmp_path / 'film.mp4', 5.0)
    assert not (tmp_path / 'film.mp4').exists()
