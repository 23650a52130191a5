"""Layers with fewer channels than a network's settings say."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import nn, Tensor

from perception_training.errors import CheckpointError

CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)
LAYERS = (*CONVOLUTIONS, nn.Linear, nn.BatchNorm2d)


class Width(NamedTuple):
    """Channels of a layer; None: as many as the settings say."""

    inputs: int | None
    outputs: int | None


def widths(network: nn.Module) -> dict[str, Width]:
    """Give the channels of each layer that can be made narrower."""
    return {name: _width(layer) for name, layer in network.named_modules()
            if isinstance(layer, LAYERS)}


def narrowed(before: Mapping[str, Width], after: Mapping[str, Width]) -> dict[str, Width]:
    """Give what changed between two looks at one network."""
    return {name: Width(*(new if new != old else None
                          for old, new in zip(before[name], width, strict=True)))
            for name, width in after.items() if width != before[name]}


def narrow(network: nn.Module, changes: Mapping[str, Width]) -> None:
    """
    Leave layers only their first channels, as room for weights that are loaded afterwards.

    :raises CheckpointError: a layer is not in this network, or cannot have that many channels.
    """
    for name, change in changes.items():
        try:
            layer = network.get_submodule(name)
        except AttributeError as error:
            raise CheckpointError(
                f'expected a network with the narrowed layer {name!r}, got one without it: the '
                'checkpoint is of another network') from error
        there = _width(layer)
        inputs, outputs = change.inputs or there.inputs, change.outputs or there.outputs
        assert inputs is not None and outputs is not None
        if not 0 < inputs <= (there.inputs or 0) or not 0 < outputs <= (there.outputs or 0):
            raise CheckpointError(
                f'{name}: expected at most {there.inputs} channels in and {there.outputs} out, '
                f'got {inputs} and {outputs}: the checkpoint is of another network')
        _cut(layer, inputs, outputs)


def _width(layer: nn.Module) -> Width:
    if isinstance(layer, CONVOLUTIONS):
        return Width(layer.in_channels, layer.out_channels)
    if isinstance(layer, nn.Linear):
        return Width(layer.in_features, layer.out_features)
    if isinstance(layer, nn.BatchNorm2d):
        return Width(layer.num_features, layer.num_features)
    raise CheckpointError(
        f'expected a layer with channels to narrow, got {type(layer).__name__}: the checkpoint is '
        'of another network')


def _cut(layer: nn.Module, inputs: int, outputs: int) -> None:
    if isinstance(layer, CONVOLUTIONS):
        if layer.groups == layer.in_channels:  # depthwise: as many groups as channels
            layer.groups = inputs
        layer.in_channels, layer.out_channels = inputs, outputs
        rows = (outputs, inputs // layer.groups) if isinstance(layer, nn.Conv2d) else (
            inputs, outputs // layer.groups)
    elif isinstance(layer, nn.Linear):
        layer.in_features, layer.out_features = inputs, outputs
        rows = (outputs, inputs)
    else:
        assert isinstance(layer, nn.BatchNorm2d)
        layer.num_features = outputs
        rows = (outputs, 0)
    for name, parameter in list(layer.named_parameters(recurse=False)):
        setattr(layer, name, nn.Parameter(_first(parameter.detach(), rows, outputs),
                                          parameter.requires_grad))
    for name, buffer in list(layer.named_buffers(recurse=False)):
        if buffer.ndim:
            setattr(layer, name, _first(buffer, rows, outputs))


def _first(tensor: Tensor, rows: tuple[int, int], outputs: int) -> Tensor:
    """Give weights `[rows...]`, or one number for each channel, of the first channels."""
    kept = tensor[:outputs] if tensor.ndim == 1 else tensor[:rows[0], :rows[1]]
    return kept.clone(memory_format=torch.contiguous_format)
