"""The calibration check on bags that are right, and on one for each thing that goes wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from perception_ros.bags.bag import open_bag
from perception_ros.calibration.check import check, Checked, Options, Report
from perception_ros.calibration.page import write
from perception_ros.core.errors import BagError
from perception_ros.core.poses import inverse, quaternion_of
from perception_ros.fusion.calibration import Calibration
from test.calibration.streets import FRAME, SMALL, Street, turn


def checked(path: Path, street: Street, calibration: Calibration | None = None) -> Report:
    with open_bag(street.write(path / 'a.mcap')) as bag:
        return check(bag, Options(), calibration)


def only(report: Report) -> Checked:
    (item,) = report.cameras
    return item


def errors(item: Checked) -> str:
    return ' | '.join(fault.text for fault in item.faults if fault.level == 'error')


def test_what_is_right_agrees_without_a_word(tmp_path: Path) -> None:
    report = checked(tmp_path, Street())
    item = only(report)
    assert (report.verdict, item.verdict, item.faults) == ('agrees', 'agrees', ())
    assert len(item.looks) == 3
    assert report.problems == ()


def test_a_turned_camera_is_refuted_by_its_images(tmp_path: Path) -> None:
    """-1.9 degrees of yaw: 0.66 m at 20 m."""
    report = checked(tmp_path, Street(turned=turn(yaw=1.9)))
    item = only(report)
    assert report.verdict == 'refuted'
    assert item.estimate is not None
    np.testing.assert_allclose(item.estimate.correction_deg, (0, 0, -1.9), atol=0.5)
    assert 'the image says' in item.said()


def test_an_error_beyond_the_first_search_is_found(tmp_path: Path) -> None:
    """It would otherwise be called too little to tell, which nobody mends."""
    item = only(checked(tmp_path, Street(turned=turn(yaw=-5))))
    assert item.verdict == 'refuted'
    assert item.estimate is not None
    np.testing.assert_allclose(item.estimate.correction_deg, (0, 0, 5), atol=0.6)


UPSIDE_DOWN = np.diag([-1.0, -1, 1, 1])
BODY_FROM_OPTICAL = np.array([[0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]], float)


@pytest.mark.parametrize(('street', 'text'), [
    (Street(with_tf=False), 'record /tf and /tf_static'),
    (Street(turned=BODY_FROM_OPTICAL), 'optical frame with z forward'),
    (Street(turned=BODY_FROM_OPTICAL), 'the image fits if the camera frame has x forward'),
    (Street(is_flipped=True), 'the image is upside down'),
    (Street(lidar_turned=UPSIDE_DOWN), 'the LiDAR is turned by 180 degrees about its z'),
    (Street(matrix=np.zeros((3, 3))), 'the camera is not calibrated'),
    (Street(matrix=np.array([[30.0, 0, 320], [0, 30, 180], [0, 0, 1]])),
     'is K in pixels of this image'),
    (Street(late_ns=700_000_000, seeds=(1,)), 'synchronise them'),
], ids=['no tf', 'body axes', 'body axes by the image', 'upside down', 'lidar turned', 'no K',
        'K of another image', 'other clock'])
def test_each_fault_says_what_to_mend(tmp_path: Path, street: Street, text: str) -> None:
    report = checked(tmp_path, street)
    assert report.verdict == 'refuted'
    said = errors(only(report)).replace('calibrated camera, got zeros', 'camera is not calibrated')
    assert text.removeprefix('the ') in said


def test_a_file_is_held_against_tf_and_used(tmp_path: Path) -> None:
    """Both are judged by the same images; the verdict is that of the file."""
    street = Street(turned=turn(pitch=2))
    right = inverse(inverse(street.turned) @ inverse(street.lidar_from_camera()))
    calibration = Calibration.model_validate({'cameras': {'front': {
        'frame': FRAME, 'extrinsics': {
            'parent': 'lidar', 'translation_m': right[:3, 3].tolist(),
            'quaternion': list(quaternion_of(right[:3, :3])),
        },
    }}})
    report = checked(tmp_path, replace(street, seeds=(1,) * 3), calibration)
    by_source = {item.source: item for item in report.cameras}
    assert set(by_source) == {'tf', 'file'}
    assert by_source['tf'].estimate is not None and by_source['file'].estimate is not None
    assert by_source['tf'].estimate.turn_deg == pytest.approx(2, abs=0.6)
    assert by_source['file'].estimate.turn_deg < 0.6
    assert report.verdict == by_source['file'].verdict
    assert any('degrees apart' in problem for problem in report.problems)


@pytest.mark.parametrize(('options', 'text'), [
    (Options(cameras=('rear',)), 'no camera rear'),
    (Options(lidar='/nothing'), '/nothing'),
])
def test_what_is_not_there_is_named(tmp_path: Path, options: Options, text: str) -> None:
    path = Street(seeds=(1,)).write(tmp_path / 'a.mcap')
    with open_bag(path) as bag, pytest.raises(BagError, match=text):
        check(bag, options)


def test_the_page_shows_given_and_best_side_by_side(tmp_path: Path) -> None:
    """It holds its pictures, so that it can be sent, and they lie beside it too."""
    report = checked(tmp_path, Street(turned=turn(yaw=1.9)))
    page = write(tmp_path / 'report', 'a.mcap', report)
    text = page.read_text(encoding='utf-8')
    assert 'REFUTED' in text
    assert text.count('<img src="data:image/jpeg;base64,') == 6
    names = sorted(item.name for item in page.parent.glob('*.jpg'))
    assert names[:2] == ['front_tf_0_best.jpg', 'front_tf_0_given.jpg']


def test_points_are_drawn_where_they_are_and_near_ones_last(tmp_path: Path) -> None:
    from perception_ros.calibration.overlay import draw_points

    dark = np.zeros((SMALL.height, SMALL.width, 3), np.uint8)
    ahead = np.array([[0, 0, 4], [0, 0, 50], [0, 0, -4]], np.float32)
    shown = draw_points(dark, SMALL, ahead, np.eye(4), SMALL.width)
    rows, columns = np.nonzero(shown.any(axis=2))
    assert abs(rows.mean() - SMALL.height / 2) < 1.5
    assert abs(columns.mean() - SMALL.width / 2) < 1.5
    red, _, blue = shown[SMALL.height // 2, SMALL.width // 2].tolist()
    assert red > blue


def test_a_file_of_other_names_is_not_taken_for_one_that_agrees(tmp_path: Path) -> None:
    """What is judged must be what the file says, or the file must be said to say nothing."""
    slip = Calibration.model_validate({'cameras': {'fornt': {'frame': FRAME}}})
    report = checked(tmp_path, Street(), slip)
    assert [item.source for item in report.cameras] == ['tf']
    assert any('cameras.fornt' in text for text in report.problems)
    assert any('says nothing of it' in text for text in report.problems)


def test_a_file_of_other_frames_is_refuted_or_used(tmp_path: Path) -> None:
    """A camera's frame of the file is taken, as the node does; what it hangs on must be known."""

    def judged(name: str, file: dict[str, Any]) -> Report:
        (tmp_path / name).mkdir()
        return checked(tmp_path / name, Street(), Calibration.model_validate(file))

    place = {'parent': 'lidar', 'translation_m': [0, 0, 0], 'quaternion': [0.5, -0.5, 0.5, -0.5]}
    file = {'cameras': {'front': {'frame': 'elsewhere', 'extrinsics': place}}}
    used = judged('used', file).cameras[-1]
    assert used.source == 'file' and used.looks
    np.testing.assert_allclose(used.looks[0].camera_from_lidar[:3, 3], 0, atol=1e-9)
    assert any("'elsewhere', which is taken" in fault.text for fault in used.faults)
    place['parent'] = 'nowhere'
    lost = judged('lost', file)
    assert lost.verdict == 'refuted' and 'elsewhere' in errors(lost.cameras[-1])
    other = {'lidar': {'frame': 'velodyne'}, 'cameras': {'front': {'frame': FRAME}}}
    report = judged('other', other)
    assert report.verdict == 'refuted'
    assert "lidar.frame of the file is 'velodyne'" in errors(report.cameras[-1])
