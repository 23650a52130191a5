"""One declaration: the shipped file and the reference must be what it says today."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from perception_ros.cli.parameters import as_markdown, as_yaml, CAMERAS, MODELS
from perception_ros.core.config import from_flat, load_config, PerceptionConfig

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ('path', 'expected'),
    [
        ('config/perception.yaml', as_yaml(list(CAMERAS), list(MODELS))),
        ('docs/parameters.md', as_markdown()),
    ],
    ids=['yaml', 'reference'],
)
def test_the_file_is_what_the_declaration_says(path: str, expected: str) -> None:
    assert (ROOT / path).read_text() == expected, 'print it anew: perception_ros parameters'


def test_the_yaml_holds_the_defaults() -> None:
    values = yaml.safe_load(as_yaml(['a', 'b'], ['m']))['/**']['ros__parameters']
    assert (values.pop('camera_names'), values.pop('model_names')) == (['a', 'b'], ['m'])
    for model in values['models'].values():
        model['cameras'] = [name for name in model['cameras'] if name]
    assert load_config(values) == from_flat({}, ['a', 'b'], ['m'])


def test_every_parameter_is_explained_once_and_has_a_range_where_it_is_a_number() -> None:
    fields = dict(PerceptionConfig.model_fields)
    text = as_yaml(['a', 'b'], ['m'])
    for name, field in fields.items():
        assert field.description or name in ('synchronizer', 'overlay'), name
    assert text.count('Largest difference between the stamps') == 1
    assert text.count('QoS of the subscription;') == 1
