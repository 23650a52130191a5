"""`perception_ros calibration-check` as people call it, on real sweeps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from perception_ros.core.poses import inverse, quaternion_of
from perception_ros.recording import record, RecordOptions
from perception_ros.recording.kitti import read_calibration
from test.bundles.shared import shared
from test.calibration.streets import Street, turn
from test.cli.test_commands import call, CAPTURE


@pytest.fixture
def kitti(tmp_path: Path) -> Path:
    target = tmp_path / 'kitti.mcap'
    record(f'kitti:{shared("kitti_sample")}', target, RecordOptions())
    return target


def test_three_frames_of_kitti_agree(kitti: Path, capsys: CAPTURE) -> None:
    assert call('calibration-check', kitti) == 0
    printed = capsys.readouterr().out
    assert 'agrees' in printed
    assert 'Translations are not judged' in printed


@pytest.mark.parametrize('yaw', [2.0, -2.0])
def test_a_wrong_file_is_refuted_on_kitti(
    kitti: Path, tmp_path: Path, capsys: CAPTURE, yaw: float
) -> None:
    """What it is for: a wrong extrinsic is found before the drive, and fails a CI job."""
    known = read_calibration(shared('kitti_sample') / 'calib' / '000001.txt')
    wrong = inverse(turn(yaw=yaw) @ known.velodyne_to_camera)
    file = tmp_path / 'wrong.yaml'
    file.write_text(json.dumps({'cameras': {'camera': {
        'frame': 'camera_optical_frame', 'extrinsics': {
            'parent': 'velodyne', 'translation_m': wrong[:3, 3].tolist(),
            'quaternion': list(quaternion_of(wrong[:3, :3])),
        },
    }}}))
    assert call('calibration-check', kitti, '--calibration', file, '--json', '-') == 1
    told = json.loads(capsys.readouterr().out)
    by_source = {item['source']: item for item in told['cameras']}
    assert by_source['tf']['verdict'] == 'agrees'
    assert by_source['file']['verdict'] == 'refuted'
    assert by_source['file']['rotation']['yaw_deg'] == pytest.approx(-yaw, abs=0.6)


def test_degrees_for_radians_are_refuted_by_what_the_images_believe(
    kitti: Path, tmp_path: Path, capsys: CAPTURE
) -> None:
    """So far off no edge is where it should be: without tf that would be unclear, and pass."""
    known = read_calibration(shared('kitti_sample') / 'calib' / '000001.txt')
    wrong = inverse(turn(yaw=150) @ known.velodyne_to_camera)
    file = tmp_path / 'wrong.yaml'
    file.write_text(json.dumps({'cameras': {'camera': {
        'frame': 'camera_optical_frame', 'extrinsics': {
            'parent': 'velodyne', 'translation_m': wrong[:3, 3].tolist(),
            'quaternion': list(quaternion_of(wrong[:3, :3])),
        },
    }}}))
    assert call('calibration-check', kitti, '--calibration', file) == 1
    said = capsys.readouterr().out
    assert 'turned by 150 degrees against tf, with which the images agree; degrees for' in said


def test_it_keeps_what_it_found(tmp_path: Path, capsys: CAPTURE) -> None:
    bag = Street().write(tmp_path / 'a.mcap')
    json_file, report = tmp_path / 'a.json', tmp_path / 'report'
    assert call('calibration-check', bag, '--json', json_file, '--report', report) == 0
    told = json.loads(json_file.read_text())
    assert told['verdict'] == 'agrees'
    assert told['cameras'][0]['translation'] == 'not judged'
    assert (report / 'calibration.html').is_file()
    assert 'calibration.html' in capsys.readouterr().out
