"""How much boxes overlap."""

import torch
from torch import Tensor


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of broadcast boxes `[..., 4]`."""
    low = torch.maximum(a[..., :2], b[..., :2])
    high = torch.minimum(a[..., 2:], b[..., 2:])
    inner = (high - low).clamp(min=0).prod(-1)
    area_a = (a[..., 2:] - a[..., :2]).prod(-1)
    area_b = (b[..., 2:] - b[..., :2]).prod(-1)
    return inner / (area_a + area_b - inner).clamp(min=1e-7)


def complete_iou(a: Tensor, b: Tensor) -> Tensor:
    """CIoU (Zheng et al. 2020): IoU less distance of centres and difference of shape."""
    overlap = iou(a, b)
    span = torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])
    distance = ((a[..., :2] + a[..., 2:] - b[..., :2] - b[..., 2:]) / 2).square().sum(-1)
    size_a = (a[..., 2:] - a[..., :2]).clamp(min=1e-4)
    size_b = (b[..., 2:] - b[..., :2]).clamp(min=1e-4)
    shape = 4 / torch.pi ** 2 * (torch.atan(size_a[..., 0] / size_a[..., 1]) -
                                 torch.atan(size_b[..., 0] / size_b[..., 1])).square()
    with torch.no_grad():
        weight = shape / (1 - overlap + shape + 1e-7)
    return overlap - distance / span.square().sum(-1).clamp(min=1e-7) - weight * shape


def contain(points: Tensor, boxes: Tensor) -> Tensor:
    """Whether points `[A, 2]`, or `[..., 1, A, 2]`, lie in boxes `[..., M, 4]`: `[..., M, A]`."""
    boxes = boxes.unsqueeze(-2)
    return ((points > boxes[..., :2]) & (points < boxes[..., 2:])).all(-1)
