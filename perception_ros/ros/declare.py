"""Fields of configuration classes as node parameters: no second list.

`Declarations` is the mechanism. What is wrong with the values that a user gave is collected, so
that all of it can be told at once. `declare_flat` is for a node whose parameters never change.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, cast, get_args, get_origin, Literal, TypeVar

import annotated_types
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter

from perception_ros.core.config import describe
from perception_ros.core.errors import ConfigError
from perception_ros.core.parameters import unit_of

_ConfigT = TypeVar('_ConfigT', bound=BaseModel)

_ARRAYS = {
    float: Parameter.Type.DOUBLE_ARRAY,
    int: Parameter.Type.INTEGER_ARRAY,
}
_TYPE_NAMES = {str: 'strings', float: 'numbers', int: 'whole numbers'}
BUILT_IN = ('use_sim_time', 'qos_overrides.', 'start_type_description_service')
"""Parameters that rclpy declares itself, or the beginnings of their names."""
_TINY = 1e-9
"""ROS ranges include their bounds: an excluded bound moves by this much."""


class EmptyListsNode(Node):
    """A node whose parameter files may have empty lists, which mean: not set.

    ROS gives an empty list no type, and rclpy ends a node that is to declare such a parameter from
    its overrides.
    """

    def declare_parameters(
        self, namespace: str, parameters: Any, ignore_override: bool = False
    ) -> list[Parameter[Any]]:
        """Declare those that have a value or a type."""
        typed = [each for each in parameters if len(each) < 2 or each[1] is not None]
        return super().declare_parameters(namespace, typed, ignore_override)


class Declarations:
    """Declares fields as parameters of a node, and reads them back as plain values.

    Fields are str, int, float, bool, Literal or tuples of one of them. A value that cannot be used
    is named in `problems`, and the default stands in for it until it is set right.

    :param node: made with `automatically_declare_parameters_from_overrides=True`, which is the
        public way to see what the user has set, and so to find what is misspelt.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._given = {name: p.value for name, p in node.get_parameters_by_prefix('').items()}
        self.fields: dict[str, FieldInfo] = {}
        """All that is declared."""
        self.problems: dict[str, str] = {}
        """Parameter -> what was expected and what came."""

    def declare(self, name: str, field: FieldInfo, *, read_only: bool) -> None:
        """Declare a field with what the user has set, else its default."""
        descriptor = describe_field(field, read_only=read_only)
        self.fields[name] = field
        given = self._take(name)
        try:
            value = _to_ros(field.get_default() if given is None else given, field)
            self._node.declare_parameter(name, value, descriptor, ignore_override=True)
            return
        except TypeError:
            came = f'{given!r} of type {type(given).__name__}'
            self.problems[name] = f'expected {_type_name(field)}, got {came}'
        except InvalidParameterValueException:
            self.problems[name] = f'{given!r} is out of range: {_range_of(descriptor)}'
        default = _to_ros(field.get_default(), field)
        self._node.declare_parameter(name, default, descriptor, ignore_override=True)

    def value(self, name: str) -> Any:
        """Return the value of a declared parameter, lists as tuples."""
        return self.plain(name, self._node.get_parameter_or(name).value)

    def plain(self, name: str, value: Any) -> Any:
        """Return a value as ROS has it for this parameter as the configuration knows it."""
        if not _is_tuple(self.fields[name]):
            return value
        return tuple(item for item in (() if value is None else value) if item != '')

    def undeclared(self) -> list[str]:
        """Return what the user has set and nobody declared."""
        return [
            name
            for name in self._given
            if not name.startswith(BUILT_IN) and self._node.has_parameter(name)
        ]

    def _take(self, name: str) -> Any:
        """Return what the user has set, and make room for our own declaration.

        rclpy would take it as it is, wrong type and all.
        """
        if name not in self._given:
            return None
        self._node.undeclare_parameter(name)
        value = self._given.pop(name)
        return list(value) if hasattr(value, 'tolist') else value


def declare_flat(node: Node, model: type[_ConfigT]) -> _ConfigT:
    """Declare each field of a flat pydantic model as a read-only parameter; return the values.

    :param node: as for `Declarations`.
    :raises ConfigError: naming each parameter that was set wrongly, what was expected, what came.
    """
    declarations = Declarations(node)
    for name, field in model.model_fields.items():
        declarations.declare(name, field, read_only=True)
    known = model.model_fields
    unknown = {name: misspelt(name, known) for name in declarations.undeclared()}
    problems = [f'{name}: {what}' for name, what in (unknown | declarations.problems).items()]
    try:
        config = model.model_validate({name: declarations.value(name) for name in known})
    except ValidationError as error:
        problems.append(describe(error))
    if problems:
        raise ConfigError(f'parameters of {node.get_name()}: {"; ".join(problems)}')
    return config


def misspelt(name: str, known: Iterable[str]) -> str:
    """Return what to say of a parameter that does not exist."""
    close = get_close_matches(name, known, n=1)
    hint = f'did you mean {close[0]!r}?' if close else 'see docs/parameters.md'
    return f'unknown parameter; {hint}'


def describe_field(field: FieldInfo, *, read_only: bool = True) -> ParameterDescriptor:
    """Return the descriptor of one field: description, unit, range, choices."""
    unit = unit_of(field)
    descriptor = ParameterDescriptor(
        description=f'{field.description} [{unit}]' if unit else (field.description or ''),
        read_only=read_only,
    )
    if get_origin(field.annotation) is Literal:
        choices = ', '.join(map(str, get_args(field.annotation)))
        descriptor.additional_constraints = f'one of {choices}'
    low, high = _bounds(field)
    if low is not None and high is not None:
        if field.annotation is int:
            descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high))]
        elif field.annotation is float:
            descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
    return descriptor


def _is_tuple(field: FieldInfo) -> bool:
    return get_origin(field.annotation) is tuple


def _kind(field: FieldInfo) -> type:
    """Return the type of a field's value, or of the items of its list."""
    kind: Any = get_args(field.annotation)[0] if _is_tuple(field) else field.annotation
    return str if get_origin(kind) is Literal else cast(type, kind)


def _to_ros(value: Any, field: FieldInfo) -> Any:
    """Return a value as ROS takes it for this field.

    :raises TypeError: it is of another type.
    """
    kind = _kind(field)
    if not _is_tuple(field):
        return _scalar(value, kind)
    if not isinstance(value, (list, tuple)):
        raise TypeError
    # An empty list has no type that ROS could see.
    return [_scalar(item, kind) for item in value] or _ARRAYS.get(kind, [''])


def _scalar(value: Any, kind: type) -> Any:
    if kind is float and type(value) is int:
        return float(value)  # 10 is as good as 10.0
    if type(value) is not kind:
        raise TypeError
    return value


def _type_name(field: FieldInfo) -> str:
    kind = _kind(field)
    return f'a list of {_TYPE_NAMES[kind]}' if _is_tuple(field) else kind.__name__


def _range_of(descriptor: ParameterDescriptor) -> str:
    ranges = [*descriptor.floating_point_range, *descriptor.integer_range]
    return ', '.join(f'expected {r.from_value} to {r.to_value}' for r in ranges)


def _bounds(field: FieldInfo) -> tuple[float | None, float | None]:
    low: float | None = None
    high: float | None = None
    for constraint in field.metadata:
        match constraint:
            case annotated_types.Ge(ge=bound):
                low = float(bound)  # type: ignore[arg-type]
            case annotated_types.Gt(gt=bound):
                low = float(bound) + _TINY  # type: ignore[arg-type]
            case annotated_types.Le(le=bound):
                high = float(bound)  # type: ignore[arg-type]
            case annotated_types.Lt(lt=bound):
                high = float(bound) - _TINY  # type: ignore[arg-type]
    return low, high
