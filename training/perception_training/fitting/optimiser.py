"""The optimiser, and its learning rate over time."""

import math
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW, Optimizer, RMSprop, SGD

from perception_training.config.fit import OptimiserConfig, ScheduleConfig
from perception_training.models.base import Network


def make_optimiser(network: Network, extra: list[nn.Parameter],
                   config: OptimiserConfig) -> Optimizer:
    """
    Give the optimiser; each group knows its `peak` learning rate.

    Biases and normalisation are not decayed.

    :param extra: parameters beside the network's, learnt without decay.
    """
    groups = _groups(network, config)
    if extra:
        groups.append({'params': extra, 'peak': config.lr, 'weight_decay': 0.0})
    if config.name == 'sgd':
        return SGD(groups, lr=0.0, momentum=config.momentum,
                   nesterov=config.nesterov and config.momentum > 0)
    if config.name == 'rmsprop':
        return RMSprop(groups, lr=0.0, alpha=config.beta2, momentum=config.momentum)
    return AdamW(groups, lr=0.0, betas=(config.momentum, config.beta2))


def _groups(network: Network, config: OptimiserConfig) -> list[dict[str, Any]]:
    lower = config.lr_pretrained or config.lr
    groups: dict[tuple[bool, bool], list[torch.Tensor]] = {}
    for name, parameter in network.named_parameters():
        old = name.startswith(network.pretrained) if network.pretrained else False
        groups.setdefault((old, parameter.ndim > 1), []).append(parameter)
    return [{'params': parameters, 'peak': lower if old else config.lr,
             'weight_decay': config.weight_decay if decayed else 0.0}
            for (old, decayed), parameters in groups.items()]


def factor(config: ScheduleConfig, step: int, progress: float) -> float:
    """
    Give the learning rate relative to its peak.

    :param step: optimiser steps that are done.
    :param progress: share of the schedule that is over, 0..1.
    """
    warm = min(1.0, (step + 1) / config.warmup) if config.warmup else 1.0
    if config.name == 'constant':
        return warm
    rest = (0.5 * (1 + math.cos(math.pi * progress)) if config.name == 'cosine'
            else (1 - progress) ** config.power)
    return warm * (config.final + (1 - config.final) * rest)


def set_rates(optimiser: Optimizer, relative: float) -> None:
    """Give each group its peak times a factor."""
    for group in optimiser.param_groups:
        group['lr'] = group['peak'] * relative
