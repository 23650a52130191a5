"""`perception_ros bundles`: what is there, as people and as programs read it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from perception_ros.bundles.find import list_bundles
from perception_ros.bundles.manifest import MANIFEST_NAME
from perception_ros.cli.bundles import numbers
from test.builders import write_real_bundle
from test.cli.test_commands import call, CAPTURE


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a bundle that states its accuracy, and something that is no bundle."""
    bundle = write_real_bundle(tmp_path / 'engines' / 'means')
    metrics = {'miou': 0.5125, 'per_class': {'road': 0.75, 'notes': 'few'}}
    provenance = bundle.manifest.provenance.model_copy(update={'metrics': metrics})
    stated = bundle.manifest.model_copy(update={'provenance': provenance})
    (bundle.path / MANIFEST_NAME).write_text(stated.to_yaml(), encoding='utf-8')
    (tmp_path / 'engines' / 'notes').mkdir()
    return bundle.path.parent


def test_the_table_has_size_tasks_precision_and_accuracy(folder: Path, capsys: CAPTURE) -> None:
    assert call('bundles', folder) == 0
    out = capsys.readouterr().out
    for words in ('means', '96x64', 'detection', 'semantic:ground', 'fp32', 'miou 0.5125',
                  'per_class.road 0.75'):
        assert words in out
    assert 'notes' not in out


def test_json(folder: Path, capsys: CAPTURE) -> None:
    assert call('bundles', folder, '--json') == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts['searched'] == [str(folder)]
    [item] = facts['bundles']
    assert item['bytes'] == (folder / 'means' / 'model.onnx').stat().st_size
    del item['bytes']
    assert item == {
        'name': 'means',
        'path': str(folder / 'means'),
        'problem': None,
        'input': [96, 64],
        'tasks': ['detection', 'semantic:ground'],
        'precision': 'fp32',
        'metrics': {'miou': 0.5125, 'per_class.road': 0.75},
    }


def test_a_damaged_bundle_is_listed_with_its_problem(folder: Path, capsys: CAPTURE) -> None:
    write_real_bundle(folder / 'whole')
    (folder / 'means' / 'model.onnx').write_bytes(b'short')
    assert call('bundles', folder, '--json') == 1
    damaged, whole = json.loads(capsys.readouterr().out)['bundles']
    assert 'expected SHA-256' in damaged['problem'] and whole['problem'] is None
    assert call('bundles', folder) == 1
    assert 'whole' in capsys.readouterr().out


def test_none_says_where_it_looked(tmp_path: Path, capsys: CAPTURE) -> None:
    assert call('bundles', tmp_path / 'nowhere') == 0
    assert str(tmp_path / 'nowhere') in capsys.readouterr().out


def test_of_two_with_one_name_the_first_counts(folder: Path, tmp_path: Path) -> None:
    write_real_bundle(tmp_path / 'more' / 'means')
    other = write_real_bundle(tmp_path / 'more' / 'other')
    assert list_bundles([folder, tmp_path / 'more']) == [folder / 'means', other.path]


def test_numbers_leaves_out_what_is_none() -> None:
    assert dict(numbers({'a': 1, 'b': {'c': 0.5, 'd': 'x'}, 'e': True, 'f': [1]})) == {
        'a': 1, 'b.c': 0.5,
    }
