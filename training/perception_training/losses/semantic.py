"""What label maps cost."""

from collections.abc import Sequence

import torch
from torch import Tensor
import torch.nn.functional as F

from perception_training.config.loss import SemanticLossConfig
from perception_training.data.sample import EXCLUDED
from perception_training.losses.everywhere import mean_count


def semantic_losses(logits: Tensor, ids: Tensor, weight: Tensor, config: SemanticLossConfig,
                    classes: Sequence[str]) -> dict[str, Tensor]:
    """
    Give the terms with a weight above zero, over labelled pixels.

    `cross_entropy` and `focal` are means over the pixels of all processes, `dice` and `lovasz`
    over the classes that this process's batch shows.

    :param logits: `[B, C, h, w]`.
    :param ids: uint8 `[B, h, w]`; 255 costs nothing, 254 costs only what is called one of
        `config.none_of`.
    :param weight: `[B]`, what a pixel of each image counts.
    """
    logits, ids = logits.float(), ids.long()
    labelled = ids < len(classes)
    target = torch.where(labelled, ids, -100)
    excluded = (ids == EXCLUDED) if config.none_of else torch.zeros_like(labelled)
    pixel = weight[:, None, None] * (labelled | excluded)
    norm = mean_count(pixel.sum())
    balance = logits.new_tensor(config.class_weights) if config.class_weights else None
    terms = {}
    if config.cross_entropy:
        each = F.cross_entropy(logits, target, balance, ignore_index=-100, reduction='none')
        if config.none_of:
            wrong = logits.softmax(1)[:, [classes.index(n) for n in config.none_of]].sum(1)
            # Kept away from log 0.
            each = torch.where(excluded, -torch.log1p(-wrong.clamp(max=1 - 1e-4)), each)
        terms['cross_entropy'] = (each * pixel).sum() / norm
    if config.focal:
        log_p = F.cross_entropy(logits, target, ignore_index=-100, reduction='none')
        each = (1 - torch.exp(-log_p)).square() * log_p
        terms['focal'] = (each * pixel).sum() / norm
    if config.dice:
        terms['dice'] = dice(logits.softmax(1), ids, labelled)
    if config.lovasz:
        terms['lovasz'] = lovasz(logits.softmax(1), ids, labelled)
    return terms


def dice(shares: Tensor, ids: Tensor, labelled: Tensor) -> Tensor:
    """
    Give one less the Dice overlap, a mean over the classes that are there.

    :param shares: probabilities `[B, C, h, w]`.
    """
    wanted = F.one_hot(torch.where(labelled, ids, 0), shares.shape[1]).movedim(-1, 1)
    wanted = wanted * labelled[:, None]
    shares = shares * labelled[:, None]
    inner = (shares * wanted).sum((0, 2, 3))
    both = shares.sum((0, 2, 3)) + wanted.sum((0, 2, 3))
    present = wanted.sum((0, 2, 3)) > 0
    each = 1 - 2 * inner / both.clamp(min=1e-6)
    return (each * present).sum() / present.sum().clamp(min=1)


def lovasz(shares: Tensor, ids: Tensor, labelled: Tensor) -> Tensor:
    """
    Give the Lovász-Softmax loss (Berman et al. 2018), a mean over the classes that are there.

    It is the convex surrogate of one less the IoU: errors, largest first, weighed by how much
    the IoU loses as each of them joins.
    """
    shares = shares.movedim(1, -1)[labelled]
    ids = ids[labelled]
    costs = shares.sum() * 0
    present = ids.unique()
    for name in present:
        wanted = (ids == name).float()
        errors, order = (wanted - shares[:, name]).abs().sort(descending=True)
        wanted = wanted[order]
        total = wanted.sum()
        union = total + (1 - wanted).cumsum(0)
        lost = 1 - (total - wanted.cumsum(0)) / union
        steps = torch.cat((lost[:1], lost[1:] - lost[:-1]))
        costs = costs + (errors * steps).sum()
    return costs / max(len(present), 1)
