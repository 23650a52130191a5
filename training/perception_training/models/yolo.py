"""
A one-stage, anchor-free detector of the YOLOv8 kind, written from its published description.

C2f blocks in backbone and neck, a pooling pyramid, a path aggregation neck, a decoupled head with
distributions of distances. Boxes may have masks; semantic heads may stand beside them.
"""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn, Tensor
import torch.nn.functional as F

from perception_training.config.labels import LabelsConfig
from perception_training.config.model import YoloConfig
from perception_training.errors import TrainingError
from perception_training.models.base import BOXES, Network
from perception_training.models.composed import Composed, Features, Head, Trunk
from perception_training.models.heads import DistanceHead, PrototypeHead, SceneHead
from perception_training.models.layers import ConvNorm
from perception_training.models.one_to_one import OneToOneHead


class Size(NamedTuple):
    """How a size differs from the whole family."""

    depth: float
    width: float
    most_channels: int

    def channels(self, count: int) -> int:
        """Channels of a layer, in whole eights."""
        return -(-int(min(count, self.most_channels) * self.width) // 8) * 8

    def repeats(self, count: int) -> int:
        """Bottlenecks of a block."""
        return max(round(count * self.depth), 1)


SIZES = {'n': Size(1 / 3, 0.25, 1024), 's': Size(1 / 3, 0.5, 1024), 'm': Size(2 / 3, 0.75, 768),
         'l': Size(1, 1, 512), 'x': Size(1, 1.25, 512)}


def build(config: YoloConfig, labels: LabelsConfig, root: Path | None) -> Network:
    """
    Give the network with a head for everything that has labels.

    :raises TrainingError: there shall be masks, and no boxes.
    """
    trunk = C2fTrunk(SIZES[config.size])
    heads: dict[str, Head] = {}
    if config.prototypes and not labels.boxes:
        raise TrainingError('model.prototypes: masks are those of boxes; expected labels.boxes, '
                            'got none; or set model.prototypes=0')
    if labels.boxes:
        boxes = _box_head(config, trunk, labels.boxes)
        heads[BOXES] = OneToOneHead(boxes, _box_head(config, trunk, labels.boxes)) \
            if config.nms_free else boxes
    for name, classes in labels.semantic.items():
        heads[name] = SceneHead(name, trunk.channels, classes)
    return Composed(trunk, heads, config.dropout)


def _box_head(config: YoloConfig, trunk: Trunk, classes: tuple[str, ...]) -> DistanceHead:
    if config.prototypes:
        return PrototypeHead(trunk.channels, classes, config.prototypes)
    return DistanceHead(trunk.channels, classes)


class C2f(nn.Module):
    """Half of the channels passes bottlenecks one after the other; every stage is kept."""

    def __init__(self, inputs: int, outputs: int, depth: int, shortcut: bool) -> None:
        super().__init__()
        half = outputs // 2
        # Two layers, not one that is cut in two: each can be pruned by itself.
        self.bypass = ConvNorm(inputs, half)
        self.main = ConvNorm(inputs, half)
        self.blocks = nn.ModuleList(Bottleneck(half, shortcut) for _ in range(depth))
        self.merge = ConvNorm((2 + depth) * half, outputs)

    def forward(self, x: Tensor) -> Tensor:
        kept = [self.bypass(x), self.main(x)]
        for block in self.blocks:
            kept.append(block(kept[-1]))
        merged: Tensor = self.merge(torch.cat(kept, 1))
        return merged


class Bottleneck(nn.Module):
    """Two 3x3 convolutions, with a skip where `shortcut`."""

    def __init__(self, channels: int, shortcut: bool) -> None:
        super().__init__()
        self.first = ConvNorm(channels, channels, 3)
        self.second = ConvNorm(channels, channels, 3)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.second(self.first(x))
        return x + y if self.shortcut else y


class PoolPyramid(nn.Module):
    """Max pools of 5, 9 and 13 cells, made of pools of 5 one after the other."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce = ConvNorm(channels, channels // 2)
        self.merge = ConvNorm(channels * 2, channels)

    def forward(self, x: Tensor) -> Tensor:
        pools = [self.reduce(x)]
        for _ in range(3):
            pools.append(F.max_pool2d(pools[-1], 5, 1, 2))
        merged: Tensor = self.merge(torch.cat(pools, 1))
        return merged


class C2fTrunk(Trunk):
    """Backbone and path aggregation neck: features at strides 4 (from above), 8, 16 and 32."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        c1, c2, c3, c4, c5 = (size.channels(c) for c in (64, 128, 256, 512, 1024))
        few, many = size.repeats(3), size.repeats(6)
        self.channels = {4: c2, 8: c3, 16: c4, 32: c5}
        self.two = nn.Sequential(
            ConvNorm(3, c1, 3, 2), ConvNorm(c1, c2, 3, 2), C2f(c2, c2, few, True))
        self.three = nn.Sequential(ConvNorm(c2, c3, 3, 2), C2f(c3, c3, many, True))
        self.four = nn.Sequential(ConvNorm(c3, c4, 3, 2), C2f(c4, c4, many, True))
        self.five = nn.Sequential(
            ConvNorm(c4, c5, 3, 2), C2f(c5, c5, few, True), PoolPyramid(c5))
        self.down_four = C2f(c5 + c4, c4, few, False)
        self.down_three = C2f(c4 + c3, c3, few, False)
        self.to_four = ConvNorm(c3, c3, 3, 2)
        self.up_four = C2f(c3 + c4, c4, few, False)
        self.to_five = ConvNorm(c4, c4, 3, 2)
        self.up_five = C2f(c4 + c5, c5, few, False)

    def forward(self, images: Tensor) -> Features:
        two = self.two(images)
        three = self.three(two)
        four = self.four(three)
        five = self.five(four)
        merged = self.down_four(torch.cat((_double(five), four), 1))
        fine = self.down_three(torch.cat((_double(merged), three), 1))
        middle = self.up_four(torch.cat((self.to_four(fine), merged), 1))
        coarse = self.up_five(torch.cat((self.to_five(middle), five), 1))
        return {4: two, 8: fine, 16: middle, 32: coarse}


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode='nearest')
