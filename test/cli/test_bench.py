"""`perception_ros bench engine`, as people call it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from perception_ros.benchmarks.report import EngineReport
from perception_ros.bundles import Bundle
from test.benchmarks.live_reports import pipeline_report
from test.benchmarks.reports import report
from test.builders import picture, write_real_bundle
from test.bundles.shared import shared
from test.cli.test_commands import call, CAPTURE


@pytest.fixture(scope='module')
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_real_bundle(tmp_path_factory.mktemp('bundles') / 'means')


@pytest.fixture
def images(tmp_path: Path) -> Path:
    path = tmp_path / 'red.png'
    cv2.imwrite(str(path), np.ascontiguousarray(picture(96, 64, red=(0, 0, 96, 64))[..., ::-1]))
    return path


@pytest.mark.slow
def test_table_report_page_and_plot(
    bundle: Bundle, images: Path, tmp_path: Path, capsys: CAPTURE
) -> None:
    out = tmp_path / 'new'
    files = {
        '--json': out / 'a.json', '--markdown': out / 'a.md', '--plot': out / 'images' / 'a.png',
    }
    status = call(
        'bench', 'engine', bundle.path, '--backends', 'openvino', '--batches', '2', '--images',
        images, '--rounds', 3, '--seconds', 0, '--image-count', 4,
        *(part for pair in files.items() for part in pair),
    )
    assert status == 0
    said = capsys.readouterr().out
    assert 'openvino' in said and 'onnxruntime@cpu' in said and 'images/s' in said
    written = EngineReport.read(out / 'a.json')
    assert [(row.backend, row.batch) for row in written.rows] == [
        ('onnxruntime@cpu', 2), ('openvino', 2),
    ]
    assert written.settings.images == 4 and written.rows[1].images_ratio
    assert written.command.startswith('perception_ros ')
    assert '![Images a second' in (out / 'a.md').read_text()
    assert '](images/a.png)' in (out / 'a.md').read_text()
    assert cv2.imread(str(files['--plot'])).shape[1] == 1600


def test_an_earlier_report_can_be_shown_again(tmp_path: Path, capsys: CAPTURE) -> None:
    written, page = tmp_path / 'a.json', tmp_path / 'a.md'
    written.write_text(report().model_dump_json())
    assert call('bench', 'show', written, '--markdown', page) == 0
    out, err = capsys.readouterr()
    assert 'Largest difference' in out and 'not measured: tensorrt' in out
    assert err == 'warning: the machine was busy\n'
    assert '2026-11-22T04:00:00+00:00' in page.read_text()
    written.write_text('{}')
    assert call('bench', 'show', written) == 1
    assert 'expected a report of this benchmark' in capsys.readouterr().err


@pytest.mark.slow
def test_where_nothing_works_each_reason_is_listed_and_the_command_fails(
    images: Path, tmp_path: Path, capsys: CAPTURE
) -> None:
    bundle = write_real_bundle(tmp_path / 'means', precision='int8')
    arguments = ('--backends', 'openvino@tpu', '--batches', 1, '--images', images)
    assert call('bench', 'engine', bundle.path, *arguments) == 1
    out, err = (' '.join(text.split()) for text in capsys.readouterr())
    assert "not measured: means in openvino@tpu, batch 1: device 'tpu': expected auto" in out
    assert 'nothing could be measured' in err


@pytest.mark.parametrize(
    ('arguments', 'says'),
    [
        pytest.param(['--backends', 'abacus'], "backend 'abacus': expected some of", id='backend'),
        pytest.param(['--batches', '1,x'], '--batches: expected whole numbers', id='batches'),
        pytest.param(['--batches', '0'], 'batch: expected 1 or more, got 0', id='batch of none'),
        pytest.param(['--precisions', 'int8'], 'bundle: expected one or more', id='no bundle'),
        pytest.param(['--precisions', 'int9'], 'expected some of fp32, fp16', id='precision'),
        pytest.param(['--performance-hint', 'x'], 'expected latency or throughput', id='hint'),
        pytest.param(['--images', 'nowhere'], 'nothing to play at nowhere', id='no images'),
        pytest.param(['--dataset', 'coco:nowhere'], 'there is no nowhere', id='no data'),
        pytest.param(['--json', '.'], 'expected a file to write, got a folder', id='folder'),
        pytest.param(['--plot', '{image}/a.png'], 'expected a folder to write to', id='file'),
    ],
)
def test_refuses(
    bundle: Bundle, images: Path, arguments: list[str], says: str, capsys: CAPTURE
) -> None:
    given = [item.format(image=images) for item in arguments]
    assert call('bench', 'engine', bundle.path, '--images', images, *given) == 1
    err = capsys.readouterr().err
    assert says in err and err.count('\n') == 1


def test_the_family_lists_its_members(capsys: CAPTURE) -> None:
    assert call('bench', '--help') == 0
    assert ' engine ' in capsys.readouterr().out
    assert call('bench', 'engine', '--help') == 0
    assert '--precisions' in capsys.readouterr().out


def test_the_commands_of_the_page_are_commands(capsys: CAPTURE) -> None:
    """A reader types them as they stand there: --help is refused behind an unknown option."""
    page = Path(__file__).parents[2] / 'docs' / 'benchmarks_realtime.md'
    commands = [
        line.split()[1:] for line in page.read_text().splitlines()
        if line.startswith('    perception_ros bench ')
    ]
    assert {command[1] for command in commands} == {
        'pipeline', 'overload', 'soak', 'ingest', 'transport', 'fusion-live',
    }
    for command in commands:
        assert call(*command, '--help') == 0, command
    assert call('bench', 'pipeline', '--no-such-option', '--help') != 0


@pytest.mark.parametrize(
    ('arguments', 'says'),
    [
        pytest.param(['pipeline', '--size', '1280'], 'height: Input should be a valid', id='size'),
        pytest.param(['pipeline', '--encoding', 'png'], "Input should be 'raw' or", id='encoding'),
        pytest.param(['pipeline', '--transport', 'x'], 'expected default or', id='transport'),
        pytest.param(['pipeline', '--sides', 'rust'], 'expected some of node, bare', id='side'),
        pytest.param(['pipeline', 'nowhere'], 'nowhere', id='bundle'),
        pytest.param(['ingest', '--images', 'nowhere'], 'nothing is there', id='images'),
        pytest.param(['overload', '--first', '6'], 'fewer than the 6 cameras', id='first'),
        pytest.param(['soak', '--json', '.'], 'expected a file to write', id='json'),
    ],
)
def test_what_cannot_be_measured_of_a_node_is_refused_at_once(
    arguments: list[str], says: str, capsys: CAPTURE
) -> None:
    assert call('bench', *arguments) == 1
    err = capsys.readouterr().err
    assert says in err and err.count('\n') == 1


def test_a_report_of_a_node_can_be_shown_again(tmp_path: Path, capsys: CAPTURE) -> None:
    written, plot = tmp_path / 'a.json', tmp_path / 'a.png'
    written.write_text(pipeline_report().model_dump_json())
    assert call('bench', 'show', written, '--plot', plot) == 0
    out, err = capsys.readouterr()
    assert 'node / plain@default' in out and 'not measured: bare after 0 turns' in out
    assert err == 'warning: the machine was busy\n' and plot.stat().st_size > 1000
    assert call('bench', 'show', written, '--markdown', tmp_path / 'a.md') == 1
    assert '--markdown: expected a report of engines' in capsys.readouterr().err


def test_the_scheduler_beside_other_policies(tmp_path: Path, capsys: CAPTURE) -> None:
    written = tmp_path / 'a.json'
    assert call('bench', 'scheduler', '--scenarios', 3, '--seconds', 1, '--json', written) == 0
    printed = capsys.readouterr().out
    assert 'dynamic batcher' in printed
    assert call('bench', 'show', written) == 0
    assert capsys.readouterr().out == printed
    assert call('bench', 'show', written, '--markdown', tmp_path / 'a.md') == 1


def test_a_sweep_is_fused_beside_a_plain_loop(tmp_path: Path, capsys: CAPTURE) -> None:
    written, plot = tmp_path / 'a.json', tmp_path / 'a.png'
    data = shared('nuscenes_sample')
    assert call('bench', 'fusion', data, '--rounds', 2, '--json', written, '--plot', plot) == 0
    printed = capsys.readouterr().out
    assert '34688 points, 6 cameras of 1600x900 with masks' in printed
    assert plot.stat().st_size > 1000
    assert call('bench', 'show', written) == 0
    assert capsys.readouterr().out == printed
    assert call('bench', 'show', written, '--markdown', tmp_path / 'a.md') == 1
    assert '--markdown: expected a report of engines' in capsys.readouterr().err
    assert call('bench', 'fusion', tmp_path) == 1
    assert "expected a folder of KITTI's object data" in capsys.readouterr().err
