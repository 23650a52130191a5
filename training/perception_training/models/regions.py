"""
Boxes of regions and the features inside of them, in shapes that do not depend on the data.

A graph of fixed shapes has a dynamic batch and builds in every engine; torchvision's own selection
and pooling have neither. Training uses the same code, so that a network learns with what it is
delivered with.
"""

from collections.abc import Mapping, Sequence
from math import log

import torch
from torch import Tensor
import torch.nn.functional as F

POOLED = (4, 8, 16, 32)
"""Strides of the features that regions are cut out of."""
LARGEST_PX = (112, 224, 448)
"""Mean side below which a region is cut out of the first, second and third of them (Lin et al.
2017)."""
SAMPLES = 2
"""A cell is the mean of 2 x 2 points."""
BEYOND = -1e4
"""A cell that no sheet has: a point there is 0."""
ROUNDS = 16
"""Chains of boxes that are in turn kept and suppressed are exact up to this length."""
ANCHOR_CODE, BOX_CODE = (1.0, 1.0, 1.0, 1.0), (10.0, 10.0, 5.0, 5.0)
"""Weights of the codes that lead from anchors, and from regions (Ren et al. 2015)."""
MOST_GROWTH = log(1000 / 16)


def anchors_at(shapes: Sequence[tuple[int, int]], strides: Sequence[int],
               shapes_at_0: Tensor) -> list[Tensor]:
    """
    Give the anchors of each level `[h * w * S, 4]`, cell by cell, in pixels.

    :param shapes: rows and columns of each level.
    :param shapes_at_0: `[levels, S, 4]`, anchors around the point (0, 0).
    """
    found = []
    for (rows, columns), stride, around in zip(shapes, strides, shapes_at_0, strict=True):
        y, x = torch.meshgrid(torch.arange(rows, device=around.device) * stride,
                              torch.arange(columns, device=around.device) * stride, indexing='ij')
        points = torch.stack((x, y, x, y), -1).reshape(-1, 1, 4)
        found.append((points + around).reshape(-1, 4))
    return found


def encode(boxes: Tensor, references: Tensor, weights: Sequence[float]) -> Tensor:
    """Give the codes `[..., 4]` that lead from references to boxes (Girshick et al. 2014)."""
    low, size = references[..., :2], (references[..., 2:] - references[..., :2]).clamp(min=1e-3)
    wanted = (boxes[..., 2:] - boxes[..., :2]).clamp(min=1e-3)
    shift = (boxes[..., :2] + wanted / 2 - low - size / 2) / size
    codes = torch.cat((shift, (wanted / size).log()), -1)
    return codes * codes.new_tensor(weights)


def decode(codes: Tensor, references: Tensor, weights: Sequence[float]) -> Tensor:
    """Give the boxes `[..., 4]` that codes lead to from references."""
    codes = codes / codes.new_tensor(weights)
    size = references[..., 2:] - references[..., :2]
    middle = references[..., :2] + size / 2 + codes[..., :2] * size
    # Clamped so that a wild size in early training cannot become infinite.
    half = codes[..., 2:].clamp(max=MOST_GROWTH).exp() * size / 2
    return torch.cat((middle - half, middle + half), -1)


def clip(boxes: Tensor, height: int, width: int) -> Tensor:
    """Cut boxes `[..., 4]` to an image."""
    x, y = boxes[..., 0::2].clamp(0, width), boxes[..., 1::2].clamp(0, height)
    return torch.stack((x[..., 0], y[..., 0], x[..., 1], y[..., 1]), -1)


@torch.no_grad()
def survivors(boxes: Tensor, groups: Tensor, alive: Tensor, limit: float) -> Tensor:
    """
    Say which boxes greedy suppression keeps: bool `[B, K]`.

    The fixed point of "kept is whom nobody better who is kept overlaps", over all boxes at once
    (Zheng et al. 2020, "Cluster NMS").

    :param boxes: `[B, K, 4]`, the better of two in one group first.
    :param groups: `[B, K]` or `[K]`; boxes of different groups leave each other alone.
    :param alive: bool `[B, K]`, those that take part.
    :param limit: IoU above which a box suppresses.
    """
    x0, y0, x1, y1 = boxes.unsqueeze(-1).unbind(2)
    width = torch.minimum(x1, x1.mT) - torch.maximum(x0, x0.mT)
    height = torch.minimum(y1, y1.mT) - torch.maximum(y0, y0.mT)
    inner = width.clamp(min=0) * height.clamp(min=0)
    area = (x1 - x0) * (y1 - y0)
    # Multiplied out: an empty box would divide zero by zero.
    overlap = inner > limit * (area + area.mT - inner)
    rank = torch.arange(boxes.shape[1], device=boxes.device)
    better = rank.unsqueeze(1) < rank
    same = groups.unsqueeze(-1) == groups.unsqueeze(-2)
    suppresses = (overlap & same & better).to(boxes.dtype)
    fit = alive.to(boxes.dtype).unsqueeze(1)
    kept = fit
    for _ in range(ROUNDS):
        kept = (kept @ suppresses < 0.5).to(boxes.dtype) * fit
    return kept.squeeze(1) > 0.5


def pick(rows: Tensor, index: Tensor) -> Tensor:
    """Give the rows `[B, K, n]` at places `[B, K]` of `[B, A, n]`."""
    return rows.gather(1, index.unsqueeze(-1).expand(-1, -1, rows.shape[2]))


def region_features(features: Mapping[int, Tensor], boxes: Tensor, cells: int) -> Tensor:
    """
    Cut features out of boxes, each of the level of its size: `[B * R, C, cells, cells]`.

    The same numbers as torchvision's `MultiScaleRoIAlign` with two samples, made of one
    GridSample: all levels lie on one sheet, and each box samples its own part of it.

    :param features: stride -> float32 `[B, C, H / stride, W / stride]`.
    :param boxes: `[B, R, 4]` in pixels, within the image.
    """
    levels = [features[stride].float() for stride in POOLED]
    sheet, places = _sheet(levels)
    side = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0)
    area = side[..., 0] * side[..., 1]
    level = sum((area >= px ** 2).long() for px in LARGEST_PX)
    assert isinstance(level, Tensor)
    # Of each box: its level's stride, columns, rows, and where they begin on the sheet.
    table = boxes.new_tensor([
        (stride, own.shape[3], own.shape[2], x, y)
        for stride, own, (x, y) in zip(POOLED, levels, places, strict=True)])
    stride, columns, rows, x0, y0 = table[level].unsqueeze(-1).unbind(2)
    points = cells * SAMPLES
    share = (torch.arange(points, device=boxes.device) + 0.5) / points
    x = _along(boxes[..., 0::2] / stride, share, columns) + x0
    y = _along(boxes[..., 1::2] / stride, share, rows) + y0
    grid = torch.stack((
        ((2 * x + 1) / sheet.shape[3] - 1).unsqueeze(2).expand(-1, -1, points, -1),
        ((2 * y + 1) / sheet.shape[2] - 1).unsqueeze(3).expand(-1, -1, -1, points)), -1)
    sampled = F.grid_sample(sheet, grid.flatten(1, 2), align_corners=False)
    pooled = F.avg_pool2d(sampled, SAMPLES)
    return pooled.unflatten(2, (boxes.shape[1], cells)).transpose(1, 2).flatten(0, 1)


def _sheet(levels: Sequence[Tensor]) -> tuple[Tensor, list[tuple[int, int]]]:
    """Lay levels beside each other, and say where each begins (x, y): the finest on top."""
    finest, *others = levels
    height, width = others[0].shape[2], finest.shape[3]
    places, x = [(0, 0)], 0
    for level in others:
        places.append((x, finest.shape[2]))
        x += level.shape[3]
    row = torch.cat([F.pad(level, (0, 0, 0, height - level.shape[2])) for level in others], 3)
    return torch.cat((finest, F.pad(row, (0, width - x, 0, 0))), 2), places


def _along(ends: Tensor, share: Tensor, count: Tensor) -> Tensor:
    """
    Give the points `[B, R, n]` of one axis, in cells, kept within the level.

    A region thinner than a cell is as wide as one. Beyond the image it sees nothing.

    :param ends: `[B, R, 2]`, low and high.
    :param count: `[B, R, 1]`, cells of the level.
    """
    low, high = ends[..., :1], ends[..., 1:]
    points = low + share * (high - low).clamp(min=1)
    inside = torch.minimum(points.clamp(min=0), count - 1)
    return torch.where(points <= count, inside, BEYOND)
