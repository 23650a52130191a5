"""From camera pixels to what a network was trained on."""

from __future__ import annotations

from dataclasses import dataclass
import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray
import onnx

from perception_ros.bundles.graph.builder import GraphBuilder
from perception_ros.core.errors import ImportModelError


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """A network's own input: (pixel / divisor - mean) / std, channels in `order`.

    `mean` and `std` are per channel in the network's order; (0.485, ...) with divisor 255 is
    torchvision's convention.
    """

    order: Literal['rgb', 'bgr'] = 'rgb'
    divisor: float = 255.0
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        """Raise ImportModelError for numbers that cannot be meant."""
        if self.order not in ('rgb', 'bgr'):
            raise ImportModelError(f"pixel order: expected 'rgb' or 'bgr', got {self.order!r}")
        if not all(map(math.isfinite, (self.divisor, *self.mean, *self.std))):
            raise ImportModelError(
                'pixel divisor, mean and std: expected finite numbers, got '
                f'{self.divisor}, {self.mean} and {self.std}'
            )
        if self.divisor <= 0 or min(self.std) <= 0:
            raise ImportModelError(
                f'pixel divisor and std: expected numbers > 0, got {self.divisor} and {self.std}'
            )

    def apply(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Do the same in NumPy: uint8 [B, H, W, 3] RGB to float32 [B, 3, H, W]."""
        pixels = images.astype(np.float32)
        if self.order == 'bgr':
            pixels = pixels[..., ::-1]
        mean, std = np.asarray(self.mean, np.float32), np.asarray(self.std, np.float32)
        pixels = (pixels / np.float32(self.divisor) - mean) / std
        return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))


def preprocess(
    g: GraphBuilder, images: str, pixels: PixelFormat, dtype: int, layout: str = 'nchw'
) -> str:
    """Turn uint8 [B, H, W, 3] RGB into `dtype` [B, 3, H, W] as `pixels` says.

    With layout 'nhwc' the channels stay last. The cast comes first: TensorRT takes UINT8 as a
    network input and nowhere else.
    """
    axis, shape = (1, (1, 3, 1, 1)) if layout == 'nchw' else (3, (1, 1, 1, 3))
    tensor = g.cast(images, onnx.TensorProto.FLOAT)
    if layout == 'nchw':
        tensor = g.op('Transpose', tensor, perm=[0, 3, 1, 2])
    if pixels.order == 'bgr':
        tensor = g.op('Gather', tensor, g.constant([2, 1, 0], np.int64), axis=axis)
    if pixels.divisor != 1:
        tensor = g.op('Div', tensor, g.scalar(pixels.divisor))
    if any(pixels.mean):
        tensor = g.op('Sub', tensor, g.constant(np.reshape(pixels.mean, shape), np.float32))
    if any(value != 1 for value in pixels.std):
        tensor = g.op('Div', tensor, g.constant(np.reshape(pixels.std, shape), np.float32))
    return tensor if dtype == onnx.TensorProto.FLOAT else g.cast(tensor, dtype)
