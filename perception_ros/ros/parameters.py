"""The configuration as parameters of the perception node, and changes of them while it runs.

Nothing here names a parameter: names, types, ranges and descriptions come from `core.config`. Two
lists say which cameras and models there are, `camera_names` and `model_names`; each name in them
brings the parameters of one camera or model, such as `cameras.front.topic`.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, get_args, get_origin

from pydantic.fields import FieldInfo
from rcl_interfaces.msg import ParameterDescriptor, SetParametersResult
from rclpy.exceptions import InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter

from perception_ros.core.config import (
    flat_fields,
    from_flat,
    is_live,
    NAME_LISTS,
    PerceptionConfig,
)
from perception_ros.core.errors import ConfigError
from perception_ros.ros.declare import BUILT_IN, describe_field


class NodeParameters:
    """Declares all parameters of a node and turns their values into a `PerceptionConfig`.

    The node must have been made with `automatically_declare_parameters_from_overrides=True`, which
    is the public way to see what the user has set, and so to find what is misspelt. A value
    that cannot be used does not stop the node: it is told by `load`, until it is set right.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._given = {
            name: parameter.value for name, parameter in node.get_parameters_by_prefix('').items()
        }
        self._problems: dict[str, str] = {}
        self._declared: dict[str, FieldInfo] = {}
        for name, description in NAME_LISTS.items():
            value = self._take(name)
            items = value if isinstance(value, (list, tuple)) else []
            names = [str(item) for item in items] or ['']
            descriptor = ParameterDescriptor(description=description)
            node.declare_parameter(name, names, descriptor, ignore_override=True)
        self._declare_missing()

    def load(self) -> PerceptionConfig:
        """Return the configuration that the parameters describe now.

        :raises ConfigError: naming every parameter that is unknown or cannot be used.
        """
        self._declare_missing()
        problems = dict(self._problems)
        for name in self._given:
            if name.startswith(BUILT_IN) or not self._node.has_parameter(name):
                continue
            if _is_of_another(name):
                self._node.get_logger().info(f'{name} is of a camera or model that is not in use')
            else:
                close = get_close_matches(name, [*self._declared, *NAME_LISTS], n=1)
                hint = f'did you mean {close[0]!r}?' if close else 'see docs/parameters.md'
                problems[name] = f'unknown parameter; {hint}'
        if problems:
            lines = (f'{name}: {problem}' for name, problem in problems.items())
            raise ConfigError('; '.join(lines))
        return self._config({})

    def change(self, parameters: Iterable[Parameter[Any]], running: bool) -> SetParametersResult:
        """Judge a change that is about to be made: the node's on-set callback calls this.

        :param running: whether the node is configured, so that only live parameters may change.
        """
        changes = {}
        for parameter in parameters:
            field = self._declared.get(parameter.name)
            if field is None and parameter.name not in NAME_LISTS:
                continue
            if running and (field is None or not is_live(field)):
                return _refusal(
                    f'{parameter.name} cannot change while the node is configured: deactivate it '
                    'and clean it up, set the parameter, then configure and activate it again'
                )
            changes[parameter.name] = parameter.value
        if running:
            try:
                self._config(changes)
            except ConfigError as error:
                return _refusal(str(error))
        for name in changes:
            self._problems.pop(name, None)
        return SetParametersResult(successful=True)

    def changed(self, parameters: Iterable[Parameter[Any]]) -> PerceptionConfig:
        """Return the configuration with some parameters changed, before the node stores them."""
        return self._config({p.name: p.value for p in parameters if p.name in self._declared})

    def _config(self, changes: dict[str, Any]) -> PerceptionConfig:
        cameras, models = self._names('camera_names'), self._names('model_names')
        values = {}
        for name, field in flat_fields(cameras, models).items():
            value = changes.get(name, self._node.get_parameter(name).value)
            values[name] = tuple(v for v in value if v) if _is_tuple(field) else value
        return from_flat(values, cameras, models)

    def _names(self, parameter: str) -> tuple[str, ...]:
        return tuple(name for name in self._node.get_parameter(parameter).value if name)

    def _declare_missing(self) -> None:
        fields = flat_fields(self._names('camera_names'), self._names('model_names'))
        for name, field in fields.items():
            if name not in self._declared:
                self._declare(name, field)
                self._declared[name] = field

    def _declare(self, name: str, field: FieldInfo) -> None:
        default = field.get_default()
        if _is_tuple(field):
            default = list(default) or ['']  # an empty list has no type in ROS
        descriptor = describe_field(field, read_only=False)
        given = self._take(name)
        if type(given) is int and isinstance(default, float):
            given = float(given)  # 10 is as good as 10.0
        if given is not None and not _same_type(given, default):
            self._problems[name] = (
                f'expected {_type_name(default)}, got {given!r} of type {type(given).__name__}'
            )
            given = None
        # What the user has set is in `given`: rclpy would take it as it is, wrong type and all.
        value = default if given is None else given
        try:
            self._node.declare_parameter(name, value, descriptor, ignore_override=True)
        except InvalidParameterValueException:
            self._problems[name] = f'{given!r} is out of range: {_range_of(descriptor)}'
            self._node.declare_parameter(name, default, descriptor, ignore_override=True)

    def _take(self, name: str) -> Any:
        """Return what the user has set, and make room for our own declaration."""
        if name not in self._given:
            return None
        self._node.undeclare_parameter(name)
        value = self._given.pop(name)
        return list(value) if hasattr(value, 'tolist') else value


def _is_of_another(name: str) -> bool:
    """Say whether a parameter would be known if its camera or model were in the list of names."""
    section, _, rest = name.partition('.')
    other, _, _ = rest.partition('.')
    cameras, models = ([other], []) if section == 'cameras' else ([], [other])
    return section in ('cameras', 'models') and name in flat_fields(cameras, models)


def _refusal(reason: str) -> SetParametersResult:
    return SetParametersResult(successful=False, reason=reason)


def _is_tuple(field: FieldInfo) -> bool:
    return get_origin(field.annotation) is tuple and bool(get_args(field.annotation))


def _same_type(given: Any, default: Any) -> bool:
    if isinstance(default, list):
        return isinstance(given, (list, tuple)) and all(isinstance(v, str) for v in given)
    return type(given) is type(default)


def _type_name(default: Any) -> str:
    return 'a list of strings' if isinstance(default, list) else type(default).__name__


def _range_of(descriptor: ParameterDescriptor) -> str:
    ranges = [*descriptor.floating_point_range, *descriptor.integer_range]
    return ', '.join(f'expected {r.from_value} to {r.to_value}' for r in ranges)
