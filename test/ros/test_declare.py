"""Configuration classes as node parameters."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel
import pytest

pytest.importorskip('rclpy', reason='needs rclpy')

import rclpy
from rclpy.node import Node
from rclpy.parameter import Parameter

from perception_ros.core.config import parameter
from perception_ros.core.errors import ConfigError
from perception_ros.ros.declare import declare_flat, EmptyListsNode


class Config(BaseModel):
    """One field of each kind."""

    name: str = parameter('front', 'A name')
    rate_hz: float = parameter(10.0, 'A rate', unit='Hz', gt=0.0, le=100.0)
    depth: int = parameter(5, 'A depth', ge=1, le=10)
    loop: bool = parameter(True, 'A switch')
    mode: Literal['raw', 'compressed'] = parameter('raw', 'A choice')
    names: tuple[str, ...] = parameter(('a', 'b'), 'Some names')
    matrix: tuple[float, ...] = parameter((), 'Some numbers')


@pytest.fixture
def context() -> Iterator[rclpy.Context]:
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=101)
    yield context
    rclpy.shutdown(context=context)


def _node(context: rclpy.Context, **given: Any) -> Node:
    return Node(
        'node',
        context=context,
        parameter_overrides=[Parameter(name, value=value) for name, value in given.items()],
        automatically_declare_parameters_from_overrides=True,
    )


def test_defaults(context: rclpy.Context) -> None:
    node = _node(context)
    assert declare_flat(node, Config) == Config()
    assert node.get_parameter('rate_hz').value == 10.0
    assert node.get_parameter('names').value == ['a', 'b']
    node.destroy_node()


def test_given_values(context: rclpy.Context) -> None:
    given = {
        'name': 'rear',
        'rate_hz': 20,
        'depth': 2,
        'loop': False,
        'mode': 'compressed',
        'names': ['c'],
        'matrix': [1.0, 2.0],
    }
    node = _node(context, **given)
    config = declare_flat(node, Config)
    assert config == Config.model_validate(given)
    assert node.get_parameter('rate_hz').value == 20.0
    assert list(node.get_parameter('matrix').value) == [1.0, 2.0]
    node.destroy_node()


def test_descriptors_say_what_people_need(context: rclpy.Context) -> None:
    node = _node(context)
    declare_flat(node, Config)
    rate = node.describe_parameter('rate_hz')
    assert (rate.description, rate.read_only) == ('A rate [Hz]', True)
    assert rate.floating_point_range[0].from_value == pytest.approx(0, abs=1e-6)
    assert rate.floating_point_range[0].to_value == 100.0
    depth = node.describe_parameter('depth').integer_range[0]
    assert (depth.from_value, depth.to_value) == (1, 10)
    assert node.describe_parameter('mode').additional_constraints == 'one of raw, compressed'
    node.destroy_node()


def test_all_problems_are_told_at_once(context: rclpy.Context) -> None:
    given = {'rate_hz': 500.0, 'mode': 'zip', 'depth': 'deep', 'names': 7, 'nams': ['x']}
    node = _node(context, **given, use_sim_time=False)
    with pytest.raises(ConfigError) as caught:
        declare_flat(node, Config)
    message = str(caught.value)
    assert "nams: unknown parameter; did you mean 'names'?" in message
    assert 'rate_hz: 500.0 is out of range: expected' in message
    assert "depth: expected int, got 'deep' of type str" in message
    assert 'names: expected a list of strings, got 7 of type int' in message
    assert "mode: Input should be 'raw' or 'compressed' (got 'zip')" in message
    assert 'use_sim_time' not in message
    node.destroy_node()


def test_an_empty_list_in_a_file_means_not_set(tmp_path: Path) -> None:
    """ROS gives it no type; rclpy alone would end the node before it could say a word."""
    file = tmp_path / 'parameters.yaml'
    file.write_text('/**: {ros__parameters: {names: [], matrix: [], depth: 3}}')
    context = rclpy.Context()
    arguments = ['--ros-args', '--params-file', str(file)]
    rclpy.init(args=arguments, context=context, domain_id=101)
    node = EmptyListsNode(
        'node', context=context, automatically_declare_parameters_from_overrides=True
    )
    assert declare_flat(node, Config) == Config(depth=3)
    node.destroy_node()
    rclpy.shutdown(context=context)
