"""`perception_ros doctor`: it finds what is wrong, survives it, and says what to do."""

from __future__ import annotations

from collections.abc import Callable
import json
import os
from pathlib import Path
import sys
from typing import Any

import pytest

from perception_ros.backends import Backend, BACKENDS
from perception_ros.backends.store import EngineStore
from perception_ros.cli.doctor import imported, OURS, problems, ros, stored, VENDORS
from perception_ros.cli.transport import transport
from test.cli.test_commands import call, CAPTURE

Package = Callable[[str, str], None]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    """Install a package, by its name and code, for this process and for those that it starts."""
    monkeypatch.syspath_prepend(tmp_path)
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get('PYTHONPATH')])])
    monkeypatch.setenv('PYTHONPATH', path)

    def install(name: str, code: str) -> None:
        (tmp_path / f'{name}.py').write_text(code)
        monkeypatch.delitem(sys.modules, name, raising=False)  # what another test imported

    return install


def node(**changes: Any) -> dict[str, Any]:
    """Return what is known of a perception node that runs with the profile."""
    return {'pid': 7, 'rmw': '', 'profile': 'a.xml', 'profile_defect': '', **changes}


def healthy(**changes: Any) -> dict[str, Any]:
    """Return the facts of a machine without a problem; `changes` replace its keys."""
    facts: dict[str, Any] = {
        'gpu': {'works': False, 'reason': 'none'},
        'ros': {'works': True, 'rmw': 'rmw_fastrtps_cpp', 'source': '', 'reason': ''},
        'packages': {
            **{name: {'works': True, 'version': '1'} for name in OURS},
            **{name: {'works': False, 'reason': 'not installed'} for name in VENDORS},
        },
        'backends': {name: {'works': True, 'found': ''} for name in BACKENDS},
        'transport': {
            'profile_variable': 'FASTDDS_DEFAULT_PROFILES_FILE',
            'profile': 'a.xml',
            'profile_defect': '',
            'shipped_profile': 'shipped.xml',
            'shared_memory_bytes': 1 << 30,
            'shared_memory_free_bytes': 1 << 30,
            'shared_memory_abandoned_bytes': 0,
            'nodes': [node()],
        },
        'bundles': [{'name': 'roadscene', 'path': '', 'problem': None}],
        'store': {'folder': '/cache', 'engines': [], 'problem': None},
    }
    for path, value in changes.items():
        *sections, last = path.split('__')
        place = facts
        for section in sections:
            place = place[section]
        place[last] = value
    return facts


def test_json_has_every_package_and_backend(capsys: CAPTURE) -> None:
    assert call('doctor', '--json') == 0
    facts = json.loads(capsys.readouterr().out)
    assert set(facts['packages']) == {*OURS, *VENDORS}
    assert facts['packages']['numpy']['works']
    assert set(facts['backends']) == set(BACKENDS)
    assert 'cpu' in facts['backends']['onnxruntime']['found']
    for item in facts['problems']:
        assert item['problem'] and item['advice']


def test_it_works_without_ros_and_says_so(package: Package, capsys: CAPTURE) -> None:
    package('rclpy', 'raise ImportError("librcl.so: cannot open shared object file")')
    assert call('doctor') == 0
    out = ' '.join(capsys.readouterr().out.split())
    assert 'librcl.so: cannot open' in out
    assert 'problem: ROS 2 does not work' in out and 'source a distribution' in out


def test_without_a_backend_the_exit_status_is_1(
    monkeypatch: pytest.MonkeyPatch, capsys: CAPTURE
) -> None:
    for name, backend in BACKENDS.items():
        if backend.auto:
            absent = Backend(f'no_such_runtime_{name}', f'pip install {name}')
            monkeypatch.setitem(BACKENDS, name, absent)
    assert call('doctor', '--json') == 1
    facts = json.loads(capsys.readouterr().out)
    assert 'pip install openvino' in facts['backends']['openvino']['reason']
    assert 'no model can be run' in facts['problems'][0]['problem']


@pytest.mark.parametrize(
    ('code', 'expected'),
    [
        ('__version__ = "10.3"', {'works': True, 'version': '10.3'}),
        ('raise OSError("libcuda.so.1 is missing")',
         {'works': False, 'reason': 'OSError: libcuda.so.1 is missing'}),
        ('import os; os.abort()',
         {'works': False, 'reason': 'the process ended with status -6'}),
    ],
    ids=['good', 'no driver', 'crash'],
)
def test_a_vendor_s_package_may_do_what_it_likes(
    package: Package, code: str, expected: dict[str, Any]
) -> None:
    package('tensorrt', code)
    assert imported('tensorrt') == expected


@pytest.mark.parametrize('name', ['no_such_package', 'no_such_package.driver'])
def test_a_package_that_is_not_installed(name: str) -> None:
    assert imported(name) == {'works': False, 'reason': 'not installed'}


def test_a_distribution_is_named(package: Package) -> None:
    package('rclpy', '')
    assert ros({'ROS_DISTRO': 'jazzy'})['source'] == 'distribution jazzy'


def test_a_healthy_machine_has_no_problem() -> None:
    assert problems(healthy()) == []


@pytest.mark.parametrize(
    ('changes', 'problem', 'advice'),
    [
        ({'packages__cv2': {'works': False, 'reason': 'not installed'}},
         'cv2 cannot be imported', 'make setup'),
        ({'packages__tensorrt': {'works': False, 'reason': 'no driver'}},
         'tensorrt is installed but', 'install its driver'),
        ({'transport__profile': None},
         'is not set', 'export FASTDDS_DEFAULT_PROFILES_FILE=shipped.xml'),
        ({'transport__profile_defect': 'is no XML'}, 'names a.xml, which is no XML', 'correct'),
        ({'transport__nodes': [node(profile=None)]},
         'process 7 runs without FASTDDS_DEFAULT_PROFILES_FILE', 'perception.launch.py'),
        ({'transport__nodes': [node(profile_defect='is no XML')]},
         'process 7 was given a.xml, which is no XML', 'set to shipped.xml'),
        ({'transport__shared_memory_free_bytes': 64 << 20}, 'has 64 MiB free', '--shm-size'),
        ({'transport__shared_memory_abandoned_bytes': 3 << 30},
         'have left 3072 MiB', 'fastdds shm clean'),
        ({'bundles': []}, 'no bundles', 'perception_ros import'),
        ({'bundles': [{'name': 'a', 'problem': 'expected SHA-256'}]},
         'expected SHA-256', 'copy the bundle again'),
    ],
    ids=['no cv2', 'tensorrt without a driver', 'no profile', 'bad profile',
         'a node without one', 'a node with a bad one',
         'little shared memory', 'left-over memory', 'no bundles', 'damaged bundle'],
)
def test_each_problem_has_advice(changes: dict[str, Any], problem: str, advice: str) -> None:
    [found] = problems(healthy(**changes))
    assert problem in found['problem']
    assert advice in found['advice']


def test_another_middleware_needs_no_profile_of_fast_dds() -> None:
    facts = healthy(ros__rmw='rmw_cyclonedds_cpp', transport__profile=None)
    assert problems(facts) == []
    other = node(rmw='rmw_zenoh_cpp', profile=None)
    assert problems(healthy(transport__nodes=[other])) == []


def test_the_profile_in_force_is_the_variable_that_this_distribution_reads() -> None:
    profile = str(ROOT / 'config' / 'fastdds.xml')
    state = transport({'FASTDDS_DEFAULT_PROFILES_FILE': profile})
    assert (state['profile'], state['profile_defect']) == (profile, '')
    old = transport({'ROS_DISTRO': 'humble', 'FASTDDS_DEFAULT_PROFILES_FILE': profile})
    assert (old['profile_variable'], old['profile']) == ('FASTRTPS_DEFAULT_PROFILES_FILE', None)
    assert Path('/dev/shm').exists() == (state['shared_memory_bytes'] > 0)


def test_stored_engines_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: CAPTURE
) -> None:
    monkeypatch.setenv('PERCEPTION_ROS_CACHE', str(tmp_path))
    key = {'library': 'tensorrt', 'library_version': '10.13', 'gpu': 'NVIDIA Orin'}
    EngineStore().save(key, bytes(2_000_000), {'name': 'roadscene', 'precision': 'fp16'}, 'x')
    assert call('doctor', '--json') == 0
    store = json.loads(capsys.readouterr().out)['store']
    assert store['folder'] == str(tmp_path) and store['problem'] is None
    (engine,) = store['engines']
    assert (engine['name'], engine['precision'], engine['bytes']) == ('roadscene', 'fp16', 2e6)
    assert engine['library'] == 'tensorrt 10.13' and engine['unused_days'] < 1


def test_a_store_that_cannot_be_written_to_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / 'file').write_text('in the way')
    monkeypatch.setenv('PERCEPTION_ROS_CACHE', str(tmp_path / 'file' / 'cache'))
    (found,) = problems(healthy(store=stored()))
    assert 'engines cannot be stored' in found['problem']
    assert 'PERCEPTION_ROS_CACHE' in found['advice']


def test_type_stubs_are_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkout has those of TensorRT, which can be imported and do nothing."""
    (tmp_path / 'only_stubs').mkdir()
    (tmp_path / 'only_stubs' / '__init__.pyi').write_text('')
    monkeypatch.syspath_prepend(tmp_path)
    assert imported('only_stubs') == {'works': False, 'reason': 'not installed'}
