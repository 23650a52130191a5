"""`perception_ros evaluate-fusion` on sweeps of real vehicles, as people call it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from test.bundles.shared import shared
from test.cli.test_commands import call, CAPTURE

LIDAR = 'labelled boxes, with the LiDAR'
CAMERA = 'labelled boxes, by camera alone'


@pytest.fixture(scope='module')
def figures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    target = tmp_path_factory.mktemp('fusion') / 'figures.json'
    data = [shared('kitti_sample'), shared('nuscenes_sample')]
    assert call('evaluate-fusion', *data, '--bundle', 'roadscene', '--json', target) == 0
    found = json.loads(target.read_text())
    assert isinstance(found, dict)
    return found


def every(figures: dict[str, Any], source: str) -> dict[str, Any]:
    row = figures[source]['objects'][-1]
    assert row['name'] == 'all'
    return dict(row)


def test_nine_in_ten_surfaces_are_in_place(figures: dict[str, Any]) -> None:
    """What is promised: 0.7 m in range and 0.3 m across, from labelled 2D boxes."""
    row = every(figures, LIDAR)
    assert row['objects'] == row['found'] == 9
    assert row['in_place'] >= 0.9 * row['objects']
    assert row['by_camera'] == 0
    assert row['centre_p90_m'] < 1.5


def test_nine_in_ten_points_on_cars_are_painted_so(figures: dict[str, Any]) -> None:
    cars = [row for row in figures[LIDAR]['paint'] if row['name'] in ('Car', 'car')]
    assert sum(row['points'] for row in cars) > 100
    assert sum(row['painted'] for row in cars) >= 0.9 * sum(row['points'] for row in cars)


def test_without_points_cameras_say_where_and_say_so(figures: dict[str, Any]) -> None:
    row = every(figures, CAMERA)
    assert row['by_camera'] == row['found'] == row['objects']
    assert row['surface_range_p50_m'] < 2
    assert row['yaws'] == 0


def test_the_boxes_of_a_bundle_find_less_and_in_place(figures: dict[str, Any]) -> None:
    """It knows no barriers, and what it finds stands for what it overlaps most."""
    row = every(figures, 'boxes of roadscene, with the LiDAR')
    assert 0 < row['found'] < row['objects']
    assert row['in_place'] >= 0.7 * row['found']
    barrier = next(
        row for row in figures['boxes of roadscene, with the LiDAR']['objects']
        if row['name'] == 'barrier'
    )
    assert barrier['found'] == 0


def test_it_prints_a_table_by_class(capsys: CAPTURE, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('COLUMNS', '130')
    assert call('evaluate-fusion', shared('kitti_sample')) == 0
    printed = capsys.readouterr().out
    for text in ('in place', 'Pedestrian', 'by camera', 'painted outside', LIDAR, CAMERA):
        assert text in printed


def test_what_is_no_labelled_data_is_one_line(tmp_path: Path, capsys: CAPTURE) -> None:
    assert call('evaluate-fusion', tmp_path) != 0
    said = capsys.readouterr().err
    assert 'expected a folder' in said and 'Traceback' not in said
    assert call('evaluate-fusion') != 0
    assert '--streets' in capsys.readouterr().err


def test_made_up_streets_need_no_data(tmp_path: Path, capsys: CAPTURE) -> None:
    """Truth is exact there, and there are as many as one likes."""
    assert call('evaluate-fusion', '--streets', '4') == 0
    printed = capsys.readouterr().out
    assert 'boxes around what is visible' in printed and 'hidden' in printed
    assert call('evaluate-fusion', '--streets', '4', '--json', tmp_path / 'a.json') == 0
    streets = json.loads((tmp_path / 'a.json').read_text())['streets']
    rows = {name: rows[-1] for name, rows in streets['boxes'].items()}
    assert len(rows) == 4
    assert len({row['objects'] for row in rows.values()}) == 1, 'all are asked for the same things'
    assert rows['exact boxes']['in_place'] > 0.9 * rows['exact boxes']['objects']
    assert rows['exact boxes, by camera alone']['by_camera'] > 10
    masks = streets['masks']
    assert masks['right'] > 0.97 * masks['in_sight']
    assert masks['hidden_wrong'] < 0.1 * masks['hidden']


def test_where_the_figures_cannot_go_is_told_before_the_work(
    tmp_path: Path, capsys: CAPTURE, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr('perception_ros.cli.evaluate_fusion.measure_streets', None)
    for target in (tmp_path / 'gone' / 'a.json', tmp_path):
        assert call('evaluate-fusion', '--streets', '2', '--json', target) != 0
        assert f'{target}: ' in capsys.readouterr().err
