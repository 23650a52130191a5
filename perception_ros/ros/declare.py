"""Declare the fields of a configuration class as node parameters: no second list."""

from __future__ import annotations

from typing import Any, get_args, get_origin, Literal, TypeVar

import annotated_types
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter

from perception_ros.core.config import describe
from perception_ros.core.errors import ConfigError

_ConfigT = TypeVar('_ConfigT', bound=BaseModel)

_ARRAYS = {
    str: Parameter.Type.STRING_ARRAY,
    float: Parameter.Type.DOUBLE_ARRAY,
    int: Parameter.Type.INTEGER_ARRAY,
}
_TINY = 1e-9
"""ROS ranges include their bounds: an excluded bound moves by this much."""


def declare_flat(node: Node, model: type[_ConfigT]) -> _ConfigT:
    """Declare each field of a flat pydantic model as a parameter and return the values as one.

    Fields are str, int, float, bool, Literal or tuples of one of them. They become read-only
    parameters with description, unit and range.

    :raises ConfigError: naming each parameter that was set wrongly, what was expected, what came.
    """
    values: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        try:
            value = _declare(node, name, field)
        except (InvalidParameterTypeException, InvalidParameterValueException) as error:
            hint = '. Write 10.0, not 10' if field.annotation is float else ''
            raise ConfigError(f'parameter {name} of {node.get_name()}: {error}{hint}') from error
        if value is not None:
            values[name] = value
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f'parameters of {node.get_name()}: {describe(error)}') from error


def describe_field(field: FieldInfo, *, read_only: bool = True) -> ParameterDescriptor:
    """Return the descriptor of one field: description, unit, range, choices."""
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    unit = extra.get('unit')
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


def _declare(node: Node, name: str, field: FieldInfo) -> Any:
    descriptor = describe_field(field)
    default = field.get_default()
    if get_origin(field.annotation) is tuple and not default:
        # An empty list has no type that ROS can infer. Declared without a value, such a parameter
        # may stay unset.
        element = get_args(field.annotation)[0]
        return node.declare_parameter(name, _ARRAYS[element], descriptor).value
    value = list(default) if isinstance(default, tuple) else default
    return node.declare_parameter(name, value, descriptor).value


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
