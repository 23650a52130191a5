"""`perception_ros build` and `cache`, as people call them, with the builder of TensorRT-RTX."""

from __future__ import annotations

import json
import os
from pathlib import Path
import subprocess
import sys
import time

import pytest

from perception_ros.backends.cuda import open_gpu
from perception_ros.backends.store import EngineStore
from perception_ros.core.errors import BackendError
from test.backends.tensorrt.networks import write_network
from test.cli.test_commands import call, CAPTURE

ROOT = Path(__file__).parents[2]

needs_builder = pytest.mark.usefixtures('builder')


@pytest.fixture
def builder() -> None:
    pytest.importorskip('tensorrt_rtx', reason='tensorrt_rtx is not installed')


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / 'cache'
    monkeypatch.setenv('PERCEPTION_ROS_CACHE', str(folder))
    return folder


@needs_builder
def test_it_builds_once_and_says_what_it_got(tmp_path: Path, capsys: CAPTURE) -> None:
    half = write_network(tmp_path / 'half', 'fp16')
    command = ('build', half.path, '--backend', 'tensorrt_rtx', '--max-batch', 2)
    assert call(*command) == 0
    done = capsys.readouterr()
    assert 'half' in done.out and '100.0% fp16' in done.out and 'built' in done.out
    assert 'building half with tensorrt_rtx' in done.err
    assert call(*command) == 0
    done = capsys.readouterr()
    assert 'in the store' in done.out and done.err == ''


@needs_builder
def test_a_report_needs_the_gpu_and_costs_no_plan(tmp_path: Path, capsys: CAPTURE) -> None:
    try:
        open_gpu()
    except BackendError:
        bundle = write_network(tmp_path / 'half', 'fp16')
        command = ('build', bundle.path, '--backend', 'tensorrt_rtx', '--report', tmp_path)
        assert call(*command) == 1
        done = capsys.readouterr()
        assert 'cannot load the plan' in done.err and 'Traceback' not in done.err
        assert 'built' in done.out


@needs_builder
def test_json_has_layers_and_where_the_plan_lies(
    tmp_path: Path, cache: Path, capsys: CAPTURE
) -> None:
    bundle = write_network(tmp_path / 'quantised', 'int8')
    arguments = ('--max-batch', 4, '--optimal-batch', 2, '--output', tmp_path / 'plans', '--json')
    assert call('build', bundle.path, '--backend', 'tensorrt_rtx', *arguments) == 0
    (built,) = json.loads(capsys.readouterr().out)['built']
    assert built['layers']['convolution'] == {'int8': 2}
    assert built['profile'] == {'least': 1, 'optimal': 2, 'greatest': 4}
    assert built['gpu'] == 'none' and built['library'].startswith('tensorrt_rtx ')
    stored = Path(built['path'])
    assert stored.parent == cache and stored.stat().st_size == built['bytes']
    assert (tmp_path / 'plans' / 'quantised.plan').read_bytes() == stored.read_bytes()


@needs_builder
def test_a_bundle_that_cannot_be_built_does_not_stop_the_others(
    tmp_path: Path, capsys: CAPTURE
) -> None:
    liar = write_network(tmp_path / 'liar', 'fp32', claims='fp16')
    good = write_network(tmp_path / 'good', 'fp32')
    bundles = (liar.path, tmp_path / 'missing', good.path)
    assert call('build', *bundles, '--backend', 'tensorrt_rtx', '--max-batch', 1) == 1
    done = capsys.readouterr()
    assert '100.0% in fp32' in done.err and 'missing' in done.err
    assert 'good' in done.out and 'liar' not in done.out


@needs_builder
def test_two_processes_at_once_build_once(tmp_path: Path) -> None:
    bundle = write_network(tmp_path / 'network', 'fp16')
    code = 'from perception_ros.cli.main import main; main()'
    command = [sys.executable, '-c', code, 'build', str(bundle.path), '--backend', 'tensorrt_rtx']
    processes = [
        subprocess.Popen([*command, '--json'], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [json.loads(process.communicate(timeout=60)[0])['built'][0] for process in processes]
    assert sorted(built['was_built'] for built in said) == [False, True]
    assert said[0]['path'] == said[1]['path']


@pytest.mark.parametrize(
    ('arguments', 'said'),
    [
        (('--backend', 'onnxruntime'), "--backend 'onnxruntime': expected tensorrt or"),
        (
            ('--backend', 'tensorrt_rtx', '--hardware-compatibility', 'all'),
            "'all': expected none, ampere_plus or same_compute_capability",
        ),
        (
            ('--backend', 'tensorrt_rtx', '--max-batch', 2, '--optimal-batch', 3),
            'optimal_batch 3: expected at most max_batch 2',
        ),
        (('--backend', 'tensorrt_rtx', '--dla-core', 0), 'finds 0 DLA cores'),
        (
            ('--backend', 'tensorrt_rtx', '--output', '/dev/null/plans'),
            '/dev/null/plans/network.plan: cannot be written',
        ),
    ],
    ids=['backend', 'compatibility', 'optimum', 'DLA', 'output'],
)
@needs_builder
def test_what_cannot_be_asked_for_is_told_in_one_line(
    tmp_path: Path, capsys: CAPTURE, arguments: tuple[object, ...], said: str
) -> None:
    bundle = write_network(tmp_path / 'network', 'fp32')
    assert call('build', bundle.path, *arguments) == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith('error')]
    assert len(errors) == 1 and said in errors[0]


def test_the_cache_is_listed_and_emptied_by_age(cache: Path, capsys: CAPTURE) -> None:
    store = EngineStore()
    for name, age_days in (('new', 1), ('old', 40)):
        key = {'library': 'tensorrt', 'library_version': '10.13', 'gpu': name}
        store.save(key, bytes(1_500_000), {'name': name, 'precision': 'fp16'}, name)
        path = store.entries()[0].path.with_suffix('.json')
        used = time.time() - age_days * 86400
        os.utime(path, (used, used))
    assert call('cache') == 0
    out = capsys.readouterr().out
    assert 'tensorrt 10.13, GPU: old' in out and '40.0 days' in out
    assert f'{cache}: 2 stored, 3.0 MB' in out
    assert call('cache', '--remove-after-days', 30, '--json') == 0
    (removed,) = json.loads(capsys.readouterr().out)['engines']
    assert removed['name'] == 'old'
    assert [entry.about['name'] for entry in store.entries()] == ['new']
    assert call('cache', '--remove-after-days', 0) == 0
    assert '1 removed' in capsys.readouterr().out
    assert list(cache.iterdir()) == []
