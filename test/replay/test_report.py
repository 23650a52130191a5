"""The report of a run: what it says first, that it is true, and that a browser shows it."""

from __future__ import annotations

import json
from pathlib import Path
import re
import shutil
import subprocess
from typing import Any

import cv2
import numpy as np
import pytest

from perception_ros.bags.writer import BagWriter
from perception_ros.cli.main import main
from perception_ros.recording import Recorder, RecordOptions
from perception_ros.replay.report.reasons import reasons
from test.builders import picture
from test.replay.drawn import configuration, drawn_bag, SIZE

HOSTILE = '<script>alert(1)</script>$x_{'


def call(*arguments: str | Path) -> int:
    """Return the exit status of a command."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return int(ended.value.code or 0)


def limits(folder: Path, *lines: str) -> Path:
    path = folder / 'limits.yaml'
    path.write_text('limits:\n' + ''.join(f'- {line}\n' for line in lines))
    return path


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a run `good`, and a run `bad` whose rear camera finds nothing."""
    folder = tmp_path_factory.mktemp('runs')
    bag = drawn_bag(folder / 'drawn.mcap', frames=6)
    config = configuration(folder)
    assert call('replay', bag, '--config', config, '--output', folder / 'good',
                '--limits', limits(folder, 'mAP50 >= 0.9')) == 0
    config = configuration(folder, cameras={'rear': {'score_threshold': 0.95}})
    assert call('replay', bag, '--config', config, '--output', folder / 'bad',
                '--baseline', folder / 'good',
                '--limits', limits(folder, 'mAP50 >= 0.9', 'classes.red.AP50 >= 0.9',
                                   'comparison.vanished == 0', 'mIoU >= 0.9')) == 1
    configuration(folder)
    return folder


def page(run: Path) -> str:
    return (run / 'report.html').read_text(encoding='utf-8')


def first_screen(run: Path) -> str:
    return page(run).partition('</header>')[0].partition('<header')[2]


def test_it_says_first_that_a_run_fails_and_why(folder: Path) -> None:
    said = first_screen(folder / 'bad')
    summary = json.loads((folder / 'bad' / 'summary.json').read_text())
    assert 'FAIL' in said and '3 of 4 limits are broken' in said
    assert f'wanted &gt;= 0.9, got <span class="got">{summary["mAP50"]:.4g}</span>' in said
    assert 'red: 2 of 4 found, 4 in the baseline.' in said
    assert 'By class: blue 2, green 2, red 2.' in said
    assert 'mIoU' not in said, 'it is kept'
    assert 'PASS' in first_screen(folder / 'good')


def test_its_figures_are_those_of_the_summary(folder: Path) -> None:
    text = page(folder / 'bad')
    summary = json.loads((folder / 'bad' / 'summary.json').read_text())
    assert f'<b>{summary["mAP50"]:.3f}</b><span>mAP50<br>1.000 in the baseline</span>' in text
    assert f'{summary["comparison"]["difference"]["mAP50"]:+.3f}' in text
    infer = summary['latency']['infer']
    assert f'p99 {infer["p99_ms"]:.1f} ms' in text
    for known in (summary['bundles']['colours']['sha256'], summary['environment']['cpu'],
                  '0 appeared, 6 vanished, 0 moved, 0 relabelled'):
        assert known in text


def test_it_needs_no_network_and_no_script(folder: Path) -> None:
    text = page(folder / 'bad')
    names = {'http://www.w3.org/2000/svg', 'http://www.w3.org/1999/xlink'}
    assert set(re.findall(r'https?://[^"\s<]+', text)) <= names
    assert '<script' not in text and '<link' not in text
    assert all(uri.startswith('#') for uri in re.findall(r'href="([^"]*)"', text))
    assert len(text) < 1_000_000


def test_what_is_worst_and_what_changed_is_drawn(folder: Path) -> None:
    text = page(folder / 'bad')
    assert len(re.findall('<figcaption>rear at .* s: 1 missed, 0 false', text)) == 6
    assert len(re.findall('alt="baseline rear at .* 1 change"', text)) == 4
    assert len(re.findall('alt="this run rear at .* 1 change"', text)) == 4
    details = json.loads((folder / 'bad' / 'details.json').read_text())
    assert {item['camera'] for item in details['colours']['worst']} == {'rear'}
    assert len(details['colours']['curves']['red']['precision']) == 101


def test_a_mask_that_is_wrong_is_drawn_beside_the_truth(tmp_path: Path) -> None:
    with BagWriter(tmp_path / 'drawn.mcap') as writer:
        recorder = Recorder(writer, RecordOptions(head='ground', transport='raw'))
        recorder.pixels('front', 1_000_000_000, picture(*SIZE, red=(8, 8, 48, 40)))
        ids = np.full(SIZE[::-1], 1, np.uint8)
        recorder.label_map('front', 1_000_000_000, ids, ['red', 'green'])
    assert call('replay', tmp_path / 'drawn.mcap', '--config', configuration(tmp_path),
                '--output', tmp_path / 'out') == 0
    assert re.search('alt="truth front at 1.000 s: mIoU 0.0', page(tmp_path / 'out'))
    assert re.search('alt="found front at 1.000 s', page(tmp_path / 'out'))


def test_hostile_names_are_shown_and_not_obeyed(folder: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(folder / 'bad', tmp_path / 'run'))
    for name in ('summary.json', 'details.json'):
        text = (run / name).read_text().replace('"red"', json.dumps(HOSTILE))
        text = text.replace('"drawn.mcap"', json.dumps(HOSTILE + '.mcap'))
        (run / name).write_text(text)
    assert call('report', run) == 0
    assert '<script' not in page(run)
    assert '<title>FAIL: &lt;script&gt;alert(1)' in page(run)


@pytest.mark.parametrize('gone', ['results.mcap', 'details.json', 'bag'])
def test_it_is_written_without_what_is_gone(folder: Path, tmp_path: Path, gone: str) -> None:
    run = Path(shutil.copytree(folder / 'bad', tmp_path / 'run'))
    more: list[str | Path] = []
    if gone == 'bag':
        more = ['--bag', tmp_path / 'gone.mcap']
    else:
        (run / gone).unlink()
    assert call('report', run, *more, '--baseline', folder / 'good') == 0
    assert 'FAIL' in first_screen(run)
    assert ('the bag cannot be read (--bag names it)' in page(run)) is (gone == 'bag')


def test_a_run_of_nothing_and_a_run_without_labels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing passes that was not looked at; a resumed run is reported as any other."""
    with BagWriter(tmp_path / 'plain.mcap') as writer:
        recorder = Recorder(writer, RecordOptions(transport='raw'))
        for index in range(3):
            recorder.pixels('front', recorder.time_ns(index, 10), picture(*SIZE))
    common = ('replay', tmp_path / 'plain.mcap', '--config', configuration(tmp_path), '--output')
    assert call(*common, tmp_path / 'out', '--no-report', '--no-results') == 0
    assert not (tmp_path / 'out' / 'report.html').exists()
    assert call(*common, tmp_path / 'out', '--no-results', '--resume') == 0
    assert 'NO VERDICT' in first_screen(tmp_path / 'out')
    assert call(*common, tmp_path / 'none', '--start', '60') == 0
    assert 'NOTHING REPLAYED' in first_screen(tmp_path / 'none')
    assert call(*common, tmp_path / 'unmeasured', '--limits',
                limits(tmp_path, 'mAP50 >= 0.1')) == 1
    assert 'got <span class="got">not measured</span>' in first_screen(tmp_path / 'unmeasured')
    assert call('report', tmp_path) == 1
    assert 'expected the folder of a replay' in capsys.readouterr().err


def test_a_fault_that_did_not_do_what_it_must_is_told() -> None:
    summary: dict[str, Any] = {
        'limits': [{'limit': 'faults.gone.is_met == 1', 'value': 0.0, 'is_kept': False},
                   {'limit': 'frames_dropped.stale <= 1 %', 'value': 40.0, 'is_kept': False}],
        'faults': [{'name': 'gone', 'expected': 'no frame of the others is lost'}],
        'frames_dropped_by_camera': {'front': {'stale': 4}, 'rear': {'rate': 1}},
    }
    fault, stale = reasons(summary, None)
    assert fault.why == 'Expected: no frame of the others is lost.'
    assert (stale.got, stale.why) == ('40 %', 'Lost by camera: front 4.')


@pytest.mark.parametrize(('file', 'text'), [
    ('summary.json', '{}'), ('summary.json', '[]'), ('summary.json', '{"bag": 3'),
    ('details.json', '{"colours": 3}'), ('details.json', '{'), ('timings.parquet', ''),
    ('run.json', '{}'),
])
def test_a_damaged_run_is_told_and_its_report_kept(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], file: str, text: str
) -> None:
    run = Path(shutil.copytree(folder / 'bad', tmp_path / 'run'))
    (run / file).write_text(text)
    before = page(run)
    assert call('report', run) == 1
    assert re.match(f'error: {run}.*: expected ', capsys.readouterr().err)
    assert page(run) == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ('size', 'scheme'), [((1280, 800), 1), ((500, 900), 0)], ids=['wide light', 'narrow dark']
)
def test_a_browser_shows_the_verdict_in_the_first_screen(
    folder: Path, tmp_path: Path, size: tuple[int, int], scheme: int
) -> None:
    """500 px is the narrowest window that Chromium opens. The plate is of one colour alone."""
    browser = next(filter(None, map(shutil.which, ('chromium', 'google-chrome'))), None)
    if browser is None:
        pytest.skip('no browser: neither chromium nor google-chrome is installed')
    shot = tmp_path / 'shot.png'
    subprocess.run([
        browser, '--headless', '--no-sandbox', '--disable-gpu', '--hide-scrollbars',
        f'--user-data-dir={tmp_path / "profile"}', f'--window-size={size[0]},{size[1]}',
        f'--blink-settings=preferredColorScheme={scheme}', f'--screenshot={shot}',
        (folder / 'bad' / 'report.html').as_uri(),
    ], check=True, capture_output=True, timeout=60)
    pixels = cv2.imread(str(shot))
    assert pixels is not None and pixels.shape[1] == size[0]
    plate = np.all(pixels == {1: (0, 67, 184), 0: (92, 154, 255)}[scheme], axis=2)
    assert plate[: size[1] // 4, : size[0] // 2].sum() > 4000
    assert bool(pixels[-1, 0].mean() > 128) is (scheme == 1)
