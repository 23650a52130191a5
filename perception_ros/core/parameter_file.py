"""A node's parameter file, read where there is no ROS."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from perception_ros.core.config import PerceptionConfig
from perception_ros.core.errors import ConfigError
from perception_ros.core.files import read_yaml
from perception_ros.core.parameters import PERCEPTION

_NODES = ('/**', 'perception_node', '/perception_node', '/perception/perception_node')
"""How a file may name the node, later ones counting more."""

_OF_ROS = ('use_sim_time', 'qos_overrides', 'start_type_description_service')
"""Parameters that every node has."""


def read_parameter_file(path: Path) -> PerceptionConfig:
    """Return what a parameter file of the perception node says.

    Parameters of cameras and models that its lists do not name have no effect, as in the node.

    :raises ConfigError: it cannot be read, or holds what the node would refuse.
    """
    content = read_yaml(path, 'a parameter file', ConfigError)
    flat: dict[str, Any] = {}
    for node in _NODES:
        section = content.get(node) if isinstance(content, dict) else None
        if isinstance(section, dict) and isinstance(section.get('ros__parameters'), dict):
            flat |= _flat(section['ros__parameters'])
    if not flat:
        raise ConfigError(
            f'{path}: expected parameters of the perception node below /**: ros__parameters:, as '
            'perception_ros parameters prints them'
        )
    try:
        return _config(flat)
    except ConfigError as error:
        raise ConfigError(f'{path}: {error}') from error


def _config(flat: Mapping[str, Any]) -> PerceptionConfig:
    names = {name: _names(flat.get(name, ()), name) for name in PERCEPTION.lists}
    known = PERCEPTION.fields(names)
    others = {
        name.split('.')[1] for name in flat
        if name.startswith(('cameras.', 'models.')) and name.count('.') == 2
    }
    idle = PERCEPTION.fields(dict.fromkeys(PERCEPTION.lists, others))
    unknown = [
        name for name in flat
        if name not in known and name not in idle and name not in PERCEPTION.lists
        and name.partition('.')[0] not in _OF_ROS
    ]
    if unknown:
        raise ConfigError(
            f'unknown parameter {", ".join(sorted(unknown))}; check its spelling against '
            'docs/parameters.md'
        )
    return PERCEPTION.build(
        {name: _plain(value) for name, value in flat.items() if name in known}, names
    )


def _names(value: Any, parameter: str) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) for item in value):
        raise ConfigError(f'{parameter}: expected a list of names, got {value!r}')
    return tuple(_plain(value))


def _plain(value: Any) -> Any:
    """Return a value; a list of one empty text is how ROS writes an empty list."""
    return [item for item in value if item != ''] if isinstance(value, (list, tuple)) else value


def _flat(tree: Mapping[str, Any], start: str = '') -> dict[str, Any]:
    return dict(_items(tree, start))


def _items(tree: Mapping[str, Any], start: str) -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _items(value, f'{start}{key}.')
        else:
            yield f'{start}{key}', value
