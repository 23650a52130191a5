"""
Convolutions that round as an int8 engine does, so that training makes up for it.

The scheme is that of the runtime's `bundles.graph.qdq`: symmetric int8, weights per channel,
activations per tensor, biases as they are. Batch normalisation, which an export folds into
weights, multiplies whole channels and so changes none of their steps.
"""

from collections.abc import Iterator, Mapping, Sequence
import copy
import math
from typing import Any

import torch
from torch import nn, Tensor
import torch.nn.functional as F

from perception_ros.bundles.graph.qdq import LEVELS
from perception_training.errors import CheckpointError, TrainingError


class Int8Conv2d(nn.Conv2d):
    """A convolution of a rounded input with rounded weights."""

    log_limit: nn.Parameter
    """Logarithm of the greatest magnitude of the input that is kept; shared by all layers that
    take the same tensor."""

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(
            rounded(x, self.log_limit), rounded_weights(self.weight, 0), self.bias)


class Int8ConvTranspose2d(nn.ConvTranspose2d):
    """A transposed convolution of a rounded input with rounded weights."""

    log_limit: nn.Parameter

    def forward(self, x: Tensor, output_size: Any = None) -> Tensor:
        if output_size is not None:
            raise TrainingError('int8: expected transposed convolutions without output_size')
        return F.conv_transpose2d(
            rounded(x, self.log_limit), rounded_weights(self.weight, 1), self.bias, self.stride,
            self.padding, self.output_padding, self.groups, self.dilation)  # type: ignore[arg-type]


INT8: Mapping[type[nn.Module], type[nn.Module]] = {
    nn.Conv2d: Int8Conv2d, nn.ConvTranspose2d: Int8ConvTranspose2d}
PLAIN = {rounding: plain for plain, rounding in INT8.items()}


def rounded(x: Tensor, log_limit: Tensor) -> Tensor:
    """
    Give what int8 keeps of an activation.

    Gradients pass as if nothing was rounded, where nothing was cut; the limit learns from what
    is lost by cutting and by rounding (LSQ, Esser et al. 2020).
    """
    if not torch.is_grad_enabled():
        return _to_steps(x, log_limit).to(x.dtype)
    kept: Tensor = _Rounded.apply(x, log_limit)
    return kept


class _Rounded(torch.autograd.Function):
    """One pass over the activation where operators one by one would take six, and keep each."""

    @staticmethod
    def forward(context: Any, x: Tensor, log_limit: Tensor) -> Tensor:
        kept = _to_steps(x, log_limit).to(x.dtype)
        context.save_for_backward(x, log_limit, kept)
        return kept

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        x, log_limit, kept = context.saved_tensors
        step = log_limit.exp() / LEVELS
        inside = (x >= -(LEVELS + 1) * step) & (x <= LEVELS * step)
        passed = gradients[0] * inside
        # Cut values follow the limit; others move by what rounding took or gave.
        moved = (gradients[0] * kept - passed * x).sum(dtype=torch.float32)
        # Every value pulls at the one limit: unweighed it would outweigh all other gradients.
        return passed, moved / math.sqrt(x.numel() * LEVELS)


def _to_steps(x: Tensor, log_limit: Tensor) -> Tensor:
    step = log_limit.exp() / LEVELS
    return (x.float() / step).round_().clamp_(-LEVELS - 1, LEVELS).mul_(step)


def rounded_weights(weight: Tensor, axis: int) -> Tensor:
    """Give what int8 keeps of weights, a step for each channel along `axis`."""
    with torch.no_grad():
        others = [i for i in range(weight.ndim) if i != axis]
        greatest = weight.abs().amax(others, keepdim=True)
        step = torch.where(greatest > 0, greatest / LEVELS, 1)
        lost = (weight / step).round() * step - weight
    return weight + lost


def round_to_int8(network: nn.Module, inputs: Sequence[Sequence[str]],
                  limits: Sequence[float] | None = None) -> None:
    """
    Let convolutions round; they keep their tensors.

    :param inputs: for each tensor that is rounded, the names of the convolutions that take it.
    :param limits: the greatest magnitude that is kept of each; None: they are loaded afterwards.
    :raises CheckpointError: one is no convolution of this network.
    """
    for place, names in enumerate(inputs):
        # Where all is zero any step will do: the runtime takes 1.
        limit = (limits[place] if limits else 0.0) or LEVELS
        shared = nn.Parameter(torch.tensor(math.log(limit)))
        for name in names:
            layer = _layer(network, name)
            layer.__class__ = INT8[type(layer)]
            layer.log_limit = shared


def int8_layers(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the convolutions that round, by name."""
    return ((name, m) for name, m in network.named_modules() if type(m) in PLAIN)


def without_rounding(network: nn.Module) -> Any:
    """Give a copy that does not round, with the same weights."""
    plain = copy.deepcopy(network)
    for _, layer in list(int8_layers(plain)):
        layer.__class__ = PLAIN[type(layer)]
        del layer.log_limit
    return plain


def _layer(network: nn.Module, name: str) -> nn.Module:
    try:
        layer = network.get_submodule(name)
    except AttributeError:
        layer = None
    if type(layer) not in INT8:
        came = f'a {type(layer).__name__}' if layer is not None else 'nothing'
        raise CheckpointError(f'{name}: expected a convolution that can round to int8, got '
                              f'{came}: the checkpoint is of another network')
    return layer  # type: ignore[return-value]
