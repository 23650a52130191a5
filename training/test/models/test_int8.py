"""Rounding in training is the rounding of the graph that ships."""

import math

import numpy as np
from onnx import helper, TensorProto
import onnxruntime
import pytest
import torch
from torch import nn

from perception_ros.bundles.graph.qdq import channel_scales, LEVELS
from perception_training.models.int8 import (
    int8_layers,
    round_to_int8,
    rounded,
    rounded_weights,
    without_rounding,
)


def by_onnxruntime(values: np.ndarray, limit: float) -> np.ndarray:
    """Quantise and dequantise as an engine does."""
    scale = helper.make_tensor('scale', TensorProto.FLOAT, [], [np.float32(limit / LEVELS)])
    zero = helper.make_tensor('zero', TensorProto.INT8, [], [0])
    nodes = [helper.make_node('QuantizeLinear', ['x', 'scale', 'zero'], ['q']),
             helper.make_node('DequantizeLinear', ['q', 'scale', 'zero'], ['y'])]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [None]) for n in 'xy']
    graph = helper.make_graph(nodes, 'pair', ends[:1], ends[1:], [scale, zero])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 20)], ir_version=10)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=['CPUExecutionProvider'])
    return session.run(None, {'x': values})[0]


@pytest.mark.parametrize('limit', [0.03, 1.0, 57.0])
def test_activations_are_rounded_as_an_engine_rounds_them(limit: float) -> None:
    """Below -limit there is one step more than above: int8 has it."""
    values = np.random.default_rng(0).normal(0, limit / 2, 20_000).astype(np.float32)
    got = rounded(torch.from_numpy(values), torch.tensor(math.log(limit))).numpy()
    wanted = by_onnxruntime(values, limit)
    # Ties may fall to either side, as the step is a logarithm's exponential here.
    assert (np.abs(got - wanted) > 1e-3 * limit / LEVELS).mean() < 1e-3
    assert wanted.min() < -limit and got.min() == pytest.approx(wanted.min())


@pytest.mark.parametrize(('layer', 'axis'), [
    (nn.Conv2d(4, 6, 3), 0), (nn.ConvTranspose2d(4, 6, 2), 1)], ids=['conv', 'transposed'])
def test_weights_are_rounded_as_the_graph_stores_them(layer: nn.Module, axis: int) -> None:
    weight = layer.weight.detach()
    weight.select(axis, 2).zero_()
    steps = torch.from_numpy(channel_scales(weight.numpy(), axis))
    shape = [1] * 4
    shape[axis] = -1
    wanted = (weight / steps.reshape(shape)).round() * steps.reshape(shape)
    torch.testing.assert_close(rounded_weights(weight, axis), wanted)


def test_gradients_pass_where_nothing_was_cut() -> None:
    x = torch.tensor([-3.0, -0.4, 0.2, 0.9, 5.0], requires_grad=True)
    log_limit = torch.tensor(0.0, requires_grad=True)
    rounded(x, log_limit).sum().backward()
    assert x.grad.tolist() == [0, 1, 1, 1, 0]
    # More is cut above than below: a greater limit would raise the sum, and the one step more
    # that int8 has below zero lowers it again.
    assert float(log_limit.grad) != 0


def test_a_limit_that_cuts_too_much_grows() -> None:
    """What is lost by cutting must be able to teach the range."""
    x, log_limit = torch.linspace(-4, 4, 101), torch.tensor(0.0, requires_grad=True)
    (rounded(x, log_limit) - x).square().sum().backward()
    assert float(log_limit.grad) < 0


def test_layers_that_take_one_tensor_share_its_limit_and_all_go_back() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.ConvTranspose2d(4, 2, 2))
    image = torch.rand(1, 3, 8, 8)
    exact = network(image)
    round_to_int8(network, [('0', '1'), ('2',)], [1.0, 2.0])
    assert network[0].log_limit is network[1].log_limit
    assert [name for name, _ in int8_layers(network)] == ['0', '1', '2']
    assert not torch.equal(network(image), exact)
    torch.testing.assert_close(network(image), exact, atol=0.05, rtol=0.1)
    assert torch.equal(without_rounding(network)(image), exact)
