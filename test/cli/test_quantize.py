"""`perception_ros quantize` as people call it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from perception_ros.bundles import Bundle
from test.cli.test_commands import call, CAPTURE
from test.quantization.networks import write_colours, write_labelled, write_pictures


@pytest.fixture
def options(tmp_path: Path) -> list[Any]:
    return [
        '--calibration', write_pictures(tmp_path / 'pictures', 6),
        '--dataset', f'camvid:{write_labelled(tmp_path / "data")}', '--no-latency',
    ]


def test_it_prints_accuracy_and_size_and_writes_beside_the_bundle(
    tmp_path: Path, options: list[Any], capsys: CAPTURE
) -> None:
    bundle = write_colours(tmp_path / 'colours')
    assert call('quantize', bundle.path, '--precision', 'int8', *options) == 0
    printed = capsys.readouterr().out
    for text in ('3 of 3 layers with weights in int8', 'mIoU ground', '1.000', '0.00 MB'):
        assert text in printed
    assert Bundle.load(tmp_path / 'colours_int8').manifest.precision == 'int8'


def test_what_is_refused_exits_1_with_the_table_and_without_a_bundle(
    tmp_path: Path, options: list[Any], capsys: CAPTURE
) -> None:
    bundle = write_colours(tmp_path / 'colours', 300.0)
    command = ('quantize', bundle.path, '--precision', 'int8', *options)
    assert call(*command, '--no-spare') == 1
    done = capsys.readouterr()
    assert 'mIoU ground' in done.out
    assert done.err.splitlines()[-1].startswith('error: refused, nothing was written: miou')
    assert not (tmp_path / 'colours_int8').exists()
    assert call(*command, '--no-spare', '--max-drop', 1) == 0


@pytest.mark.parametrize(('changes', 'said'), [
    ({'--precision': 'int4'}, 'expected fp16 or int8'),
    ({'--calibration': 'nowhere'}, 'there is no nowhere'),
    ({'--dataset': 'camvid:nowhere'}, 'there is no nowhere'),
    ({'--max-drop': 2}, 'expected 0..1, got 2'),
])
def test_bad_options_are_one_line(
    tmp_path: Path, options: list[Any], changes: dict[str, Any], said: str, capsys: CAPTURE
) -> None:
    bundle = write_colours(tmp_path / 'colours')
    given = {'--precision': 'int8', **dict(zip(options[:4:2], options[1:4:2], strict=True))}
    flat = [part for item in (given | changes).items() for part in item]
    assert call('quantize', bundle.path, *flat, '--no-latency') == 1
    error = capsys.readouterr().err.strip()
    assert said in error and '\n' not in error
