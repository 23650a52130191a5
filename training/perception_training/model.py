"""
The network: one backbone, boxes at strides 8, 16, 32 and a semantic head at stride 4.

Layout and widths of backbone, neck and box head are those of YOLOX-nano (Ge et al. 2021), so
that its published weights can be the start; batch normalisation is folded in there, hence
the convolutions carry biases. The semantic head is ours.
"""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn, Tensor
import torch.nn.functional as F

DETECTION_CLASSES = ('car', 'person', 'truck', 'bus', 'bicycle')
SCENE_CLASSES = ('sky', 'building', 'pole', 'road', 'pavement', 'tree', 'sign', 'fence', 'car',
                 'pedestrian', 'cyclist')
STRIDES = (8, 16, 32)
# Rows of COCO's 80 classes that hold our detection classes, in our order.
COCO_ROWS = (2, 0, 7, 5, 1)


class Conv(nn.Module):
    """Convolution with bias and SiLU; `separable` puts a depthwise convolution in front."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1,
                 separable: bool = False) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(
            inputs, inputs, kernel, stride, kernel // 2, groups=inputs) if separable else None
        self.conv = (nn.Conv2d(inputs, outputs, 1) if separable else
                     nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2))
        # Without normalisation torch's default shrinks the signal from layer to layer until the
        # answers no longer depend on the image.
        for layer in filter(None, (self.depthwise, self.conv)):
            nn.init.kaiming_normal_(layer.weight, nonlinearity='relu')
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        if self.depthwise is not None:
            x = F.silu(self.depthwise(x))
        return F.silu(self.conv(x))


class Bottleneck(nn.Module):
    """A 1x1 and a separable 3x3 convolution, with a skip where `shortcut`."""

    def __init__(self, channels: int, shortcut: bool) -> None:
        super().__init__()
        self.reduce = Conv(channels, channels)
        self.spatial = Conv(channels, channels, 3, separable=True)
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
        self.two = nn.Sequential(Conv(16, 32, 3, 2, True), Stage(32, 32, 1, True))
        self.three = nn.Sequential(Conv(32, 64, 3, 2, True), Stage(64, 64, 3, True))
        self.four = nn.Sequential(Conv(64, 128, 3, 2, True), Stage(128, 128, 3, True))
        self.five = nn.Sequential(
            Conv(128, 256, 3, 2, True), PoolPyramid(256), Stage(256, 256, 1))

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
        self.to_four = Conv(64, 64, 3, 2, True)
        self.up_four = Stage(128, 128)
        self.to_five = Conv(128, 128, 3, 2, True)
        self.up_five = Stage(256, 256)

    def forward(self, three: Tensor, four: Tensor, five: Tensor) -> tuple[Tensor, ...]:
        five = self.lateral(five)
        merged = self.reduce(self.down_four(torch.cat((_double(five), four), 1)))
        fine = self.down_three(torch.cat((_double(merged), three), 1))
        middle = self.up_four(torch.cat((self.to_four(fine), merged), 1))
        return fine, middle, self.up_five(torch.cat((self.to_five(middle), five), 1))


class BoxHead(nn.Module):
    """One level: class logits, box numbers and objectness from separate towers."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.stem = Conv(inputs, 64)
        self.class_tower = nn.Sequential(Conv(64, 64, 3, 1, True), Conv(64, 64, 3, 1, True))
        self.classes = nn.Conv2d(64, classes, 1)
        self.box_tower = nn.Sequential(Conv(64, 64, 3, 1, True), Conv(64, 64, 3, 1, True))
        self.box = nn.Conv2d(64, 4, 1)
        self.objectness = nn.Conv2d(64, 1, 1)
        # One box in a hundred anchors: the first steps are then not spent on unlearning 0.5.
        nn.init.constant_(self.objectness.bias, -4.6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        classes = self.classes(self.class_tower(x))
        x = self.box_tower(x)
        return torch.cat((self.box(x), self.objectness(x), classes), 1).flatten(2)


class SceneHead(nn.Module):
    """Class logits at stride 4 from the neck's levels, the stride-4 features and the context."""

    def __init__(self, classes: int, channels: int = 64) -> None:
        super().__init__()
        self.levels = nn.ModuleList(nn.Conv2d(c, channels, 1) for c in (64, 128, 256))
        self.context = nn.Conv2d(256, channels, 1)
        self.coarse = nn.Sequential(*(_normed(channels, channels) for _ in range(2)))
        self.detail = nn.Conv2d(32, 32, 1)
        self.fine = nn.Sequential(_normed(channels + 32, channels), _normed(channels, channels))
        self.classes = nn.Conv2d(channels, classes, 1)

    def forward(self, two: Tensor, levels: tuple[Tensor, ...]) -> Tensor:
        size = levels[0].shape[2:]
        x = self.levels[0](levels[0]) + self.context(levels[2].mean((2, 3), keepdim=True))
        for project, level in zip(self.levels[1:], levels[1:], strict=True):
            x = x + _resize(project(level), size)
        x = _resize(self.coarse(F.silu(x)), two.shape[2:])
        return self.classes(self.fine(torch.cat((x, self.detail(two)), 1)))


class RoadScene(nn.Module):
    """
    The multi-task network.

    `forward` takes `[B, 3, H, W]` float32 RGB in 0..1, H and W multiples of 32, and returns
    `boxes` `[B, A, 4]` (x1, y1, x2, y2 in input pixels, (0, 0) = outer corner of the top-left
    pixel), `objectness` logits `[B, A]`, `classes` logits `[B, A, 5]` and `scene` logits
    `[B, 11, H/4, W/4]`. A runs over strides 8, 16, 32, each row by row.
    """

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Backbone()
        self.neck = Neck()
        self.heads = nn.ModuleList(BoxHead(c, len(DETECTION_CLASSES)) for c in (64, 128, 256))
        self.scene = SceneHead(len(SCENE_CLASSES))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        two, *rest = self.backbone(images)
        levels = self.neck(*rest)
        raw = torch.cat(
            [head(x) for head, x in zip(self.heads, levels, strict=True)], 2).transpose(1, 2)
        centres, strides = anchors(images.shape[2], images.shape[3], images.device)
        # Clamped so that a wild size in early training cannot become infinite.
        half = raw[..., 2:4].clamp(max=8).exp() * strides * 0.5
        middle = centres + raw[..., :2] * strides
        boxes = torch.cat((middle - half, middle + half), -1)
        return boxes, raw[..., 4], raw[..., 5:], self.scene(two, levels)


def anchors(height: int, width: int, device: torch.device | str = 'cpu') -> tuple[Tensor, Tensor]:
    """Give anchor centres `[A, 2]` (x, y) in pixels and strides `[A, 1]` for an input size."""
    centres, strides = [], []
    for stride in STRIDES:
        y, x = torch.meshgrid(
            torch.arange(height // stride, device=device),
            torch.arange(width // stride, device=device), indexing='ij')
        centres.append((torch.stack((x, y), -1).reshape(-1, 2) + 0.5) * stride)
        strides.append(torch.full((x.numel(), 1), float(stride), device=device))
    return torch.cat(centres), torch.cat(strides)


def load_yolox_nano(model: RoadScene, path: Path) -> None:
    """
    Start backbone, neck and box head from a YOLOX-nano ONNX file.

    Its convolutions stand in the graph in the order in which ours are built, so they are
    paired one by one and every shape is checked. Three things differ and are converted: the
    stem (space-to-depth of BGR 0..255, then 3x3) becomes one 6x6 convolution on RGB 0..1, the
    class rows are picked from COCO's 80, and box centres count from the cell's middle.

    :raises ValueError: the file does not hold this architecture.
    """
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(path).graph
    values = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    nodes = [n for n in graph.node if n.op_type == 'Conv']
    ours = [*_convolutions(model.backbone), *_convolutions(model.neck),
            *_convolutions(model.heads)]
    if len(nodes) != len(ours):
        raise ValueError(f'expected {len(ours)} convolutions in {path.name}, got {len(nodes)}')
    classes = {head.classes for head in model.heads}
    boxes = {head.box for head in model.heads}
    with torch.no_grad():
        for node, conv in zip(nodes, ours, strict=True):
            weight = torch.tensor(values[node.input[1]])
            bias = torch.tensor(values[node.input[2]])
            if conv is model.backbone.stem:
                weight = _unfold_stem(weight)
            elif conv in classes:
                weight, bias = weight[list(COCO_ROWS)], bias[list(COCO_ROWS)]
            elif conv in boxes:
                bias = bias - torch.tensor([0.5, 0.5, 0.0, 0.0])
            if weight.shape != conv.weight.shape:
                raise ValueError(f'{node.name}: expected weights {tuple(conv.weight.shape)}, '
                                 f'got {tuple(weight.shape)}')
            conv.weight.copy_(weight)
            conv.bias.copy_(bias)


def _unfold_stem(weight: Tensor) -> Tensor:
    """`[O, 12, 3, 3]` on (tl, bl, tr, br) x BGR 0..255 to `[O, 3, 6, 6]` on RGB 0..1."""
    outputs = weight.shape[0]
    blocks = weight.reshape(outputs, 2, 2, 3, 3, 3)  # o, dx, dy, colour, ky, kx
    full = blocks.permute(0, 3, 4, 2, 5, 1).reshape(outputs, 3, 6, 6)
    return full.flip(1) * 255.0


def _convolutions(module: nn.Module) -> Iterator[nn.Conv2d]:
    return (m for m in module.modules() if isinstance(m, nn.Conv2d))


def _normed(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 3, 1, 1, groups=inputs, bias=False),
        nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.SiLU())


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode='nearest')


def _resize(x: Tensor, size: torch.Size) -> Tensor:
    return F.interpolate(x, size=size, mode='bilinear', align_corners=False)
