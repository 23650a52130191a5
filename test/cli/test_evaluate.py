"""`perception_ros evaluate` as people call it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from test.builders import write_real_bundle
from test.bundles.shared import shared
from test.cli.test_commands import call, CAPTURE
from test.evaluation.data import Row, write_yolo

HIT: Row = (0, 10 / 96, 5 / 64, 20 / 96, 10 / 64)
"""Where the bundle says red."""


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_real_bundle(tmp_path / 'means').path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_yolo(tmp_path / 'data', {'a_1': [HIT], 'b_1': [HIT]})


def test_it_prints_a_table_by_class(bundle: Path, data: Path, capsys: CAPTURE) -> None:
    assert call('evaluate', bundle, '--dataset', f'yolo:{data}', '--labels', 'red,rickshaw') == 0
    printed = capsys.readouterr().out
    for text in ('AP50-95', 'small', 'best F1', 'red', '1.000',
                 'Not measured, of the data alone: rickshaw'):
        assert text in printed


def test_it_writes_figures(bundle: Path, data: Path, tmp_path: Path) -> None:
    target = tmp_path / 'figures.json'
    command = ['evaluate', bundle, '--dataset', f'yolo:{data}', '--labels', 'red']
    assert call(*command, '--json', target) == 0
    figures = json.loads(target.read_text())
    assert (figures['map50'], figures['map']) == (1.0, 1.0)
    red = figures['datasets'][0]['classes']['red']
    assert (red['n'], red['ap50'], red['ap']) == (2, 1.0, 1.0)
    assert red['sizes']['small'] == {'n': 2, 'ap50': 1.0, 'ap': 1.0}
    assert red['sizes']['large'] == {'n': 0, 'ap50': None, 'ap': None}
    assert red['best_f1']['f1'] == 1.0
    # The bundle also says green, which is no class of the data.
    assert figures['datasets'][0]['confusion'] == {
        'score': 0.3, 'names': ['red', 'background'], 'counts': [[2, 0], [0, 0]]}
    assert figures['backend'].startswith('onnxruntime')


def test_json_to_stdout_is_nothing_but_json(bundle: Path, data: Path, capsys: CAPTURE) -> None:
    command = ['evaluate', bundle, '--dataset', f'yolo:{data}', '--labels', 'red']
    assert call(*command, '--json', '-') == 0
    assert json.loads(capsys.readouterr().out)['precision'] == 'fp32'


def test_a_split_and_a_new_name(bundle: Path, data: Path, tmp_path: Path) -> None:
    (tmp_path / 'drives.txt').write_text('b\n')
    target = tmp_path / 'figures.json'
    assert call(
        'evaluate', bundle, '--dataset', f'yolo:{data}', '--split', tmp_path / 'drives.txt',
        '--labels', 'tomato', '--rename', 'tomato=red', '--json', target,
    ) == 0
    assert json.loads(target.read_text())['datasets'][0]['images'] == 1


@pytest.mark.parametrize(('option', 'value', 'said'), [
    ('--rename', 'red', 'CLASS=CLASS'),
    ('--rename', 'tomato=red', 'no class tomato'),
    ('--labels', 'none.txt', 'one name a line'),
    ('--split', 'night', 'night'),
    ('--backend', 'abacus', 'abacus'),
])
def test_bad_options_are_one_line(
    bundle: Path, data: Path, capsys: CAPTURE, option: str, value: str, said: str
) -> None:
    options = {'--labels': 'red', option: value}
    flat = [part for item in options.items() for part in item]
    assert call('evaluate', bundle, '--dataset', f'yolo:{data}', *flat) == 1
    error = capsys.readouterr().err.strip()
    assert said in error
    assert '\n' not in error


def test_the_shipped_bundle_has_the_accuracy_that_its_card_states(tmp_path: Path) -> None:
    """A few real images: masks as good as stated, on the clip that the figure was taken on."""
    target = tmp_path / 'figures.json'
    root = tmp_path / 'camvid'
    for kind in ('images', 'labels'):
        (root / kind).mkdir(parents=True)
        for path in sorted(shared('camvid', 'val', kind).iterdir())[::25]:
            (root / kind / path.name).symlink_to(path)
    assert call('evaluate', 'roadscene', '--dataset', f'camvid:{root}', '--json', target) == 0
    figures = json.loads(target.read_text())
    assert figures['datasets'][0]['images'] == 5
    assert figures['miou'] == pytest.approx(0.66, abs=0.06)
