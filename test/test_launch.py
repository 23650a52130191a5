"""The launch files, with the real `ros2 launch` where a distribution is sourced.

Without one what they name is checked at least: executables, parameters and arguments that exist.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
import os
from pathlib import Path
import re
import shutil
import signal
import subprocess
import time
from typing import Any

import pytest
import yaml

from perception_ros.core.parameters import Layout, PERCEPTION
from perception_ros.core.playback import PlayerConfig
from perception_ros.fusion.config import FUSION
from perception_ros.ros.domain import free_domain, private_environment
from perception_ros.ros.transport import profile_variable, running_nodes
from test.builders import write_real_bundle

ROOT = Path(__file__).parents[1]
LAUNCH_FILES = sorted((ROOT / 'launch').glob('*.launch.py'))


def installed() -> bool:
    """Say whether `ros2 launch perception_ros ...` would find this package."""
    if not shutil.which('ros2'):
        return False
    done = subprocess.run(['ros2', 'pkg', 'prefix', 'perception_ros'], capture_output=True)
    return done.returncode == 0


needs_ros2 = pytest.mark.skipif(
    not installed(), reason='needs ros2 launch of a distribution, and this package built by colcon'
)


FOREIGN = {('nav2_costmap_2d', 'nav2_costmap_2d'), ('nav2_lifecycle_manager', 'lifecycle_manager')}
"""Executables of others: (package, name)."""


def executables(path: Path) -> set[tuple[str, str]]:
    """Return what a launch file starts: (package, name)."""
    named = [
        {k.arg: k.value.value for k in node.keywords if isinstance(k.value, ast.Constant)}
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
    ]
    return {(call['package'], call['executable']) for call in named if 'executable' in call}


@pytest.mark.parametrize('path', LAUNCH_FILES, ids=lambda path: path.name)
def test_executables_exist(path: Path) -> None:
    scripts = set(re.findall(r"'(\w+) = perception_ros", (ROOT / 'setup.py').read_text()))
    assert executables(path) <= {('perception_ros', script) for script in scripts} | FOREIGN


@pytest.mark.parametrize('layout', [PERCEPTION, FUSION], ids=lambda layout: layout.node)
def test_parameters_that_launch_sets_exist(layout: Layout[Any]) -> None:
    """A parameter that is misspelt in a launch file would keep the node from being configured."""
    name = f'{layout.node.removesuffix("_node")}.launch.py'
    source = (ROOT / 'launch' / name).read_text()
    known = {*layout.fields({}), *layout.lists, 'autostart', 'use_sim_time'}
    named = set(re.findall(r"overrides\['([\w.]+)'\]", source))
    assert named and named <= known
    assert set(re.findall(r"^        '(\w+)': given", source, re.MULTILINE)) <= known


def test_parameters_that_launch_sets_of_the_player_exist() -> None:
    source = (ROOT / 'launch' / 'demo.launch.py').read_text()
    names = set(re.findall(r"'(\w+)': (?:LaunchConfiguration|ParameterValue)", source))
    assert names
    assert names <= set(PlayerConfig.model_fields)


def test_the_player_of_the_demo_has_the_profile_too() -> None:
    """It publishes the images; what is included sets the profile for what comes after."""
    source = (ROOT / 'launch' / 'demo.launch.py').read_text()
    assert source.index('IncludeLaunchDescription(') < source.index("executable='player_node'")


def test_the_readme_names_every_argument() -> None:
    source = (ROOT / 'launch' / 'perception.launch.py').read_text()
    table = source[source.index('ARGUMENTS = {') : source.index('}\n')]
    arguments = re.findall(r"^    '(\w+)':", table, re.MULTILINE)
    assert len(arguments) == 10
    readme = (ROOT / 'README.md').read_text()
    assert all(f'`{argument}`' in readme for argument in arguments)


class Ros2:
    """Runs `ros2 ...` in a domain of its own."""

    def __init__(self) -> None:
        self.environment = private_environment(free_domain(), os.environ)
        self._launches: list[subprocess.Popen[str]] = []

    def __call__(self, *arguments: str) -> str:
        done = subprocess.run(
            ['ros2', *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.stdout + done.stderr

    def launch(self, *arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            ['ros2', 'launch', 'perception_ros', *arguments],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._launches.append(process)
        return process

    def wait_for(self, expected: str, *arguments: str, timeout_s: float = 60.0) -> str:
        deadline = time.monotonic() + timeout_s
        while expected not in (said := self(*arguments)):
            assert time.monotonic() < deadline, said
        return said

    def close(self) -> None:
        for process in self._launches:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


@pytest.fixture
def ros2() -> Iterator[Ros2]:
    made = Ros2()
    yield made
    made.close()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    bundle = write_real_bundle(tmp_path / 'means')
    values = {
        'camera_names': ['front'],
        'model_names': ['means'],
        'models': {'means': {'bundle': str(bundle.path)}},
    }
    path = tmp_path / 'cameras.yaml'
    path.write_text(yaml.safe_dump({'/**': {'ros__parameters': values}}))
    return path


@needs_ros2
@pytest.mark.dds
def test_launch_lifecycle_and_param_work_together(ros2: Ros2, config: Path) -> None:
    process = ros2.launch(
        'perception.launch.py', f'config:={config}', 'backend:=fake', 'namespace:=car'
    )
    node = '/car/perception_node'
    ros2.wait_for('active [3]', 'lifecycle', 'get', node)
    assert 'fake' in ros2('param', 'get', node, 'backend')
    assert 'successful' in ros2('param', 'set', node, 'max_age_ms', '200.0')
    refused = ros2('param', 'set', node, 'cameras.front.topic', '/other')
    assert 'clean it up' in refused
    assert 'drop' in ros2('param', 'describe', node, 'max_age_ms')
    assert 'successful' in ros2('lifecycle', 'set', node, 'deactivate')
    ros2.wait_for('inactive [2]', 'lifecycle', 'get', node)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 0, out
    assert 'Traceback' not in out


@needs_ros2
@pytest.mark.dds
@pytest.mark.parametrize(
    ('named', 'argument', 'expected'),
    [
        ('', '', 'fastdds.xml'),
        ('/of/the/user.xml', '', 'user.xml'),
        ('', 'none', None),
    ],
    ids=['shipped', 'named by the user', 'none'],
)
def test_images_have_room_in_shared_memory_unless_the_user_decides(
    ros2: Ros2, config: Path, named: str, argument: str, expected: str | None
) -> None:
    variable = profile_variable(ros2.environment)
    ros2.environment[variable] = named
    arguments = [f'transport_profile:={argument}'] if argument else []
    launch = ros2.launch('perception.launch.py', f'config:={config}', 'backend:=fake', *arguments)
    ros2.wait_for('active [3]', 'lifecycle', 'get', '/perception/perception_node')
    mine = [node for node in running_nodes() if os.getpgid(node.pid) == launch.pid]
    assert mine
    assert {Path(node.profile).name if node.profile else None for node in mine} == {expected}


@needs_ros2
@pytest.mark.dds
def test_without_autostart_the_node_waits(ros2: Ros2, config: Path) -> None:
    ros2.launch('perception.launch.py', f'config:={config}', 'autostart:=false')
    node = '/perception/perception_node'
    ros2.wait_for('unconfigured [1]', 'lifecycle', 'get', node)
    assert 'successful' in ros2('lifecycle', 'set', node, 'configure')
    assert 'successful' in ros2('lifecycle', 'set', node, 'activate')


@needs_ros2
@pytest.mark.dds
@pytest.mark.parametrize(
    ('backend', 'status', 'said'),
    [('onnxruntime', 0, 'model means'), ('missing', 1, "backend 'missing': expected")],
)
def test_build_only_ends_with_a_status(
    ros2: Ros2, config: Path, backend: str, status: int, said: str
) -> None:
    process = ros2.launch(
        'perception.launch.py', f'config:={config}', f'backend:={backend}', 'build_only:=true'
    )
    out, _ = process.communicate(timeout=60)
    assert process.returncode == status, out
    assert said in out


@needs_ros2
@pytest.mark.parametrize('path', LAUNCH_FILES, ids=lambda path: path.name)
def test_arguments_are_described(ros2: Ros2, path: Path) -> None:
    said = ros2('launch', 'perception_ros', path.name, '--show-args')
    assert "'config':" in said
    assert 'Parameter file of the' in said
