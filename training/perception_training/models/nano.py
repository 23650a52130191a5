"""
The trunk of `roadscene`: one backbone and a neck, features at strides 4, 8, 16 and 32.

Layout and widths are those of YOLOX-nano (Ge et al. 2021), so that its published weights can be
the start; batch normalisation is folded in there, hence the convolutions carry biases.
"""

import torch
from torch import nn, Tensor
import torch.nn.functional as F

from perception_training.models.composed import Features, Trunk
from perception_training.models.layers import Conv, Separable


class NanoTrunk(Trunk):
    """Features of 32, 64, 128, 256 channels at strides 4, 8, 16, 32."""

    def __init__(self) -> None:
        super().__init__()
        self.channels = {4: 32, 8: 64, 16: 128, 32: 256}
        self.backbone = Backbone()
        self.neck = Neck()

    def forward(self, images: Tensor) -> Features:
        two, *rest = self.backbone(images)
        three, four, five = self.neck(*rest)
        return {4: two, 8: three, 16: four, 32: five}


class Bottleneck(nn.Module):
    """A 1x1 and a separable 3x3 convolution, with a skip where `shortcut`."""

    def __init__(self, channels: int, shortcut: bool) -> None:
        super().__init__()
        self.reduce = Conv(channels, channels)
        self.spatial = Separable(channels, channels)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        y = self.spatial(self.reduce(x))
        return x + y if self.shortcut else y


class Stage(nn.Module):
    """Cross-stage partial block: half of the channels passes bottlenecks, half goes by."""

    def __init__(self, inputs: int, outputs: int, depth: int = 1, shortcut: bool = False) -> None:
        super().__init__()
        half = outputs // 2
        self.main = Conv(inputs, half)
        self.bypass = Conv(inputs, half)
        self.blocks = nn.Sequential(*(Bottleneck(half, shortcut) for _ in range(depth)))
        self.merge = Conv(2 * half, outputs)

    def forward(self, x: Tensor) -> Tensor:
        main = self.main(x)
        bypass = self.bypass(x)
        return self.merge(torch.cat((self.blocks(main), bypass), 1))


class PoolPyramid(nn.Module):
    """Max pools of 5, 9 and 13 px side by side: context for the coarsest features."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce = Conv(channels, channels // 2)
        self.merge = Conv(channels * 2, channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.reduce(x)
        # Pools of 5 one after the other reach 9 and 13 px: same result for less work.
        five = F.max_pool2d(x, 5, 1, 2)
        nine = F.max_pool2d(five, 5, 1, 2)
        return self.merge(torch.cat((x, five, nine, F.max_pool2d(nine, 5, 1, 2)), 1))


class Backbone(nn.Module):
    """`[B, 3, H, W]` in 0..1 to features of 32, 64, 128, 256 channels at strides 4 to 32."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 6, 2, 2)
        self.two = nn.Sequential(Separable(16, 32, 2), Stage(32, 32, 1, True))
        self.three = nn.Sequential(Separable(32, 64, 2), Stage(64, 64, 3, True))
        self.four = nn.Sequential(Separable(64, 128, 2), Stage(128, 128, 3, True))
        self.five = nn.Sequential(
            Separable(128, 256, 2), PoolPyramid(256), Stage(256, 256, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        two = self.two(F.silu(self.stem(x)))
        three = self.three(two)
        four = self.four(three)
        return two, three, four, self.five(four)


class Neck(nn.Module):
    """Features down to stride 8 and back up to 32: 64, 128, 256 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.lateral = Conv(256, 128)
        self.down_four = Stage(256, 128)
        self.reduce = Conv(128, 64)
        self.down_three = Stage(128, 64)
        self.to_four = Separable(64, 64, 2)
        self.up_four = Stage(128, 128)
        self.to_five = Separable(128, 128, 2)
        self.up_five = Stage(256, 256)

    def forward(self, three: Tensor, four: Tensor, five: Tensor) -> tuple[Tensor, ...]:
        five = self.lateral(five)
        merged = self.reduce(self.down_four(torch.cat((_double(five), four), 1)))
        fine = self.down_three(torch.cat((_double(merged), three), 1))
        middle = self.up_four(torch.cat((self.to_four(fine), merged), 1))
        return fine, middle, self.up_five(torch.cat((self.to_five(middle), five), 1))


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode='nearest')
