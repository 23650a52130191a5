"""The launch files for Autoware and Nav2: they name what there is, and take nobody's topic."""

from __future__ import annotations

import ast
from pathlib import Path
import re
from typing import Any

import pytest
import yaml

from perception_ros.core import topics

ROOT = Path(__file__).parents[1]
LAUNCH = ROOT / 'launch'
EXAMPLES = [LAUNCH / name for name in ('autoware.launch.py', 'nav2.launch.py')]


def calls(path: Path, function: str) -> list[ast.Call]:
    return [
        node for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        and node.func.id == function
    ]


def arguments(path: Path) -> set[str]:
    """Return the arguments that a launch file takes, from its table or one by one."""
    source = path.read_text()
    declared = {
        str(call.args[0].value) for call in calls(path, 'DeclareLaunchArgument')
        if isinstance(call.args[0], ast.Constant)
    }
    table = re.search(r'^ARGUMENTS = \{\n(.*?)^\}', source, re.MULTILINE | re.DOTALL)
    return declared | set(re.findall(r"^    '(\w+)':", table[1], re.MULTILINE) if table else ())


@pytest.mark.parametrize('path', EXAMPLES, ids=lambda path: path.name)
def test_what_is_included_is_there_and_takes_its_arguments(path: Path) -> None:
    """`ros2 launch` passes on an argument that nobody reads without a word."""
    included = calls(path, 'include')
    assert included
    for call in included:
        target = LAUNCH / ast.literal_eval(call.args[0])
        assert target.is_file()
        given = {keyword.arg for keyword in call.keywords} or {'config'}
        assert given <= arguments(target)


@pytest.mark.parametrize('path', EXAMPLES, ids=lambda path: path.name)
def test_default_files_are_there(path: Path) -> None:
    named = re.findall(r"SHARE / 'config' / '([\w.]+)'", path.read_text())
    assert named
    assert all((ROOT / 'config' / name).is_file() for name in named)


def test_topics_that_are_autoware_s_are_those_that_we_would_publish() -> None:
    """One of another name would not be taken out of Autoware's way."""
    pytest.importorskip('rclpy', reason='needs rclpy')
    from perception_ros.ros.autoware import DETECTED_OBJECTS, TRACKED_OBJECTS

    source = (LAUNCH / 'autoware.launch.py').read_text()
    found = re.findall(r"'(object_recognition/\w+/objects)'", source)
    assert found == [DETECTED_OBJECTS, TRACKED_OBJECTS]


@pytest.fixture(scope='module')
def costmap() -> dict[str, Any]:
    text = (ROOT / 'config' / 'nav2_perception.yaml').read_text()
    values: dict[str, Any] = yaml.safe_load(text)['local_costmap']['local_costmap']
    return values['ros__parameters']


def test_the_costmap_hears_what_the_fusion_publishes(costmap: dict[str, Any]) -> None:
    layer = costmap['perception_layer']
    sources = {name: layer[name] for name in layer['observation_sources'].split()}
    heard = {name: source['topic'] for name, source in sources.items()}
    assert heard == {
        'obstacles': f'/perception/{topics.OBSTACLE_POINTS}',
        'sweep': f'/perception/{topics.PAINTED_POINTS}',
    }
    assert {source['data_type'] for source in sources.values()} == {'PointCloud2'}


def test_obstacles_mark_and_the_whole_sweep_clears(costmap: dict[str, Any]) -> None:
    """A sweep that marks would mark the road; obstacles alone would never clear a cell."""
    layer = costmap['perception_layer']
    does = {n: (layer[n]['marking'], layer[n]['clearing']) for n in ('obstacles', 'sweep')}
    assert does == {'obstacles': (True, False), 'sweep': (False, True)}
    assert layer['sweep']['raytrace_max_range'] >= layer['obstacles']['obstacle_max_range']
    assert layer['sweep']['min_obstacle_height'] < layer['obstacles']['min_obstacle_height']


def test_a_silent_perception_stops_the_robot(costmap: dict[str, Any]) -> None:
    """Nav2 waits for a costmap that is not current; 0 would mean that it never gets old."""
    layer = costmap['perception_layer']
    assert all(layer[n]['expected_update_rate'] > 0 for n in ('obstacles', 'sweep'))


def test_every_layer_has_its_section_and_inflation_comes_last(costmap: dict[str, Any]) -> None:
    assert all('plugin' in costmap[name] for name in costmap['plugins'])
    assert costmap['plugins'][-1] == 'inflation_layer'


def test_voxels_fit_into_the_layer(costmap: dict[str, Any]) -> None:
    """Nav2 keeps a column in 16 bits, and what is higher than the column is not marked."""
    layer = costmap['perception_layer']
    assert layer['z_voxels'] <= 16
    assert layer['origin_z'] + layer['z_voxels'] * layer['z_resolution'] >= (
        layer['max_obstacle_height']
    )
