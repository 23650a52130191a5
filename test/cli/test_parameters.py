"""One declaration: the shipped file and the reference must be what it says today."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from perception_ros.cli.parameters import as_markdown, as_yaml, CAMERAS, MODELS
from perception_ros.core.config import load_config, PerceptionConfig
from perception_ros.core.errors import ConfigError
from perception_ros.core.parameters import PERCEPTION
from perception_ros.fusion.config import FUSION
from test.cli.test_commands import call, CAPTURE

ROOT = Path(__file__).parents[2]


NAMES = {'camera_names': list(CAMERAS), 'model_names': list(MODELS)}
A_AND_B = {'camera_names': ['a', 'b'], 'model_names': ['m']}


@pytest.mark.parametrize(
    ('path', 'expected'),
    [
        ('config/perception.yaml', as_yaml(PERCEPTION, NAMES)),
        ('config/fusion.yaml', as_yaml(FUSION, NAMES)),
        ('docs/parameters.md', as_markdown()),
    ],
    ids=['perception', 'fusion', 'reference'],
)
def test_the_file_is_what_the_declaration_says(path: str, expected: str) -> None:
    assert (ROOT / path).read_text() == expected, 'print it anew: perception_ros parameters'


def test_the_yaml_holds_the_defaults() -> None:
    values = yaml.safe_load(as_yaml(PERCEPTION, A_AND_B))['/**']['ros__parameters']
    assert (values.pop('camera_names'), values.pop('model_names')) == (['a', 'b'], ['m'])
    for model in values['models'].values():
        model['cameras'] = [name for name in model['cameras'] if name]
    values['autoware_labels'] = [text for text in values['autoware_labels'] if text]
    assert load_config(values) == PERCEPTION.build({}, A_AND_B)


def test_names_may_have_spaces_around_them(capsys: CAPTURE) -> None:
    assert call('parameters', '--cameras', 'front, rear', '--models', ' m ,') == 0
    values = yaml.safe_load(capsys.readouterr().out)['/**']['ros__parameters']
    assert (values['camera_names'], values['model_names']) == (['front', 'rear'], ['m'])
    assert set(values['cameras']) == {'front', 'rear'}


def test_a_name_that_cannot_be_part_of_a_topic_is_refused(capsys: CAPTURE) -> None:
    assert call('parameters', '--cameras', 'front,rear left') == 1
    assert "'rear left' can be no name here: expected a letter" in capsys.readouterr().err


def test_no_names_are_no_file(capsys: CAPTURE) -> None:
    """The node would refuse it."""
    assert call('parameters', '--cameras', ' ,') == 1
    assert 'expected names with commas' in capsys.readouterr().err


def test_a_camera_is_named_once(capsys: CAPTURE) -> None:
    """Of two of one name one would be lost without a word."""
    assert call('parameters', '--cameras', 'front,rear,front') == 1
    assert "camera_names: expected each name once, got 'front' twice" in capsys.readouterr().err
    with pytest.raises(ConfigError, match='model_names: expected each name once'):
        PERCEPTION.build({}, {'camera_names': ['a'], 'model_names': ['m', 'm']})


def test_every_parameter_is_explained_once_and_has_a_range_where_it_is_a_number() -> None:
    fields = dict(PerceptionConfig.model_fields)
    text = as_yaml(PERCEPTION, A_AND_B)
    for name, field in fields.items():
        assert field.description or name in ('synchronizer', 'overlay'), name
    assert text.count('Largest difference between the stamps') == 1
    assert text.count('QoS of the subscription;') == 1
