"""One trunk, any set of heads: hard parameter sharing."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import nn, Tensor

from perception_training.config.loss import LossConfig
from perception_training.data.sample import Batch
from perception_training.models.base import BoxTask, Network, Raw, SemanticTask, Terms

Features = dict[int, Tensor]
"""Stride -> `[B, C, H / stride, W / stride]`."""


class Trunk(nn.Module, ABC):
    """Backbone and neck: what all heads share."""

    channels: Mapping[int, int]
    """Stride -> channels of its features."""

    @abstractmethod
    def forward(self, images: Tensor) -> Features:
        """See `[B, 3, H, W]` RGB in 0..1."""


class Head(nn.Module, ABC):
    """One task's layers on a trunk's features."""

    task: BoxTask | SemanticTask

    @abstractmethod
    def forward(self, features: Features) -> Raw | Tensor:
        """Give what its loss and its answers are made of."""

    @abstractmethod
    def losses(self, raw: Raw | Tensor, batch: Batch, config: LossConfig) -> dict[str, Tensor]:
        """Give each term of its loss, not weighted."""

    @abstractmethod
    def answers(self, raw: Raw | Tensor) -> dict[str, Tensor]:
        """Give its answers by the names that they are exported under."""


class Composed(Network):
    """A trunk with heads by name: `boxes`, or that of a semantic head."""

    def __init__(self, trunk: Trunk, heads: Mapping[str, Head], dropout: float = 0.0) -> None:
        """
        Put them together.

        :param dropout: share of the channels of each level that a training step blanks.
        """
        super().__init__()
        self.trunk = trunk
        self.dropout = nn.Dropout2d(dropout)
        self.heads = nn.ModuleDict(heads)
        self.tasks = {name: head.task for name, head in heads.items()}

    def forward(self, images: Tensor) -> Raw:
        features = {stride: self.dropout(x) for stride, x in self.trunk(images).items()}
        return {name: head(features) for name, head in self.heads.items()}

    def losses(self, raw: Raw, batch: Batch, config: LossConfig) -> Terms:
        return {name: head.losses(raw[name], batch, config) for name, head in self.heads.items()}

    def answers(self, raw: Raw) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        for name, head in self.heads.items():
            found |= head.answers(raw[name])
        return found


class Normalised(nn.Module):
    """RGB in 0..1 to what encoders trained on ImageNet want to see."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer('mean', torch.tensor([0.485, 0.456, 0.406]).reshape(1, 3, 1, 1))
        self.register_buffer('std', torch.tensor([0.229, 0.224, 0.225]).reshape(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        return (images - self.mean) / self.std
