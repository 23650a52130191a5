"""The configuration as a flat list of parameters, which is how ROS and parameter files have it.

Each name in the two lists `camera_names` and `model_names` brings the parameters of one camera or
model, such as `cameras.front.topic`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from perception_ros.core.config import (
    CameraConfig,
    load_config,
    ModelConfig,
    OverlayConfig,
    PerceptionConfig,
    SynchronizerConfig,
)

NAME_LISTS = {
    'camera_names': 'Names of the cameras, in the order in which they are batched. Each brings '
    'its own parameters cameras.<name>.*',
    'model_names': 'Names of the models. Each brings its own parameters models.<name>.*',
}
"""The two parameters that are lists of names: ROS has no mappings."""


def flat_fields(cameras: Iterable[str], models: Iterable[str]) -> dict[str, FieldInfo]:
    """Return every parameter by its flat name, such as 'cameras.front.topic', in order.

    :param cameras: names of the cameras, which become part of their parameters' names.
    :param models: likewise.
    """
    sections: dict[str, type[BaseModel]] = {
        'synchronizer': SynchronizerConfig,
        **{f'cameras.{name}': CameraConfig for name in cameras},
        **{f'models.{name}': ModelConfig for name in models},
        'overlay': OverlayConfig,
    }
    nested = {section.partition('.')[0] for section in sections} | {'cameras', 'models'}
    fields = {n: f for n, f in PerceptionConfig.model_fields.items() if n not in nested}
    for section, its_class in sections.items():
        fields |= {f'{section}.{name}': f for name, f in its_class.model_fields.items()}
    return fields


def is_live(field: FieldInfo) -> bool:
    """Say whether a parameter may change while the node runs."""
    extra = field.json_schema_extra
    return isinstance(extra, dict) and bool(extra.get('live'))


def unit_of(field: FieldInfo) -> str:
    """Return the unit of a parameter, '' for none."""
    extra = field.json_schema_extra
    return str(extra.get('unit') or '') if isinstance(extra, dict) else ''


def from_flat(
    values: Mapping[str, Any], cameras: Iterable[str], models: Iterable[str]
) -> PerceptionConfig:
    """Validate flat values by the names of `flat_fields`.

    :raises ConfigError: as `load_config`.
    """
    nested: dict[str, Any] = {
        'cameras': {name: {} for name in cameras},
        'models': {name: {} for name in models},
    }
    for name, value in values.items():
        *path, last = name.split('.')
        place = nested
        for part in path:
            place = place.setdefault(part, {})
        place[last] = value
    return load_config(nested)
