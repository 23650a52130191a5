"""What boxes cost."""

from typing import Any

import torch
from torch import Tensor
import torch.nn.functional as F

from perception_training.config.loss import DetectionLossConfig
from perception_training.data.sample import Batch
from perception_training.losses.assign import assign, Assignment
from perception_training.losses.boxes import complete_iou
from perception_training.losses.everywhere import mean_count
from perception_training.losses.masks import prototype_loss


def detection_losses(raw: dict[str, Any], batch: Batch,
                     config: DetectionLossConfig) -> dict[str, Tensor]:
    """
    Give the terms `box`, `classes`, and what the head has of `objectness`, `distances`, `masks`.

    All but `masks` are sums over anchors, divided by the sum of qualities over all processes. What
    is not labelled costs nothing: unknown regions, and classes that an image's data set does not
    label.

    :param raw: see `models.heads.BoxHead`.
    """
    boxes, logits = raw['boxes'].float(), raw['classes'].float()
    objectness = raw['objectness'].float() if 'objectness' in raw else None
    scores = logits.detach().sigmoid()
    if objectness is not None:
        scores = scores * objectness.detach().sigmoid().unsqueeze(-1)
    found = assign(boxes.detach(), scores, raw['centres'], raw['strides'], batch.boxes,
                   batch.labels, config)
    norm = mean_count(found.quality.sum())
    truth, labels = _of(found, batch)
    # Boxes of all anchors are compared, and the negatives weighed with nothing: shapes that
    # depend on the data would keep compilers and processes waiting for each other.
    fit = 1 - complete_iou(boxes, torch.where(found.positive[..., None], truth, boxes.detach()))
    terms = {'box': (fit * found.quality).sum() / norm}
    wanted = F.one_hot(labels, logits.shape[-1]).float()
    if objectness is not None:
        each = F.binary_cross_entropy_with_logits(logits, wanted, reduction='none').sum(-1)
        terms['classes'] = (each * found.quality).sum() / norm
        known = batch.labelled.all(1, keepdim=True) & ~found.ignored | found.positive
        each = F.binary_cross_entropy_with_logits(objectness, found.quality, reduction='none')
        terms['objectness'] = (each * known).sum() / norm
    else:
        known = (batch.labelled[:, None] & ~found.ignored[..., None]) | (
            found.positive[..., None] & (wanted > 0))
        each = F.binary_cross_entropy_with_logits(
            logits, wanted * found.quality[..., None], reduction='none')
        terms['classes'] = (each * known).sum() / norm
    if 'distances' in raw:
        sides = _sides(truth, raw['centres'], raw['strides'])
        each = _distribution(raw['distances'].float(), sides)
        terms['distances'] = (each * found.quality).sum() / norm
    if 'prototypes' in raw:
        terms['masks'] = prototype_loss(raw, batch, found)
    return terms


def _of(found: Assignment, batch: Batch) -> tuple[Tensor, Tensor]:
    """Give each anchor's true box `[B, A, 4]` and label `[B, A]`; of negatives anything."""
    if batch.boxes.shape[1] == 0:
        nothing = torch.zeros_like(found.box)
        return nothing[..., None].expand(-1, -1, 4).float(), nothing
    truth = batch.boxes.gather(1, found.box[..., None].expand(-1, -1, 4))
    return truth, batch.labels.gather(1, found.box).clamp(min=0)


def _sides(boxes: Tensor, centres: Tensor, strides: Tensor) -> Tensor:
    """Give distances `[B, A, 4]` from anchors to left, top, right and bottom, in strides."""
    return torch.cat((centres - boxes[..., :2], boxes[..., 2:] - centres), -1) / strides


def _distribution(logits: Tensor, sides: Tensor) -> Tensor:
    """
    Give distribution focal loss `[B, A]` (Li et al. 2020): both neighbours of a side share it.

    :param logits: `[B, A, 4 x bins]`.
    :param sides: `[B, A, 4]` in strides; beyond the last bin they count as the last.
    """
    logits = logits.unflatten(-1, (4, -1))
    bins = logits.shape[-1]
    sides = sides.clamp(0, bins - 1.01)
    low = sides.long()
    share = sides - low
    log_p = logits.log_softmax(-1)
    at_low = log_p.gather(-1, low[..., None])[..., 0]
    at_high = log_p.gather(-1, low[..., None] + 1)[..., 0]
    return -(at_low * (1 - share) + at_high * share).mean(-1)
