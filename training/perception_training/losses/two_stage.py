"""What proposals and regions cost, in shapes that do not depend on the data."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
import torch.nn.functional as F

from perception_training.data.sample import Batch, NO_BOX, UNKNOWN_BOX
from perception_training.losses.boxes import contain, iou
from perception_training.losses.everywhere import mean_count
from perception_training.models.regions import ANCHOR_CODE, BOX_CODE, encode, pick

ANCHORS, ANCHORS_SHARE = 256, 0.5
"""Anchors of an image that are learnt, and the share of them that may hold objects."""
ANCHOR_IOU = (0.3, 0.7)
"""Below the first an anchor is background, from the second on it holds an object."""
REGION_IOU, REGIONS_SHARE = 0.5, 0.25
BETA = 1 / 9
"""Where the box loss turns from a square into a line."""


class Truth(NamedTuple):
    """True boxes, at least one row of them."""

    boxes: Tensor
    """`[B, M, 4]`"""
    labels: Tensor
    """`[B, M]`; -1 = unknown region, -2 = no box"""


class Sampled(NamedTuple):
    """Rows that are learnt, positive ones first: all `[B, S]`."""

    index: Tensor
    positive: Tensor
    used: Tensor
    """The others fill up, for there are too few."""


class Regions(NamedTuple):
    """Regions that the second stage learns from, positive ones first."""

    boxes: Tensor
    """`[B, S, 4]`"""
    positive: Tensor
    """bool `[B, S]`"""
    used: Tensor
    """bool `[B, S]`"""
    objects: Tensor
    """int64 `[B, S]`, place of its true box in the batch's rows"""
    most: int
    """Positive ones are among the first so many."""


def proposal_losses(raw: Mapping[str, Any], batch: Batch) -> dict[str, Tensor]:
    """
    Give the terms of the first stage, divided by the anchors that are learnt by all processes.

    Anchors in unknown regions are no background, and in images in which some class is not labelled
    none is.

    :param raw: see `models.two_stage.TwoStageHead`.
    """
    objectness, codes = raw['objectness'].float(), raw['codes'].float()
    anchors, truth = raw['anchors'], truth_of(batch)
    overlap = _overlap(anchors, truth)
    best, objects = overlap.max(1)
    # A true box that no anchor covers well has the one that covers it best.
    closest = (overlap == overlap.amax(2, keepdim=True)) & (overlap > 0)
    positive = (best >= ANCHOR_IOU[1]) | closest.any(1)
    negative = (best < ANCHOR_IOU[0]) & ~positive & batch.labelled.all(1, keepdim=True)
    negative &= ~_unknown(anchors, truth)
    found = sample(positive, negative, ANCHORS, ANCHORS_SHARE)
    norm = mean_count(found.used.sum())
    each = F.binary_cross_entropy_with_logits(
        objectness.gather(1, found.index), found.positive.float(), reduction='none')
    true = pick(truth.boxes, objects.gather(1, found.index))
    wanted = encode(true, anchors[found.index], ANCHOR_CODE)
    fit = F.smooth_l1_loss(pick(codes, found.index), wanted, reduction='none', beta=BETA).sum(-1)
    return {'proposal_objectness': (each * found.used).sum() / norm,
            'proposal_box': _masked(fit, found.positive).sum() / norm}


@torch.no_grad()
def sample_regions(boxes: Tensor, valid: Tensor, batch: Batch, count: int) -> Regions:
    """
    Choose the regions that the second stage learns from, of proposals and true boxes.

    :param boxes: `[B, R, 4]`.
    :param valid: bool `[B, R]`.
    :param count: S, of an image.
    """
    truth = truth_of(batch)
    boxes = torch.cat((boxes, truth.boxes), 1)
    valid = torch.cat((valid, truth.labels >= 0), 1)
    best, objects = _overlap(boxes, truth).max(1)
    positive = (best >= REGION_IOU) & valid
    negative = (best < REGION_IOU) & valid & ~_unknown(boxes, truth)
    found = sample(positive, negative, count, REGIONS_SHARE)
    return Regions(pick(boxes, found.index), found.positive, found.used,
                   objects.gather(1, found.index), _most(found.index.shape[1], REGIONS_SHARE))


def region_losses(found: Regions, logits: Tensor, codes: Tensor, masks: Tensor,
                  batch: Batch) -> dict[str, Tensor]:
    """
    Give the terms of the second stage: sums, divided by the regions of all processes.

    A region without an object in an image where some classes are not labelled may be background
    or one of these: what it costs is that it is anything else. A mask is learnt from outlines
    alone.

    :param logits: `[B * S, 1 + C]`; `codes` `[B * S, (1 + C) * 4]`.
    :param masks: logits `[B * P, 1 + C, h, w]` of the first P regions.
    """
    truth, count = truth_of(batch), found.boxes.shape[1]
    classes = logits.shape[1]
    logits, codes = logits.unflatten(0, (-1, count)), codes.unflatten(0, (-1, count))
    labels = truth.labels.gather(1, found.objects).clamp(min=0) + 1
    own = F.one_hot(labels, classes).bool()
    nothing = torch.cat((torch.ones_like(batch.labelled[:, :1]), ~batch.labelled), 1)
    allowed = torch.where(found.positive[..., None], own, nothing[:, None])
    each = logits.logsumexp(-1) - logits.masked_fill(~allowed, -torch.inf).logsumexp(-1)
    norm = mean_count(found.used.sum())
    wanted = encode(pick(truth.boxes, found.objects), found.boxes, BOX_CODE)
    of_class = (codes.unflatten(2, (classes, 4)) * own[..., None]).sum(2)
    fit = F.smooth_l1_loss(of_class, wanted, reduction='none', beta=BETA).sum(-1)
    return {'region_classes': (each * found.used).sum() / norm,
            'region_box': _masked(fit, found.positive).sum() / norm,
            'region_masks': _mask_loss(found, labels, masks, batch)}


def _mask_loss(found: Regions, labels: Tensor, masks: Tensor, batch: Batch) -> Tensor:
    """Give the cross-entropy of the masks of positive regions, a mean over cells and regions."""
    most, cells = found.most, masks.shape[-1]
    masks = masks.unflatten(0, (-1, most))
    if batch.masks.numel() == 0:
        mean_count(masks.new_zeros(()))  # other processes may have outlines, and count with all
        return 0 * masks.sum()
    own = labels[:, :most, None, None, None].expand(-1, -1, -1, cells, cells)
    logits = masks.gather(2, own)[:, :, 0]
    wanted = outlines_in(batch, found.objects[:, :most], found.boxes[:, :most], cells)
    each = F.binary_cross_entropy_with_logits(logits, wanted, reduction='none').mean((2, 3))
    learnt = found.positive[:, :most] & batch.has_masks[:, None]
    return _masked(each, learnt).sum() / mean_count(learnt.sum())


def outlines_in(batch: Batch, objects: Tensor, boxes: Tensor, cells: int) -> Tensor:
    """
    Cut the outlines of objects `[B, P]` out of boxes `[B, P, 4]`: 0 or 1 `[B, P, cells, cells]`.

    Sampled bilinearly in the middle of each cell.
    """
    height, width = batch.masks.shape[2:]
    chosen = batch.masks.gather(1, objects[..., None, None].expand(-1, -1, height, width))
    share = (torch.arange(cells, device=boxes.device) + 0.5) / cells
    size = boxes.new_tensor((batch.images.shape[2], batch.images.shape[1]))
    low, high = boxes[..., :2] / size, boxes[..., 2:] / size
    points = low.unsqueeze(2) + share[:, None] * (high - low).unsqueeze(2)  # [B, P, cells, 2]
    x, y = (points * 2 - 1).unbind(-1)
    grid = torch.stack((x.unsqueeze(2).expand(-1, -1, cells, -1),
                        y.unsqueeze(3).expand(-1, -1, -1, cells)), -1)
    sampled = F.grid_sample(chosen.flatten(0, 1).unsqueeze(1).float(), grid.flatten(0, 1),
                            padding_mode='border', align_corners=False)
    return (sampled.unflatten(0, objects.shape)[:, :, 0] >= 0.5).float()


def truth_of(batch: Batch) -> Truth:
    """Give the true boxes of a batch; one that is none where there are none at all."""
    if batch.boxes.shape[1]:
        return Truth(batch.boxes, batch.labels)
    images = len(batch.images)
    return Truth(batch.boxes.new_zeros(images, 1, 4),
                 batch.labels.new_full((images, 1), NO_BOX))


@torch.no_grad()
def sample(positive: Tensor, negative: Tensor, count: int, share: float) -> Sampled:
    """
    Choose rows at random: positive ones up to a share of the count, the others negative.

    :param positive: bool `[B, A]`, and `negative` too; a row may be neither.
    """
    noise = torch.rand(positive.shape, device=positive.device)
    count = min(count, positive.shape[1])
    key = torch.where(negative, noise, -1)
    best = torch.where(positive, noise, -1).topk(_most(count, share))
    # Chosen positive rows come before all negative ones.
    first = torch.where(best.values >= 0, best.values + 2, key.gather(1, best.indices))
    chosen = key.scatter(1, best.indices, first).topk(count)
    return Sampled(chosen.indices, chosen.values >= 2, chosen.values >= 0)


def _most(count: int, share: float) -> int:
    return max(int(count * share), 1)


def _overlap(boxes: Tensor, truth: Truth) -> Tensor:
    """Give the IoU `[B, M, A]` of boxes `[A, 4]` or `[B, A, 4]` with objects; 0 with all else."""
    overlap = iou(boxes if boxes.ndim == 2 else boxes[:, None], truth.boxes[:, :, None])
    return overlap * (truth.labels >= 0)[..., None]


def _unknown(boxes: Tensor, truth: Truth) -> Tensor:
    """Say which boxes `[A, 4]` or `[B, A, 4]` have their middle in an unknown region."""
    middle = (boxes[..., :2] + boxes[..., 2:]) / 2
    regions = torch.where((truth.labels == UNKNOWN_BOX)[..., None], truth.boxes, 0)
    return contain(middle if middle.ndim == 2 else middle[:, None], regions).any(1)


def _masked(values: Tensor, kept: Tensor) -> Tensor:
    # Not a product: what fills up may be infinite.
    return torch.where(kept, values, 0)
