"""One engine in a process of its own: what it answers, and what is said when it cannot."""

from __future__ import annotations

import io
import json
from pathlib import Path
import sys

import numpy as np
import pytest

from perception_ros.backends.fake import FakeEngine
from perception_ros.benchmarks.process import WorkerProcess
from perception_ros.benchmarks.tasks import serve
from perception_ros.benchmarks.worker import Worker
from perception_ros.bundles import Bundle
from perception_ros.core.errors import BenchmarkError
from test.builders import fake_bundle, picture, write_real_bundle

BREAKING = (sys.executable, '-m', 'test.benchmarks.breaking_worker')


@pytest.fixture(scope='module')
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_real_bundle(tmp_path_factory.mktemp('bundles') / 'means')


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Three images of the bundle's input size: red, green and blue all over."""
    path = tmp_path / 'images.npy'
    boxes = (0, 0, 96, 64)
    np.save(path, np.stack([
        picture(96, 64, **{colour: boxes}) for colour in ('red', 'green', 'blue')
    ]))
    return path


def opened(bundle: Bundle, images: Path, batch: int) -> Worker:
    worker = Worker()
    options = {'max_batch': batch, 'device': 'cpu'}
    answer = worker.open(str(bundle.path), 'onnxruntime', options, str(images))
    assert answer['engine']['device'] == 'cpu' and answer['open_s'] > 0
    json.dumps(answer)
    return worker


@pytest.mark.parametrize('batch', [1, 2])
def test_answers_are_those_of_the_bundle_at_any_batch(
    bundle: Bundle, images: Path, batch: int, tmp_path: Path
) -> None:
    opened(bundle, images, batch).answers(str(tmp_path / 'a.npz'))
    answers = np.load(tmp_path / 'a.npz')
    assert answers['scores'][:, :3] == pytest.approx(np.eye(3), abs=1e-6)
    assert (answers['semantic_ground'] == np.arange(3)[:, None, None]).all()


def test_a_turn_runs_real_images_in_every_slot(bundle: Bundle, images: Path) -> None:
    worker = opened(bundle, images, 2)
    turn = worker.turn(0.02)
    assert turn['images_per_s'] > 0 and min(turn['latency_ms']) > 0
    slots = [worker._engine.request() for _ in range(2)]
    for slot in slots:
        assert (slot.images == np.load(images)[:2]).all(), 'not what warming up has left there'


@pytest.mark.parametrize('seconds', [0.0, 0.1])
def test_an_engine_s_time_is_what_is_measured(seconds: float) -> None:
    """A call of 20 ms takes 20 ms or more, whatever else this machine does."""
    worker = Worker()
    worker._batch = 3
    worker._engine = FakeEngine(fake_bundle(), max_batch=3, duration_ms=20.0)
    turn = worker.turn(seconds)
    assert min(turn['latency_ms']) >= 20.0
    assert 0 < turn['images_per_s'] <= 3 / 0.020
    assert set(worker._engine.calls) == {3}


def test_problems_are_answers() -> None:
    tasks = [{'task': 'probe', 'backend': 'abacus'}, {'task': 'turn', 'seconds': 1}]
    said = io.StringIO()
    serve(io.StringIO('\n'.join(map(json.dumps, tasks))), said, Worker())
    first, second = map(json.loads, said.getvalue().splitlines())
    assert 'expected auto, tensorrt' in first['problem']
    assert second['problem'].startswith('AttributeError'), 'a defect is one row, not the end'


def test_a_process_answers_until_it_is_left(tmp_path: Path) -> None:
    with WorkerProcess(tmp_path / 'log') as process:
        assert 'onnxruntime' in process.ask('probe', 60, backend='onnxruntime')['found']
        with pytest.raises(BenchmarkError, match="backend 'abacus'"):
            process.ask('probe', 60, backend='abacus')
        memory = process.ask('memory', 60)
        assert 20e6 < memory['peak_memory_bytes'] < 2e9
    with pytest.raises(ValueError, match='closed'):
        process.ask('memory', 60)


def test_what_a_runtime_prints_is_no_answer(tmp_path: Path) -> None:
    with WorkerProcess(tmp_path / 'log', BREAKING) as process:
        assert process.ask('probe', 60, backend='dies') == {'found': 'dies 1.0'}


def test_a_crash_names_the_signal_and_the_last_words(
    bundle: Bundle, images: Path, tmp_path: Path
) -> None:
    with WorkerProcess(tmp_path / 'log', BREAKING) as process:
        ask = {'bundle': str(bundle.path), 'options': {}, 'images': str(images)}
        with pytest.raises(BenchmarkError, match='signal SIGSEGV.*last words: assertion in ker'):
            process.ask('open', 60, backend='dies', **ask)
        with pytest.raises(BenchmarkError, match='the process ended with'):
            process.ask('memory', 60)


@pytest.mark.parametrize(
    ('code', 'message'),
    [
        pytest.param('import time\ntime.sleep(60)', 'no answer within 0.2 s', id='hangs'),
        pytest.param('raise SystemExit(3)', 'ended with status 3', id='ends'),
    ],
)
def test_a_process_that_does_not_answer(tmp_path: Path, code: str, message: str) -> None:
    within_s = 0.2 if 'sleep' in code else 60
    with (
        WorkerProcess(tmp_path / 'log', (sys.executable, '-c', code)) as process,
        pytest.raises(BenchmarkError, match=message),
    ):
        process.ask('memory', within_s)


def test_no_process_stays_when_nobody_asks_any_more(tmp_path: Path) -> None:
    """Killed, the parent closes nothing itself: the end of stdin is what a worker sees."""
    with WorkerProcess(tmp_path / 'log') as process:
        process.ask('probe', 60, backend='fake')
        assert process._process.stdin is not None
        process._process.stdin.close()
        assert process._process.wait(20) == 0
