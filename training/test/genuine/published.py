"""Networks of our own with published output layouts whose makers' code may not be used here."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn, Tensor
from torchvision.ops import batched_nms

from genuine.case import CLASSES, cut, Found, HEIGHT, WIDTH

ANCHORS = torch.tensor([[(10, 13), (16, 30), (33, 23)], [(30, 61), (62, 45), (59, 119)],
                        [(116, 90), (156, 198), (373, 326)]], dtype=torch.float32)
PROTOTYPES, BINS = 32, 8


class Trunk(nn.Module):
    """Features at strides 8, 16, 32 and on."""

    def __init__(self, levels: int) -> None:
        super().__init__()
        widths = [3, 8, 12, 16, *[24] * (levels - 1)]
        self.steps = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, 2, 1, bias=False), nn.BatchNorm2d(b), nn.SiLU())
            for a, b in pairwise(widths))
        self.widths = [16, *[24] * (levels - 1)]

    def forward(self, images: Tensor) -> list[Tensor]:
        features = []
        for step in self.steps:
            images = step(images)
            features.append(images)
        return features[2:]


def _grid(feature: Tensor) -> Tensor:
    rows, columns = feature.shape[2:]
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing='ij')
    return torch.stack((x, y), -1).float()


class YoloV5(nn.Module):
    """YOLOv5's head, decoded: [B, 3 A, 5 + C], with masks + 32 and [B, 32, H/4, W/4]."""

    def __init__(self, masks: bool = False) -> None:
        super().__init__()
        self.trunk = Trunk(3)
        self.columns = 5 + CLASSES + PROTOTYPES * masks
        self.heads = nn.ModuleList(
            nn.Conv2d(width, 3 * self.columns, 1) for width in self.trunk.widths)
        for head in self.heads:
            head.weight.data *= 4
        self.prototypes = nn.Sequential(
            nn.Upsample(scale_factor=2), nn.Conv2d(16, PROTOTYPES, 1)) if masks else None

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        features = self.trunk(images)
        levels = []
        for feature, head, anchors, stride in zip(
                features, self.heads, ANCHORS, (8, 16, 32), strict=True):
            raw = head(feature)
            batch, _, rows, columns = raw.shape
            raw = raw.view(batch, 3, self.columns, rows, columns).permute(0, 1, 3, 4, 2)
            box, scores, rest = raw.split((4, 1 + CLASSES, self.columns - 5 - CLASSES), 4)
            box, scores = box.sigmoid(), scores.sigmoid()
            centre = (box[..., :2] * 2 - 0.5 + _grid(feature)) * stride
            side = (box[..., 2:] * 2) ** 2 * anchors.view(1, 3, 1, 1, 2)
            level = torch.cat((centre, side, scores, rest), 4)
            levels.append(level.reshape(batch, -1, self.columns))
        rows = torch.cat(levels, 1)
        return rows if self.prototypes is None else (rows, self.prototypes(features[0]))


class Yolop(YoloV5):
    """YOLOP: YOLOv5's boxes, and two heads over the whole input."""

    def __init__(self) -> None:
        super().__init__()
        self.area, self.line = (
            nn.Sequential(
                nn.Conv2d(16, 8, 1), nn.Upsample(scale_factor=8), nn.Conv2d(8, 2, 3, 1, 1))
            for _ in range(2))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        (fine, *_) = self.trunk(images)
        return super().forward(images), self.area(fine), self.line(fine)


class NanoDetPlus(nn.Module):
    """NanoDet-Plus: [B, A, C + 4 x 8] over strides 8 to 64, probabilities and then logits."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = Trunk(4)
        self.heads = nn.ModuleList(
            nn.Conv2d(width, CLASSES + 4 * BINS, 1) for width in self.trunk.widths)
        for head in self.heads:
            head.weight.data *= 8

    def forward(self, images: Tensor) -> Tensor:
        levels = []
        for feature, head in zip(self.trunk(images), self.heads, strict=True):
            scores, sides = head(feature).flatten(2).split((CLASSES, 4 * BINS), 1)
            levels.append(torch.cat((scores.sigmoid(), sides), 1))
        return torch.cat(levels, 2).permute(0, 2, 1)


def nanodet_boxes(model: NanoDetPlus, images: Tensor) -> list[Found]:
    places = [(torch.cat((_grid(feature).view(-1, 2) * stride,) * 2, 1), stride)
              for feature, stride in zip(model.trunk(images), (8, 16, 32, 64), strict=True)]
    points = torch.cat([point for point, _ in places])
    strides = torch.cat([torch.full((len(point), 1), stride) for point, stride in places])
    answers = []
    for rows in model(images):
        shares = rows[:, CLASSES:].view(-1, 4, BINS).softmax(2)
        sides = (shares * torch.arange(BINS)).sum(2) * strides
        boxes = points + sides * torch.tensor([-1, -1, 1, 1])
        answers.append(_kept(boxes, rows[:, :CLASSES], 0.6))
    return answers


def yolov5_boxes(model: YoloV5, images: Tensor) -> list[Found]:
    found = model(images)
    table, prototypes = found if model.prototypes is not None else (found, [None] * len(images))
    if isinstance(model, Yolop):
        table, prototypes = found[0], [None] * len(images)
    return [_yolov5(rows, prototype) for rows, prototype in zip(table, prototypes, strict=True)]


def _yolov5(rows: Tensor, prototypes: Tensor | None) -> Found:
    boxes = torch.cat((rows[:, :2] - rows[:, 2:4] / 2, rows[:, :2] + rows[:, 2:4] / 2), 1)
    whole = None
    if prototypes is not None:
        whole = torch.einsum('np,phw->nhw', rows[:, 5 + CLASSES:], prototypes)
    return _kept(boxes, rows[:, 4:5] * rows[:, 5:5 + CLASSES], 0.45, whole)


def yolop_heads(model: Yolop, images: Tensor) -> dict[str, Tensor]:
    _, area, line = model(images)
    return {'drive_area_seg': area.argmax(1), 'lane_line_seg': line.argmax(1)}


def _kept(boxes: Tensor, by_class: Tensor, iou: float, whole: Tensor | None = None) -> Found:
    scores, labels = by_class.max(1)
    best = scores.argsort(descending=True)[:512]
    kept = best[batched_nms(boxes[best], scores[best], labels[best], iou)][:300]
    masks = None
    if whole is not None:
        masks = cut(whole[kept], boxes[kept], (WIDTH, HEIGHT)).sigmoid()
    return Found.of(boxes[kept], scores[kept], labels[kept], masks)
