"""`perception_ros evaluate-tracking`, as people call it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from test.bundles.shared import shared
from test.cli.test_commands import call

pytest.importorskip('trackers', reason='needs the extra tracking')


def test_a_street_with_frames_lost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / 'figures.json'
    assert call('evaluate-tracking', '--seconds', '2', '--lost', '0,0.3', '--json', target) == 0
    found = json.loads(target.read_text())['street 0']
    assert [item['lost'] for item in found] == [0, 0.3]
    assert all(item['images']['boxes'] > 100 and item['space']['boxes'] > 20 for item in found)
    printed = capsys.readouterr().out
    assert '30% lost' in printed
    assert 'MOTA' in printed


def test_real_driving_against_pseudo_labels(tmp_path: Path) -> None:
    """CamVid's validation clip through the shipped bundle: a little below what was measured."""
    target, clip = tmp_path / 'figures.json', shared('camvid') / 'val' / 'images'
    arguments = ('--rate-hz', '15', '--json', target)
    assert call('evaluate-tracking', clip, *arguments) == 0
    found = json.loads(target.read_text())['images']
    assert [item['lost'] for item in found] == [0, 0.1, 0.3]
    for item in found:
        assert item['images']['mota'] > 0.75
        assert item['images']['idf1'] > 0.65


@pytest.mark.parametrize('lost', ['1', '-0.1', 'some', ''])
def test_a_share_that_is_none(lost: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call('evaluate-tracking', '--lost', lost) == 1
    assert 'expected shares' in capsys.readouterr().err


def test_a_clip_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call('evaluate-tracking', tmp_path / 'no.mp4') == 1
    assert 'no such' in capsys.readouterr().err


def test_pictures_in_which_nothing_is_to_be_followed(capsys: pytest.CaptureFixture[str]) -> None:
    """Three pictures of three places are no clip; zeros would look like a result."""
    assert call('evaluate-tracking', shared('kitti_sample/image_2')) != 0
    said = capsys.readouterr().err
    assert 'nothing of the kind in 3 pictures' in said and 'Traceback' not in said


def test_a_bag_of_several_cameras(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One behind the other they would be one clip."""
    pytest.importorskip('rosbags', reason='needs the extra bags')
    assert call('bag', 'make', f'nuscenes:{shared("nuscenes_sample")}', tmp_path / 'a.mcap') == 0
    capsys.readouterr()
    assert call('evaluate-tracking', tmp_path / 'a.mcap') != 0
    said = capsys.readouterr().err
    assert 'CAM_FRONT' in said and 'bag cut --topics' in said
