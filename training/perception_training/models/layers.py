"""Convolutions that networks are built of."""

from torch import nn, Tensor
import torch.nn.functional as F


class ConvNorm(nn.Module):
    """Convolution, batch normalisation, SiLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.03)

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(self.norm(self.conv(x)))


class Conv(nn.Module):
    """Convolution with bias and SiLU, without normalisation."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.conv = _biased(nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2))

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(self.conv(x))


class Separable(nn.Module):
    """A depthwise and a 1x1 convolution, each with bias and SiLU."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.depthwise = _biased(nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs))
        self.conv = _biased(nn.Conv2d(inputs, outputs, 1))

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(self.conv(F.silu(self.depthwise(x))))


def _biased(layer: nn.Conv2d) -> nn.Conv2d:
    # Without normalisation torch's default shrinks the signal from layer to layer until the
    # answers no longer depend on the image.
    nn.init.kaiming_normal_(layer.weight, nonlinearity='relu')
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer
