"""
What the answers of queries cost: the set criteria of transformers, on partly labelled images.

Each criterion matches queries to true boxes one to one (Hungarian algorithm), and compares what
every decoder layer says. Here it is told what is not labelled, and counts over all processes.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers.loss.loss_d_fine import DFineLoss
from transformers.loss.loss_rt_detr import RTDetrLoss

from perception_training.data.sample import Batch, UNKNOWN_BOX
from perception_training.losses.boxes import contain
from perception_training.losses.everywhere import mean_count

Target = dict[str, Tensor]
"""Of an image: `class_labels` `[N]`, `boxes` `[N, 4]` and `unknown` `[U, 4]`, cx cy w h and
x1 y1 x2 y2 relative to the image, and `labelled` `[C]`."""
TERMS = {'loss_vfl': 'varifocal', 'loss_bbox': 'l1', 'loss_giou': 'giou',
         'loss_fgl': 'fine_grained', 'loss_ddf': 'self_distillation'}
SILENT = -1e4
"""Logit of a score that costs nothing: its probability, loss and gradient are exactly zero."""


def targets_of(batch: Batch) -> list[Target]:
    """Give what the library wants to be told of each image of a batch."""
    height, width = batch.images.shape[1:3]
    size = batch.boxes.new_tensor([width, height, width, height])
    targets = []
    for boxes, labels, labelled in zip(batch.boxes / size, batch.labels, batch.labelled,
                                       strict=True):
        true = boxes[labels >= 0]
        targets.append({
            'class_labels': labels[labels >= 0],
            'boxes': torch.cat(((true[:, :2] + true[:, 2:]) / 2, true[:, 2:] - true[:, :2]), 1),
            'unknown': boxes[labels == UNKNOWN_BOX], 'labelled': labelled})
    return targets


class _PartlyLabelled:
    """A criterion to whose class scores nothing is background that is not labelled."""

    def loss_labels_vfl(self, outputs: Mapping[str, Tensor], targets: list[Target],
                        indices: Any, num_boxes: float, log: bool = True) -> dict[str, Tensor]:
        """
        Leave out the scores of classes that an image does not label, and in unknown regions.

        A query that is matched to a box learns its class in any case.
        """
        logits = outputs['logits']
        labelled = torch.stack([target['labelled'] for target in targets])
        known = labelled[:, None] & ~_in_unknown(outputs['pred_boxes'], targets)[..., None]
        for image, (queries, boxes) in enumerate(indices):
            known[image, queries, targets[image]['class_labels'][boxes]] = True
        silenced = {**outputs, 'logits': torch.where(known, logits, SILENT)}
        found: dict[str, Tensor] = super().loss_labels_vfl(
            silenced, targets, indices, num_boxes, log)
        return found


class RtDetrCriterion(_PartlyLabelled, RTDetrLoss):
    """That of RT-DETR."""


class DFineCriterion(_PartlyLabelled, DFineLoss):
    """That of D-FINE."""


def query_losses(criterion: RTDetrLoss, outputs: dict[str, Any],
                 targets: list[Target]) -> dict[str, Tensor]:
    """
    Give each kind of term, summed over all layers, not weighted.

    Terms are divided by the number of true boxes over all processes; `self_distillation` is the
    library's mean over the queries of this process.

    :param outputs: `logits` and `pred_boxes`, and those of other layers and of denoising, as the
        criterion names them.
    """
    if not torch.isfinite(outputs['pred_boxes']).all():
        # The library would call such boxes badly written; the run shall say that it diverged.
        return {'varifocal': outputs['pred_boxes'].sum()}
    criterion.weight_dict = dict.fromkeys(TERMS, 1.0)
    own = outputs['logits'].new_tensor(sum(len(target['class_labels']) for target in targets))
    share = own.clamp(min=1) / mean_count(own)
    sums: dict[str, Tensor] = {}
    for name, value in criterion(outputs, targets).items():
        term = TERMS['_'.join(name.split('_')[:2])]
        factor = 1.0 if term == 'self_distillation' else share
        sums[term] = sums.get(term, 0.0) + value * factor
    return sums


def _in_unknown(boxes: Tensor, targets: list[Target]) -> Tensor:
    """Whether the middle of a query's box lies in an unknown region: bool `[B, Q]`."""
    return torch.stack([
        contain(centres.detach(), target['unknown']).any(0)
        for centres, target in zip(boxes[..., :2], targets, strict=True)])
