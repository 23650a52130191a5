"""`perception_ros parameters`: the nodes' parameters as a file to start from, or as a table.

Both come from the declarations in `core.config` and `fusion.config`: `config/perception.yaml`,
`config/fusion.yaml` and `docs/parameters.md` are what this command prints.
"""

from __future__ import annotations

from enum import Enum
from textwrap import wrap
from typing import Annotated, Any, get_args, get_origin, Literal

import annotated_types
from pydantic.fields import FieldInfo
import typer
import yaml

from perception_ros.cli.main import split_names
from perception_ros.core.config import is_name, NAME_RULE
from perception_ros.core.errors import ConfigError
from perception_ros.core.parameters import check_once, is_live, Layout, PERCEPTION, unit_of
from perception_ros.fusion.config import FUSION

CAMERAS = ('front_left', 'front', 'front_right')
MODELS = ('roadscene',)
_WIDTH = 96


class NodeName(str, Enum):
    """Whose."""

    PERCEPTION = 'perception'
    FUSION = 'fusion'


class Format(str, Enum):
    """How to print."""

    YAML = 'yaml'
    MARKDOWN = 'markdown'


LAYOUTS: dict[NodeName, Layout[Any]] = {
    NodeName.PERCEPTION: PERCEPTION, NodeName.FUSION: FUSION,
}


def parameters(
    node: Annotated[
        NodeName, typer.Option(help='Of which node (YAML only; the table has both).')
    ] = NodeName.PERCEPTION,
    form: Annotated[Format, typer.Option('--format', help='As what.')] = Format.YAML,
    cameras: Annotated[
        str, typer.Option(help='Names of cameras, with commas (YAML only).')
    ] = ','.join(CAMERAS),
    models: Annotated[
        str, typer.Option(help='Names of models, with commas (YAML only).')
    ] = ','.join(MODELS),
) -> None:
    """Print every parameter of a node, with its default, unit, range and meaning."""
    if form is Format.MARKDOWN:
        typer.echo(as_markdown(), nl=False)
    else:
        names = {'camera_names': _names(cameras), 'model_names': _names(models)}
        check_once(names)
        typer.echo(as_yaml(LAYOUTS[node], names), nl=False)


def as_yaml(layout: Layout[Any], names: dict[str, list[str]]) -> str:
    """Return a parameter file with every parameter at its default, explained."""
    tree: dict[str, Any] = {}
    for name, field in layout.fields(names).items():
        *path, last = name.split('.')
        place = tree
        for part in path:
            place = place.setdefault(part, {})
        place[last] = field
    lines = [
        f'# Parameters of the {layout.node.replace("_", " ")}; printed by `perception_ros '
        f'parameters --node {layout.node.removesuffix("_node")}`.',
        '# What is not named here has its default. Parameters marked [live] can change while the',
        '# node runs (ros2 param set); the others when it is not configured.',
        '/**:',
        '  ros__parameters:',
    ]
    for parameter, text in layout.lists.items():
        lines += [*_comment(text, 4), f'    {parameter}: [{", ".join(names[parameter])}]']
    lines += _section(tree, 4, set())
    return '\n'.join(lines) + '\n'


def as_markdown() -> str:
    """Return the reference table."""
    lines = [
        '# Parameters',
        '',
        'Printed by `perception_ros parameters --format markdown` from the declarations in',
        '`perception_ros/core/config.py` and `perception_ros/fusion/config.py`, which also',
        'make `config/perception.yaml`, `config/fusion.yaml` and what `ros2 param describe`',
        'says. *Live* parameters can change while the node runs; a node refuses a change of the',
        'others while it is configured, and says so.',
    ]
    for layout in LAYOUTS.values():
        lines += ['', f'## {layout.node}', '', *_table(layout)]
    return '\n'.join(lines) + '\n'


def _table(layout: Layout[Any]) -> list[str]:
    lines = [
        '| parameter | default | unit | range | live | meaning |',
        '|---|---|---|---|---|---|',
    ]
    lines += [f'| `{name}` | | | | no | {text} |' for name, text in layout.lists.items()]
    for name, field in layout.fields_of('<name>').items():
        unit, live = unit_of(field), 'yes' if is_live(field) else 'no'
        default = _scalar(field.get_default())
        text = (field.description or '').replace('|', '\\|')
        row = [f'`{name}`', f'`{default}`', unit, _range(field), live, text]
        lines.append('| ' + ' | '.join(row) + ' |')
    return lines


def _names(text: str) -> list[str]:
    names = list(split_names(text))
    if not names:
        raise ConfigError(f'expected names with commas between them, got {text!r}')
    if wrong := [name for name in names if not is_name(name)]:
        raise ConfigError(f'{wrong[0]!r} can be no name here: expected {NAME_RULE}')
    return names


def _section(tree: dict[str, Any], indent: int, explained: set[str]) -> list[str]:
    lines = []
    for key, value in tree.items():
        if isinstance(value, dict):
            lines += [f'{" " * indent}{key}:', *_section(value, indent + 2, explained)]
            continue
        text = value.description or ''
        if text not in explained:  # the second camera needs no second explanation
            explained.add(text)
            notes = [note for note in (unit_of(value), _range(value)) if note]
            notes += ['live'] if is_live(value) else []
            lines += _comment(text + (f' [{", ".join(notes)}]' if notes else ''), indent)
        lines.append(f'{" " * indent}{key}: {_scalar(value.get_default())}')
    return lines


def _comment(text: str, indent: int) -> list[str]:
    return [f'{" " * indent}# {line}' for line in wrap(text, _WIDTH - indent)]


def _scalar(value: Any) -> str:
    if value == ():
        return "['']"  # ROS cannot read an empty list
    return yaml.safe_dump(value, default_flow_style=True).splitlines()[0]


def _range(field: FieldInfo) -> str:
    if get_origin(field.annotation) is Literal:
        return ', '.join(map(str, get_args(field.annotation)))
    low = next((m.ge for m in field.metadata if isinstance(m, annotated_types.Ge)), None)
    high = next((m.le for m in field.metadata if isinstance(m, annotated_types.Le)), None)
    return '' if low is None else f'{low} to {high}'
