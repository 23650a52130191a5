"""What masks cost that are sums of prototypes."""

from typing import Any

import torch
from torch import Tensor
import torch.nn.functional as F

from perception_training.data.sample import Batch, MASK_STRIDE
from perception_training.losses.assign import Assignment
from perception_training.losses.everywhere import mean_count

MOST = 100
"""Anchors of an image whose masks are learnt: each of them needs as many cells as a prototype."""


def prototype_loss(raw: dict[str, Any], batch: Batch, found: Assignment) -> Tensor:
    """
    Give the cross-entropy of the masks of positive anchors, inside of their true boxes.

    A mean over the cells of a box, so that small objects count as much as large ones, and over
    the anchors of all processes, weighed by their quality beside the best of their object. Images
    without outlines cost nothing (Bolya et al. 2019 have masks, but neither weights nor margin).

    :param raw: `masks` `[B, A, P]`, `prototypes` `[B, P, H / 4, W / 4]`.
    """
    weights, prototypes = raw['masks'].float(), raw['prototypes'].float()
    if batch.masks.numel() == 0:
        mean_count(weights.new_zeros(()))  # other processes may have outlines, and count with all
        return 0 * (weights.sum() + prototypes.sum())
    best = _beside_the_best(found, batch.boxes.shape[1]).topk(min(MOST, weights.shape[1]))
    share = best.values * batch.has_masks[:, None]
    rows = weights.gather(1, best.indices[..., None].expand(-1, -1, weights.shape[2]))
    height, width = prototypes.shape[2:]
    logits = (rows @ prototypes.flatten(2)).unflatten(2, (height, width))
    objects = found.box.gather(1, best.indices)
    wanted = batch.masks.gather(1, objects[..., None, None].expand(-1, -1, height, width))
    inside = _inside(batch.boxes.gather(1, objects[..., None].expand(-1, -1, 4)), height, width)
    each = F.binary_cross_entropy_with_logits(logits, wanted.float(), reduction='none') * inside
    cost = each.sum((2, 3)) / inside.sum((2, 3)).clamp(min=1)
    return (cost * share).sum() / mean_count(share.sum())


def _beside_the_best(found: Assignment, objects: int) -> Tensor:
    """Give the quality of each anchor relative to the best of its object: `[B, A]`."""
    best = found.quality.new_zeros(len(found.quality), objects)
    best = best.scatter_reduce(1, found.box, found.quality, 'amax')
    return found.quality / best.gather(1, found.box).clamp(min=1e-12)


def _inside(boxes: Tensor, height: int, width: int) -> Tensor:
    """
    Say which cells lie in boxes or touch them: bool `[B, K, height, width]`.

    One cell around them counts too: a box that is found may be a little larger than the true one.
    """
    low, high = boxes[..., :2] / MASK_STRIDE - 1, boxes[..., 2:] / MASK_STRIDE + 1
    x = torch.arange(width, device=boxes.device) + 0.5
    y = torch.arange(height, device=boxes.device) + 0.5
    columns = (x > low[..., :1]) & (x < high[..., :1])
    rows = (y > low[..., 1:]) & (y < high[..., 1:])
    return rows[..., None] & columns[..., None, :]
