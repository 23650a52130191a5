"""Declare the fields of a configuration class as node parameters: no second list."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, get_args, get_origin, Literal, TypeVar

import annotated_types
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node
from rclpy.parameter import Parameter

from perception_ros.core.config import describe, unit_of
from perception_ros.core.errors import ConfigError

_ConfigT = TypeVar('_ConfigT', bound=BaseModel)

_ARRAYS = {
    str: Parameter.Type.STRING_ARRAY,
    float: Parameter.Type.DOUBLE_ARRAY,
    int: Parameter.Type.INTEGER_ARRAY,
}
BUILT_IN = ('use_sim_time', 'qos_overrides.', 'start_type_description_service')
"""Parameters that rclpy declares itself, or the beginnings of their names."""
_TINY = 1e-9
"""ROS ranges include their bounds: an excluded bound moves by this much."""


def declare_flat(node: Node, model: type[_ConfigT]) -> _ConfigT:
    """Declare each field of a flat pydantic model as a parameter and return the values as one.

    Fields are str, int, float, bool, Literal or tuples of one of them. They become read-only
    parameters with description, unit and range.

    :param node: made with `automatically_declare_parameters_from_overrides=True`, which is the
        public way to see what the user has set, and so to find what is misspelt.
    :raises ConfigError: naming each parameter that was set wrongly, what was expected, what came.
    """
    given = {name: p.value for name, p in node.get_parameters_by_prefix('').items()}
    known = model.model_fields
    unknown = [name for name in given if name not in known and not name.startswith(BUILT_IN)]
    problems = [_unknown(name, known) for name in unknown]
    # defaults are named, too, for pydantic checks only what it is given
    values = {name: field.get_default() for name, field in known.items()}
    values |= {name: _plain(value) for name, value in given.items() if name in known}
    try:
        config = model.model_validate(values)
    except ValidationError as error:
        problems.append(describe(error))
    if problems:
        raise ConfigError(f'parameters of {node.get_name()}: {"; ".join(problems)}')
    for name, field in known.items():
        if name in given:
            node.undeclare_parameter(name)
        _declare(node, name, field, getattr(config, name))
    return config


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


def _declare(node: Node, name: str, field: FieldInfo, value: Any) -> None:
    descriptor = describe_field(field)
    if isinstance(value, tuple):
        # An empty list has no type that ROS can infer: declared without a value, it stays unset.
        value = list(value) or _ARRAYS[get_args(field.annotation)[0]]
    node.declare_parameter(name, value, descriptor, ignore_override=True)


def _plain(value: Any) -> Any:
    """Return arrays as the tuples that our declarations know."""
    return value if isinstance(value, (str, bool, int, float)) else tuple(value)


def _unknown(name: str, known: Iterable[str]) -> str:
    close = get_close_matches(name, known, n=1)
    return f'{name}: unknown parameter' + (f'; did you mean {close[0]!r}?' if close else '')


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
