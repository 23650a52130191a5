"""A parameter file of the node, read without ROS."""

from __future__ import annotations

from pathlib import Path

import pytest

from perception_ros.cli.parameters import as_yaml
from perception_ros.core.errors import ConfigError
from perception_ros.core.parameter_file import read_parameter_file
from perception_ros.core.parameters import PERCEPTION

NAMES = {'camera_names': ['front', 'rear'], 'model_names': ['roadscene']}


def written(folder: Path, text: str) -> Path:
    path = folder / 'parameters.yaml'
    path.write_text(text)
    return path


def test_what_the_command_prints_can_be_read(tmp_path: Path) -> None:
    config = read_parameter_file(written(tmp_path, as_yaml(PERCEPTION, NAMES)))
    assert list(config.cameras) == ['front', 'rear']
    assert config.models['roadscene'].cameras == (), "['']: how ROS writes an empty list"


def test_a_file_may_serve_many_vehicles(tmp_path: Path) -> None:
    """Cameras that the list does not name have no effect, and the node's own section counts."""
    config = read_parameter_file(written(tmp_path, """
/**:
  ros__parameters:
    use_sim_time: true
    camera_names: [front]
    max_age_ms: 100.0
    cameras: {front: {priority: 2}, rear: {priority: 3}}
/perception/perception_node: {ros__parameters: {max_age_ms: 200.0}}
/another_node: {ros__parameters: {unknown: 1}}
"""))
    assert list(config.cameras) == ['front']
    assert (config.cameras['front'].priority, config.max_age_ms) == (2, 200.0)


@pytest.mark.parametrize(
    ('text', 'says'),
    [
        ('/**: {ros__parameters: {camera_name: [front]}}', 'unknown parameter camera_name;'),
        ('/**: {ros__parameters: {cameras: {a: {topics: x}}}}', 'cameras.a.topics'),
        ('/**: {ros__parameters: {camera_names: front}}', "a list of names, got 'front'"),
        ('/**: {ros__parameters: {max_age_ms: -1.0}}', 'max_age_ms'),
        ('cameras: {}', 'below /\\*\\*: ros__parameters:'),
        ('{', 'a parameter file in YAML'),
    ],
    ids=['misspelt', 'misspelt of another', 'no list', 'out of range', 'no node', 'no YAML'],
)
def test_a_wrong_file_is_refused_with_advice(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        read_parameter_file(written(tmp_path, text))
    with pytest.raises(ConfigError, match='cannot be read; No such file'):
        read_parameter_file(tmp_path / 'missing.yaml')
