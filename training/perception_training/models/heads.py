"""Heads for boxes, with objectness or distributions of distances, for masks and label maps."""

from collections.abc import Mapping
from math import log
from typing import Any

import torch
from torch import nn, Tensor
import torch.nn.functional as F

from perception_training.config.loss import LossConfig, SemanticLossConfig
from perception_training.data.sample import Batch
from perception_training.losses.detection import detection_losses
from perception_training.losses.semantic import semantic_losses
from perception_training.models.anchors import anchors_of
from perception_training.models.base import (
    BOXES,
    BoxTask,
    MASKS,
    PROTOTYPES,
    Raw,
    SCORES,
    SemanticTask,
)
from perception_training.models.composed import Features, Head
from perception_training.models.layers import Conv, ConvNorm, Separable

STRIDES = (8, 16, 32)
BINS = 16
"""A distance is 0 to 15 strides."""


class BoxHead(Head):
    """
    What both box heads share.

    Its raw answers: `boxes` `[B, A, 4]` x1 y1 x2 y2 in input pixels, `classes` logits
    `[B, A, C]`, `centres` `[A, 2]` and `strides` `[A, 1]` in pixels.
    """

    task: BoxTask

    def losses(self, raw: Any, batch: Batch, config: LossConfig) -> dict[str, Tensor]:
        return detection_losses(raw, batch, config.detection)

    def answers(self, raw: Any) -> dict[str, Tensor]:
        scores = raw['classes'].sigmoid()
        if 'objectness' in raw:
            scores = scores * raw['objectness'].sigmoid().unsqueeze(-1)
        return {BOXES: raw['boxes'], SCORES: scores}


class DistanceHead(BoxHead):
    """
    Decoupled, anchor-free: a distribution of distances to each side (Li et al. 2020).

    Raw answers also hold its logits `distances` `[B, A, 4 x 16]`.
    """

    def __init__(self, channels: Mapping[int, int], classes: tuple[str, ...]) -> None:
        super().__init__()
        self.task = BoxTask(classes)
        finest = channels[STRIDES[0]]
        wide_box = max(16, finest // 4, BINS * 4)
        wide_class = max(finest, min(len(classes), 100))
        self.box = nn.ModuleList(
            _tower(channels[s], wide_box, 4 * BINS) for s in STRIDES)
        self.classes = nn.ModuleList(
            _tower(channels[s], wide_class, len(classes)) for s in STRIDES)
        self.register_buffer('steps', torch.arange(BINS, dtype=torch.float32), persistent=False)
        for box, tower, stride in zip(self.box, self.classes, STRIDES, strict=True):
            nn.init.ones_(box[-1].bias)
            # A few objects in an image of 640 px: the first steps need not unlearn 0.5.
            nn.init.constant_(tower[-1].bias, log(5 / len(classes) / (640 / stride) ** 2))

    def forward(self, features: Features) -> Raw:
        centres, strides = anchors_of(features, STRIDES)
        distances = _rows(self.box, features)
        shares = distances.unflatten(2, (4, BINS)).float().softmax(-1)
        sides = (shares * self.steps).sum(-1) * strides
        boxes = torch.cat((centres - sides[..., :2], centres + sides[..., 2:]), -1)
        return {'boxes': boxes, 'classes': _rows(self.classes, features), 'distances': distances,
                'centres': centres, 'strides': strides}


class PrototypeHead(DistanceHead):
    """
    Boxes whose masks are weighted sums of prototypes (YOLACT, Bolya et al. 2019).

    Prototypes lie at stride 4 and see the trunk's features of strides 8 and 4. Raw answers also
    hold the weights `masks` `[B, A, P]` and `prototypes` `[B, P, H / 4, W / 4]`.
    """

    def __init__(self, channels: Mapping[int, int], classes: tuple[str, ...],
                 prototypes: int) -> None:
        super().__init__(channels, classes)
        self.task = BoxTask(classes, masks='prototypes')
        width = max(channels[STRIDES[0]], prototypes)
        self.weights = nn.ModuleList(
            _tower(channels[s], max(16, width // 2), prototypes) for s in STRIDES)
        self.coarse = ConvNorm(channels[STRIDES[0]], width, 3)
        self.detail = ConvNorm(channels[4], 32)
        self.fine = nn.Sequential(
            ConvNorm(width + 32, width, 3), nn.Conv2d(width, prototypes, 1))

    def forward(self, features: Features) -> Raw:
        wide = _resize(self.coarse(features[STRIDES[0]]), features[4].shape[2:])
        prototypes = self.fine(torch.cat((wide, self.detail(features[4])), 1))
        return {**super().forward(features), 'masks': _rows(self.weights, features),
                'prototypes': prototypes}

    def answers(self, raw: Any) -> dict[str, Tensor]:
        return super().answers(raw) | {MASKS: raw['masks'], PROTOTYPES: raw['prototypes']}


class ObjectnessHead(BoxHead):
    """
    Decoupled with objectness, in YOLOX-nano's layout (Ge et al. 2021).

    Raw answers also hold logits `objectness` `[B, A]`.
    """

    def __init__(self, channels: Mapping[int, int], classes: tuple[str, ...]) -> None:
        super().__init__()
        self.task = BoxTask(classes)
        self.levels = nn.ModuleList(_ObjectnessLevel(channels[s], len(classes)) for s in STRIDES)

    def forward(self, features: Features) -> Raw:
        centres, strides = anchors_of(features, STRIDES)
        raw = _rows(self.levels, features)
        # Clamped so that a wild size in early training cannot become infinite.
        half = raw[..., 2:4].clamp(max=8).exp() * strides * 0.5
        middle = centres + raw[..., :2] * strides
        boxes = torch.cat((middle - half, middle + half), -1)
        return {'boxes': boxes, 'objectness': raw[..., 4], 'classes': raw[..., 5:],
                'centres': centres, 'strides': strides}


class _ObjectnessLevel(nn.Module):
    """One level: class logits, box numbers and objectness from separate towers."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.stem = Conv(inputs, 64)
        self.class_tower = nn.Sequential(Separable(64, 64), Separable(64, 64))
        self.classes = nn.Conv2d(64, classes, 1)
        self.box_tower = nn.Sequential(Separable(64, 64), Separable(64, 64))
        self.box = nn.Conv2d(64, 4, 1)
        self.objectness = nn.Conv2d(64, 1, 1)
        # One box in a hundred anchors: the first steps are then not spent on unlearning 0.5.
        nn.init.constant_(self.objectness.bias, -4.6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        classes = self.classes(self.class_tower(x))
        x = self.box_tower(x)
        return torch.cat((self.box(x), self.objectness(x), classes), 1)


class SemanticHead(Head):
    """Anything that ends in logits."""

    task: SemanticTask

    def __init__(self, name: str, task: SemanticTask, enlarged: bool) -> None:
        """
        Declare it.

        :param enlarged: whether logits are enlarged to the labels for the loss; else the label
            in the middle of each cell counts.
        """
        super().__init__()
        self.task = task
        self._name, self._enlarged = name, enlarged

    def losses(self, raw: Any, batch: Batch, config: LossConfig) -> dict[str, Tensor]:
        ids = batch.semantic[self._name]
        stride = self.task.stride
        if self._enlarged:
            raw = _resize(raw, ids.shape[1:])
        else:
            ids = ids[:, stride // 2::stride, stride // 2::stride]
        terms = config.semantic.get(self._name, SemanticLossConfig())
        return semantic_losses(raw, ids, batch.semantic_weight, terms, self.task.classes)

    def answers(self, raw: Any) -> dict[str, Tensor]:
        return {self._name: raw}


class SceneHead(SemanticHead):
    """Class logits at stride 4 from all levels, the stride-4 features and the context."""

    def __init__(self, name: str, channels: Mapping[int, int], classes: tuple[str, ...],
                 width: int = 64) -> None:
        super().__init__(name, SemanticTask(classes, 4), enlarged=False)
        self.levels = nn.ModuleList(nn.Conv2d(channels[s], width, 1) for s in STRIDES)
        self.context = nn.Conv2d(channels[32], width, 1)
        self.coarse = nn.Sequential(*(_light(width, width) for _ in range(2)))
        self.detail = nn.Conv2d(channels[4], 32, 1)
        self.fine = nn.Sequential(_light(width + 32, width), _light(width, width))
        self.classes = nn.Conv2d(width, len(classes), 1)

    def forward(self, features: Features) -> Tensor:
        size = features[8].shape[2:]
        x = self.levels[0](features[8])
        x = x + self.context(features[32].mean((2, 3), keepdim=True))
        for project, stride in zip(self.levels[1:], STRIDES[1:], strict=True):
            x = x + _resize(project(features[stride]), size)
        x = _resize(self.coarse(F.silu(x)), features[4].shape[2:])
        logits: Tensor = self.classes(
            self.fine(torch.cat((x, self.detail(features[4])), 1)))
        return logits


class PlainHead(SemanticHead):
    """One convolution on the trunk's finest features."""

    def __init__(self, name: str, channels: Mapping[int, int], classes: tuple[str, ...],
                 kernel: int) -> None:
        stride = min(channels)
        super().__init__(name, SemanticTask(classes, stride), enlarged=stride > 1)
        self.classes = nn.Conv2d(channels[stride], len(classes), kernel, padding=kernel // 2)

    def forward(self, features: Features) -> Tensor:
        logits: Tensor = self.classes(features[self.task.stride])
        return logits


def _rows(levels: nn.ModuleList, features: Features) -> Tensor:
    """Give `[B, A, n]` of the levels' `[B, n, h, w]`."""
    maps = [level(features[s]).flatten(2) for level, s in zip(levels, STRIDES, strict=True)]
    return torch.cat(maps, 2).transpose(1, 2)


def _tower(inputs: int, width: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(ConvNorm(inputs, width, 3), ConvNorm(width, width, 3),
                         nn.Conv2d(width, outputs, 1))


def _light(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 3, 1, 1, groups=inputs, bias=False),
        nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.SiLU())


def _resize(x: Tensor, size: torch.Size) -> Tensor:
    return F.interpolate(x, size=size, mode='bilinear', align_corners=False)
