"""The bench of the fusion: both sides do the same work, and the report says what each took."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from perception_ros.benchmarks.fusion.report import (
    draw,
    FusionReport,
    grid,
    lines,
    measure,
    STAGES,
)
from perception_ros.benchmarks.fusion.scene import Scene
from perception_ros.benchmarks.fusion.sides import fusion, plain
from perception_ros.benchmarks.schema import read_report
from perception_ros.evaluation.scenes import street


@pytest.fixture(scope='module')
def scene() -> Scene:
    drawn = street(11, headings=(0.0, 1.0))
    return Scene.of('street', drawn.fusion_set, drawn.base_from_lidar)


@pytest.fixture(scope='module')
def report(scene: Scene) -> FusionReport:
    return measure(scene, 3, lambda text: None, 'perception_ros bench fusion street')


def test_a_scene_is_what_the_node_would_get(scene: Scene) -> None:
    np.testing.assert_array_equal(scene.cloud.xyz(), scene.fusion_set.sweep.points)
    for view in scene.fusion_set.views:
        mask = view.semantic['scene']
        assert mask.class_ids.shape == (view.lens.height, view.lens.width)
        assert mask.class_names[:3] == ('road', 'building', 'sky')
        assert set(np.unique(mask.class_ids)) <= set(range(len(mask.class_names)))
    assert scene.boxes > 3


def test_both_sides_paint_the_same_where_nothing_is_hard(scene: Scene) -> None:
    """Otherwise their times would be those of different tasks."""
    ours, theirs = fusion(scene).says(), plain(scene).says()
    both = (ours != '') & (theirs != '')
    assert both.sum() > 0.8 * (theirs != '').sum() > 1000
    assert (ours == theirs)[both].mean() > 0.95


def test_the_report_says_what_each_stage_took(report: FusionReport) -> None:
    ours, theirs = report.sides
    assert (ours.name, theirs.name) == ('fusion', 'plain')
    assert tuple(ours.stages_ms) == STAGES
    assert tuple(theirs.stages_ms) == ('points', 'projection', 'painting', 'fields')
    for side in report.sides:
        assert side.total_ms.samples == report.rounds == 3
        assert all(0 < stage.median <= side.total_ms.p99 for stage in side.stages_ms.values())
    assert report.ratio.p10 <= report.ratio.median <= report.ratio.p90
    assert 0.9 < report.agreement <= 1
    assert (report.points, report.cameras, report.width, report.height) == (34560, 2, 1600, 900)


def test_a_report_comes_back_from_its_file(report: FusionReport, tmp_path: Path) -> None:
    file = tmp_path / 'fusion.json'
    file.write_text(report.model_dump_json())
    assert read_report(file) == report


def test_a_report_is_shown(report: FusionReport) -> None:
    table = grid(report)
    assert '34560 points, 2 cameras of 1600x900' in table.title
    assert [row[0] for row in table.rows] == ['fusion', 'plain']
    assert all(len(row) == len(table.columns) for row in table.rows)
    assert table.rows[1][table.columns.index('objects, ms')] == '-'
    machine, ratio = lines(report)
    assert machine.startswith(f'on {report.environment.cpu}, ') and 'NumPy ' in machine
    assert ratio.startswith('plain / fusion: ')
    picture = draw(report)
    assert picture.dtype == np.uint8 and picture.shape[1:] == (1600, 3)
    assert (picture < 200).any(), 'something is drawn'
