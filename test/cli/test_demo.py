"""The demonstration as people call it: two more processes, real topics, files at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import json
import os
from pathlib import Path
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs rclpy')

from test.builders import picture, write_real_bundle

pytestmark = pytest.mark.dds

Start = Callable[..., 'subprocess.Popen[str]']


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start the command in a folder of its own; whatever is left of it ends with the test."""
    started: list[subprocess.Popen[str]] = []
    # a domain of the caller's would be taken for ours, and shared with other tests
    environment = {k: v for k, v in os.environ.items() if k != 'ROS_DOMAIN_ID'}

    def run(*arguments: object) -> subprocess.Popen[str]:
        code = 'from perception_ros.cli.main import main; main()'
        process = subprocess.Popen(
            [sys.executable, '-c', code, 'demo', *map(str, arguments)],
            cwd=tmp_path,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # a shell's background job ignores Ctrl-C, and so would all that it starts
            preexec_fn=_take_signals,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _take_signals() -> None:
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture
def still(tmp_path: Path) -> Path:
    """A picture in whose middle, which all cameras see, is a red rectangle."""
    path = tmp_path / 'still.png'
    rgb = picture(400, 240, red=(180, 80, 230, 140))
    assert cv2.imwrite(str(path), cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    return path


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_real_bundle(tmp_path / 'means').path


def _finish(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=100)
    return output


def _children(process: subprocess.Popen[str]) -> list[int]:
    text = Path(f'/proc/{process.pid}/task/{process.pid}/children').read_text()
    return [int(pid) for pid in text.split()]


def test_a_still_becomes_frames_a_film_and_a_summary(
    start: Start, still: Path, bundle: Path, tmp_path: Path
) -> None:
    process = start(
        '--input', still, '--models', bundle, '--backend', 'fake', '--frames', 8, '--rate', 8
    )
    output = _finish(process)
    assert process.returncode == 0, output
    assert 'published / received' in output

    folder = tmp_path / 'out' / 'demo'
    summary = json.loads((folder / 'summary.json').read_text())
    assert summary['cameras'] == ['front_left', 'front', 'front_right']
    assert summary['frames_published'] == summary['frames_received'] == 24
    assert summary['frames_inferred'] + sum(summary['frames_dropped'].values()) == 24
    assert summary['frame_sets'] >= 8
    assert summary['detections']['red'] > 0
    assert 0 < summary['latency_ms']['p50'] <= summary['latency_ms']['max']
    assert (summary['backend'], summary['precision']) == ('fake', 'fp32')
    assert [model['name'] for model in summary['models']] == ['means']
    assert summary['comparison'] is None

    pictures = list((folder / 'frames').glob('*/*.jpg'))
    assert len(pictures) == summary['results_heard']['annotated_frames'] > 0
    assert {path.parent.name for path in pictures} == set(summary['cameras'])
    film = cv2.VideoCapture(str(folder / 'demo.mp4'))
    assert film.read()[0]
    film.release()


def test_cameras_of_a_folder_with_two_models(start: Start, bundle: Path, tmp_path: Path) -> None:
    rig = tmp_path / 'rig'
    rig.mkdir()
    for index in range(4):
        rgb = picture(200, 120, green=(20 * index, 20, 20 * index + 60, 80))
        cv2.imwrite(str(rig / f'CAM_{index}.png'), np.ascontiguousarray(rgb[..., ::-1]))
    other = write_real_bundle(tmp_path / 'other', 'other').path
    process = start(
        *('--input', rig, '--models', f'{bundle},{other}', '--backend', 'fake'),
        *('--frames', 6, '--rate', 6, '--transport', 'compressed', '--output', 'here'),
    )
    output = _finish(process)
    assert process.returncode == 0, output
    summary = json.loads((tmp_path / 'here' / 'summary.json').read_text())
    assert summary['cameras'] == [f'CAM_{index}' for index in range(4)]
    assert summary['frames_received_by_camera'] == dict.fromkeys(summary['cameras'], 6)
    heard = summary['results_heard']
    assert heard['detections'].keys() == {'means', 'other'}
    assert heard['masks'].keys() == {'means/semantic/ground', 'other/semantic/ground'}


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_ends_the_children_too(
    start: Start, still: Path, bundle: Path, number: signal.Signals
) -> None:
    process = start('--input', still, '--models', bundle, '--backend', 'fake', '--frames', 10_000)
    deadline = time.monotonic() + 60
    while len(children := _children(process)) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(children) == 2, 'the node and the player'
    time.sleep(0.5)
    process.send_signal(number)
    output = _finish(process)
    assert process.returncode == 130, output
    assert 'interrupted' in output
    assert 'Traceback' not in output
    assert not [pid for pid in children if Path(f'/proc/{pid}').exists()]


@pytest.mark.parametrize(
    ('arguments', 'messages'),
    [
        pytest.param(['--models', 'nowhere'], ["bundle 'nowhere' not found"], id='no bundle'),
        pytest.param(['--input', 'nowhere'], ['nothing to play at nowhere'], id='no input'),
        pytest.param([], ['the demo photograph', 'make setup'], id='no photograph'),
        pytest.param(
            ['--models', 'means', '--input', 'still.png', '--backend', 'abacus', '--rate', '2'],
            ['perception_node cannot configure', 'ends with', "'abacus'"],
            id='the node cannot configure',
        ),
        pytest.param(
            ['--models', 'means', '--input', 'still.png', '--backend', 'abacus'],
            ["backend 'abacus'"],
            id='no such backend',
        ),
    ],
)
def test_what_cannot_work_is_told(
    start: Start, still: Path, bundle: Path, arguments: list[str], messages: list[str]
) -> None:
    arguments = (
        arguments
        if '--input' in arguments or not arguments
        else [*arguments, '--input', str(still)]
    )
    process = start(*arguments)
    output = ' '.join(_finish(process).split())
    assert process.returncode == 1
    assert 'Traceback' not in output
    for message in messages:
        assert message in output


def test_without_ros_it_says_what_is_missing() -> None:
    code = (
        'import sys; sys.modules["rclpy"] = None\n'
        'from perception_ros.cli.main import main; main(["demo"])'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.returncode == 1
    assert 'needs ROS 2' in done.stderr
    assert 'make setup' in done.stderr
    assert 'Traceback' not in done.stderr


def test_nothing_detected_is_a_failure(start: Start, bundle: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / 'grey.png'), np.full((240, 400, 3), 114, np.uint8))
    process = start(
        *('--input', 'grey.png', '--models', bundle, '--backend', 'fake'),
        *('--frames', 3, '--rate', 5),
    )
    output = _finish(process)
    assert process.returncode == 1
    assert 'nothing was detected' in output
