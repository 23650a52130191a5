"""Draw the weights of what does not start from other weights by one rule."""

from typing import Literal

import torch
from torch import nn

from perception_training.models.base import Network


@torch.no_grad()
def initialise(network: Network, rule: Literal['own', 'kaiming', 'xavier']) -> None:
    """
    Draw the weights of convolutions and linear layers anew.

    `kaiming` (He et al. 2015): normal, for rectifiers, by the number of inputs; `xavier` (Glorot
    and Bengio 2010): uniform, by inputs and outputs; `own` leaves everything as it was built.
    Biases and normalisation keep their values, for some say how rare objects are. So do layers
    that begin at zero: they are there to say nothing at first.
    """
    if rule == 'own':
        return
    for name, layer in network.named_modules():
        old = network.pretrained and f'{name}.weight'.startswith(network.pretrained)
        if old or not isinstance(layer, nn.Linear | nn.modules.conv._ConvNd):
            continue
        if not layer.weight.any():
            continue
        if rule == 'kaiming':
            nn.init.kaiming_normal_(layer.weight, nonlinearity='relu')
        else:
            nn.init.xavier_uniform_(layer.weight)
