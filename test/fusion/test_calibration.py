"""Calibration files: the example, what is refused, and how they and /tf check each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from perception_ros.core.errors import CalibrationError
from perception_ros.core.poses import Matrix, pose
from perception_ros.fusion.calibration import Calibration, disagreements, fill, load, unused
from perception_ros.fusion.transforms import TransformTree

EXAMPLE = Path(__file__).parents[2] / 'config' / 'calibration.yaml'
AHEAD = (-0.5, 0.5, -0.5, 0.5)


def written(folder: Path, text: str) -> Path:
    path = folder / 'calibration.yaml'
    path.write_text(text)
    return path


def front(x_m: float = 1.72, turn_deg: float = 0.0) -> Matrix:
    """Return where the example's front camera is, moved ahead and turned to the left."""
    half = np.radians(turn_deg) / 2
    turned = pose((0, 0, 0), (0, 0, np.sin(half), np.cos(half)))
    place = pose((x_m, 0, 1.49), AHEAD)
    place[:3, :3] = turned[:3, :3] @ place[:3, :3]
    return place


def test_the_example_says_what_it_says() -> None:
    """Its comments: z of a camera that looks straight ahead is the vehicle's x."""
    calibration, tree = load(EXAMPLE), TransformTree()
    assert fill(calibration, tree) == []
    ahead = tree.lookup('base_link', 'front_optical') @ (0.2, 0.1, 10, 1)
    assert ahead == pytest.approx((11.72, -0.2, 1.39, 1))
    behind = tree.lookup('base_link', 'rear_optical') @ (0.2, 0.1, 10, 1)
    assert behind == pytest.approx((-10.03, 0.2, 1.47, 1))
    intrinsics = calibration.cameras['front'].intrinsics
    assert intrinsics
    assert intrinsics.lens().project(np.array([[0.0, 0, 1]]))[0] == pytest.approx((816.8, 492.0))
    assert calibration.cameras['rear'].intrinsics is None


def test_a_file_alone_places_everything(tmp_path: Path) -> None:
    """A LiDAR in no frame but its own, a camera calibrated against it by roll, pitch and yaw."""
    calibration = load(written(tmp_path, """
lidar: {frame: lidar}
cameras:
  left:
    frame: optical
    extrinsics:
      parent: lidar
      translation_m: [0, 0.5, -0.25]
      roll_pitch_yaw_rad: [-1.5707963, 0, -1.5707963]
"""))
    tree = TransformTree()
    assert fill(calibration, tree) == []
    assert tree.lookup('optical', 'lidar') @ (5, 0.5, -0.25, 1) == pytest.approx(
        (0, 0, 5, 1), abs=1e-6)


def test_file_and_tf_check_each_other() -> None:
    """Three centimetres may be another day's calibration; two degrees are another mount."""
    calibration = load(EXAMPLE)
    for x_m, turn_deg, wrong in [(1.75, 0.2, False), (1.82, 0, True), (1.72, 2, True)]:
        tree = TransformTree()
        tree.add('base_link', 'front_optical', 0, front(x_m, turn_deg), is_static=True)
        fill(calibration, tree)
        found = disagreements(calibration, tree)
        assert [item.name for item in found] == ['front'] * wrong
        for item in found:
            assert item.metres == pytest.approx(x_m - 1.72, abs=1e-6)
            assert item.degrees == pytest.approx(turn_deg, abs=1e-5)
            assert f'{x_m - 1.72:.3f} m and {turn_deg:.2f} degrees apart' in str(item)
    assert len(disagreements(calibration, tree, angle=3)) == 0


def test_a_way_round_other_frames_is_checked_too() -> None:
    """/tf ties the camera to the LiDAR, the file both to the vehicle: wrong by half a metre."""
    calibration, tree = load(EXAMPLE), TransformTree()
    tree.add('lidar_top', 'front_link', 0, pose((1.28, 0, -0.35), (0, 0, 0, 1)), is_static=True)
    tree.add('front_link', 'front_optical', 0, pose((0, 0, 0), AHEAD), is_static=True)
    assert disagreements(calibration, tree) == []  # nothing to compare yet
    fill(calibration, tree)
    (found,) = disagreements(calibration, tree)
    assert (found.name, round(found.metres, 6), round(found.degrees, 4)) == ('front', 0.5, 0)


def test_what_cannot_be_filled_in_is_said_and_the_rest_is() -> None:
    calibration, tree = load(EXAMPLE), TransformTree()
    tree.add('mast', 'front_optical', 0, front())
    (problem,) = fill(calibration, tree)
    assert problem.startswith("front: expected a frame that is fixed to 'mast'")
    tree.lookup('lidar_top', 'rear_optical')


CAMERA = 'cameras:\n  front:\n    frame: optical\n'
PLACE = CAMERA + '    extrinsics:\n      parent: base\n      translation_m: [0, 0, 0]\n'
LENS = CAMERA + '    intrinsics: {width: 640, height: 480, focal_px: [500, 500], centre_px: [320, '


@pytest.mark.parametrize(('text', 'said'), [
    ('', 'expected calibration below lidar:, cameras:'),
    ('camera: {}', "line 1: unknown key 'camera': did you mean 'cameras'"),
    ('cameras:\n  front: {}', 'line 2: cameras.front.frame: expected this key'),
    (CAMERA.replace('optical', "''"), 'frame'),
    (CAMERA.replace('optical', '/optical'), 'frame'),
    (CAMERA.replace('optical', '3'), 'frame'),
    (PLACE, 'line 4: .*expected quaternion or roll_pitch_yaw_rad, got neither'),
    (PLACE + '      quaternion: [0, 0, 0, 1]\n      roll_pitch_yaw_rad: [0, 0, 0]', 'got both'),
    (PLACE + '      quaternion: [0, 0, 0, 0]', 'of length 1, got 0'),
    (PLACE + '      quaternion: [0, 0, 1]', 'line 7: .*quaternion'),
    (PLACE + '      roll_pitch_yaw_rad: [0, 0, .nan]', 'line 7: .*finite'),
    (PLACE + '      roll_pitch_yaw_rad: [-90.0, 0, 0]', 'got -90; is it in degrees'),
    (PLACE.replace('base', 'optical') + '      quaternion: [0, 0, 0, 1]', 'another frame than'),
    (LENS + '240], distortion_model: plumb_bob, coefficients: [1]}', '4 or 5 .* got 1'),
    (LENS + '240], distortion_model: brown}', 'distortion_model'),
    (LENS.replace('[500, 500]', '[0, 0]') + '240]}', 'focal lengths of 0 and 0'),
    (LENS.replace('640', '0') + '240]}', 'width'),
    ('lidar: {frame: optical}\n' + CAMERA, "a frame for each sensor, got 'optical' twice"),
    ('lidar: {frame: lidar, extrinsics: {parent: optical, translation_m: [0, 0, 0], '
     'quaternion: [0, 0, 0, 1]}}\n' + PLACE.replace('base', 'lidar')
     + '      quaternion: [0, 0, 0, 1]', 'closes the loop'),
])
def test_a_wrong_file_is_refused_with_line_and_key(
    tmp_path: Path, text: str, said: str
) -> None:
    path = written(tmp_path, text)
    with pytest.raises(CalibrationError, match=said) as error:
        load(path)
    assert str(path) in str(error.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match='expected a file of calibration; No such file'):
        load(tmp_path / 'none.yaml')


def test_a_camera_that_nobody_has_is_named_where_another_is_lacking() -> None:
    """A slip in a name would otherwise cost the camera its place without a word."""
    calibration = Calibration.model_validate({'cameras': {
        'front': {'frame': 'a'}, 'raer': {'frame': 'b'},
    }})
    assert unused(calibration, ['front']) == []  # a file of the whole vehicle
    [text] = unused(calibration, ['front', 'rear'])
    assert 'cameras.raer' in text and 'rear is not in the file' in text
