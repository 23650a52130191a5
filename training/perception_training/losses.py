"""What a prediction costs: task-aligned assignment, box, class and scene losses."""

from typing import NamedTuple

import torch
from torch import Tensor
import torch.nn.functional as F

from perception_training.config import LossConfig
from perception_training.data import BACKDROP, Targets, UNKNOWN_SCENE
from perception_training.model import SCENE_CLASSES

GROUND_TRAFFIC = [SCENE_CLASSES.index('road'), SCENE_CLASSES.index('car')]
# Rare classes count more: 1 / ln(1.1 + share) of CamVid train's pixels (Paszke et al. 2016),
# scaled to a mean of one over pixels.
CLASS_WEIGHTS = (0.86, 0.71, 2.60, 0.60, 1.90, 1.24, 2.60, 2.50, 1.80, 2.70, 2.80)


class Assignment(NamedTuple):
    """Which anchor answers for which box: all `[A]`."""

    positive: Tensor
    """bool"""
    box: Tensor
    """int64 index of the box, where positive"""
    quality: Tensor
    """float32 0..1, what the objectness shall say; 0 where negative"""
    ignored: Tensor
    """bool, neither positive nor background"""


def assign(boxes: Tensor, scores: Tensor, centres: Tensor, strides: Tensor, truth: Tensor,
           labels: Tensor, config: LossConfig) -> Assignment:
    """
    Give every true box the anchors that already answer best for it (TOOD, Feng et al. 2021).

    :param boxes: predictions `[A, 4]`.
    :param scores: probabilities `[A, C]`.
    :param centres: `[A, 2]`, and `strides` `[A, 1]`, in pixels.
    :param truth: `[N, 4]`.
    :param labels: `[N]`, -1 = unknown region: background inside it costs nothing.
    """
    count = len(centres)
    known = labels >= 0
    unknown = truth[~known]
    ignored = (_inside(centres, unknown).any(1) if len(unknown)
               else torch.zeros(count, dtype=torch.bool))
    indices = known.nonzero()[:, 0]
    if len(indices) == 0:
        nothing = torch.zeros(count, dtype=torch.bool)
        return Assignment(nothing, torch.zeros(count, dtype=torch.int64), torch.zeros(count),
                          ignored)
    real = truth[known]
    overlap = iou(boxes[None, :, :], real[:, None, :])
    # A box smaller than a cell may hold no centre: it is widened to the cells around it.
    middle = (real[:, :2] + real[:, 2:]) / 2
    reach = torch.maximum((real[:, 2:] - real[:, :2])[:, None] / 2, strides[None] * 0.75)
    candidate = ((centres[None] - middle[:, None]).abs() < reach).all(-1)
    aligned = (scores[:, labels[known]].t().pow(config.alpha) * overlap.pow(config.beta) +
               1e-12) * candidate
    best = aligned.topk(min(config.topk, count), dim=1)
    chosen = torch.zeros_like(candidate)
    chosen.scatter_(1, best.indices, best.values > 0)
    # An anchor that several boxes claim belongs to the one that it covers best.
    owner = torch.where(chosen, overlap + 1e-6, -1.0).argmax(0)
    positive = chosen.any(0)
    chosen &= F.one_hot(owner, len(real)).t().bool()
    aligned = aligned * chosen
    top = (overlap * chosen).amax(1, keepdim=True)
    quality = (aligned / aligned.amax(1, keepdim=True).clamp(min=1e-12) * top).amax(0)
    return Assignment(positive, indices[owner], quality * positive, ignored & ~positive)


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


def scene_loss(logits: Tensor, scene: Tensor, weight: Tensor) -> Tensor:
    """
    Weighted cross-entropy over what is labelled.

    :param logits: `[B, 11, h, w]`.
    :param scene: int64 `[B, h, w]`; 255 costs nothing, 254 costs only what is called road or car.
    :param weight: `[B]`, what a pixel of each image counts.
    """
    classes = logits.new_tensor(CLASS_WEIGHTS)
    labelled = scene < logits.shape[1]
    target = torch.where(labelled, scene, -100)
    each = F.cross_entropy(logits, target, classes, ignore_index=-100, reduction='none')
    wrong = logits.softmax(1)[:, GROUND_TRAFFIC].sum(1)
    # Kept away from log 0.
    each = torch.where(scene == BACKDROP, -torch.log1p(-wrong.clamp(max=1 - 1e-4)), each)
    pixel = weight[:, None, None] * (scene != UNKNOWN_SCENE)
    return (each * pixel).sum() / pixel.sum().clamp(min=1)


def total_loss(outputs: tuple[Tensor, ...], targets: Targets, centres: Tensor, strides: Tensor,
               config: LossConfig) -> tuple[Tensor, dict[str, float]]:
    """Sum the terms over a batch; also give each term, unweighted, for the record."""
    boxes, objectness, classes, scene = outputs
    batch = []
    with torch.no_grad():
        scores = classes.sigmoid() * objectness.sigmoid()[..., None]
        for i, truth in enumerate(targets.boxes):
            batch.append(assign(boxes[i], scores[i], centres, strides, truth, targets.labels[i],
                                config))
    quality = torch.stack([a.quality for a in batch])
    valid = torch.stack([~a.ignored for a in batch])
    norm = quality.sum().clamp(min=1)
    terms = {'objectness': (F.binary_cross_entropy_with_logits(
        objectness, quality, reduction='none') * valid).sum() / norm}
    box_sum, class_sum = boxes.sum() * 0, boxes.sum() * 0
    for i, a in enumerate(batch):
        if a.positive.any():
            which = a.box[a.positive]
            share = a.quality[a.positive]
            truth = targets.boxes[i][which]
            box_sum = box_sum + ((1 - complete_iou(boxes[i, a.positive], truth)) * share).sum()
            wanted = F.one_hot(targets.labels[i][which], classes.shape[-1]).float()
            class_sum = class_sum + (F.binary_cross_entropy_with_logits(
                classes[i, a.positive], wanted, reduction='none').sum(-1) * share).sum()
    terms |= {'box': box_sum / norm, 'classes': class_sum / norm,
              'scene': scene_loss(scene, targets.scene, targets.scene_weight)}
    total = (config.objectness * terms['objectness'] + config.box * terms['box'] +
             config.classes * terms['classes'] + config.scene * terms['scene'])
    return total, {k: float(v.detach()) for k, v in terms.items()}


def _inside(points: Tensor, boxes: Tensor) -> Tensor:
    """Whether points `[A, 2]` lie in boxes `[N, 4]`: `[A, N]`."""
    return ((points[:, None] > boxes[None, :, :2]) &
            (points[:, None] < boxes[None, :, 2:])).all(-1)
