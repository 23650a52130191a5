"""A configuration as a flat list of parameters, which is how ROS and parameter files have it.

ROS has no mappings: a mapping such as `cameras` becomes a list of names, `camera_names`, of which
each brings the parameters of one item, such as `cameras.front.topic`. A part of the configuration
that is a class of its own, such as `overlay`, becomes a prefix.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Generic, get_args, get_origin, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from perception_ros.core.config import describe, PerceptionConfig
from perception_ros.core.errors import ConfigError

ConfigT = TypeVar('ConfigT', bound=BaseModel)

Names = Mapping[str, Iterable[str]]
"""Parameter that is a list of names, such as 'camera_names', -> the names in it."""


class Layout(Generic[ConfigT]):
    """How the configuration of a node lies flat.

    :param config: its class; fields that are mappings of names to classes are what its lists say.
    :param node: the node's name; lists: what each list of names means, by its parameter.
    """

    def __init__(self, config: type[ConfigT], node: str, lists: Mapping[str, str]) -> None:
        self.config = config
        self.node = node
        self.lists = dict(lists)
        self._classes: dict[str, type[BaseModel]] = {}
        self._parts: dict[str, type[BaseModel]] = {}
        self._plain: dict[str, FieldInfo] = {}
        for name, field in config.model_fields.items():
            kind = field.annotation
            if get_origin(kind) is dict:
                self._classes[name] = get_args(kind)[1]
            elif isinstance(kind, type) and issubclass(kind, BaseModel):
                self._parts[name] = kind
            else:
                self._plain[name] = field

    @property
    def sections(self) -> dict[str, str]:
        """List of names -> where the parameters of its items are: camera_names -> cameras."""
        return {name: f'{name.removesuffix("_names")}s' for name in self.lists}

    def fields(self, names: Names) -> dict[str, FieldInfo]:
        """Return every parameter by its flat name, such as 'cameras.front.topic', in order."""
        parts = dict(self._parts)
        for parameter, section in self.sections.items():
            its_class = self._classes[section]
            parts |= {f'{section}.{name}': its_class for name in names.get(parameter, ())}
        fields = dict(self._plain)
        for part, its_class in parts.items():
            fields |= {f'{part}.{name}': field for name, field in its_class.model_fields.items()}
        return fields

    def fields_of(self, item: str) -> dict[str, FieldInfo]:
        """Return every parameter if each list had this one name."""
        return self.fields({parameter: [item] for parameter in self.lists})

    def build(self, values: Mapping[str, Any], names: Names) -> ConfigT:
        """Validate flat values by the names of `fields`.

        :raises ConfigError: naming each wrong key, what was expected and what came.
        """
        check_once(names)
        nested: dict[str, Any] = {
            section: {name: {} for name in names.get(parameter, ())}
            for parameter, section in self.sections.items()
        }
        for name, value in values.items():
            *path, last = name.split('.')
            place = nested
            for part in path:
                place = place.setdefault(part, {})
            place[last] = value
        try:
            return self.config.model_validate(nested)
        except ValidationError as error:
            raise ConfigError(describe(error)) from error


PERCEPTION = Layout(PerceptionConfig, 'perception_node', {
    'camera_names': 'Names of the cameras, in the order in which they are batched. Each brings '
    'its own parameters cameras.<name>.*',
    'model_names': 'Names of the models. Each brings its own parameters models.<name>.*',
})


def check_once(names: Names) -> None:
    """Look whether a list of names has one twice, whose parameters could not be told apart.

    :param names: by the parameter that lists them.
    :raises ConfigError: it has.
    """
    for parameter, listed in names.items():
        twice = [name for name, count in Counter(list(listed)).items() if count > 1]
        if twice:
            raise ConfigError(
                f'{parameter}: expected each name once, got {twice[0]!r} twice or more'
            )


def is_live(field: FieldInfo) -> bool:
    """Say whether a parameter may change while the node runs."""
    extra = field.json_schema_extra
    return isinstance(extra, dict) and bool(extra.get('live'))


def unit_of(field: FieldInfo) -> str:
    """Return the unit of a parameter, '' for none."""
    extra = field.json_schema_extra
    return str(extra.get('unit') or '') if isinstance(extra, dict) else ''
