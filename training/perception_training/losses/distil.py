"""What it costs to answer otherwise than a teacher."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
import torch.nn.functional as F

from perception_training.config.compress import DistilConfig
from perception_training.config.loss import LossConfig
from perception_training.data.sample import Batch
from perception_training.losses.boxes import complete_iou
from perception_training.losses.everywhere import mean_count
from perception_training.models.base import BOXES, Raw, SCORES

_EDGE = 1e-6


@dataclass(frozen=True)
class Taught:
    """What a teacher says of a batch, in the classes that it shares with the student."""

    semantic: Mapping[str, Tensor]
    """Head -> float32 logits `[B, K, h, w]`, at any stride."""
    places: Mapping[str, Tensor]
    """Head (`boxes`, or a semantic one) -> int64 `[K]`, its classes among the student's."""
    anchors: tuple[Tensor, Tensor] | None = None
    """Boxes `[B, A, 4]` in input pixels and scores `[B, A, K]`, anchor by anchor."""
    boxes: tuple[Tensor, Tensor] | None = None
    """Chosen boxes `[B, M, 4]` and the student's labels `[B, M]`, as in a batch."""


def distil_losses(network: Any, raw: Raw, batch: Batch, taught: Taught, config: DistilConfig,
                  loss: LossConfig) -> dict[str, Tensor]:
    """
    Give what each head that the teacher knows costs, weighted.

    :param network: `models.composed.Composed`.
    """
    costs = {}
    for head, places in taught.places.items():
        # Head by head: those that choose among boxes take long to answer.
        part = network.heads[head]
        if head != BOXES:
            costs[head] = config.semantic * label_maps(
                part.answers(raw[head])[head], taught.semantic[head], places, config.temperature)
        elif taught.anchors is not None:
            said = part.answers(raw[head])
            costs[head] = config.boxes * anchors(
                said[BOXES], said[SCORES], taught.anchors, places)
        else:
            costs[head] = config.boxes * _chosen_boxes(network, raw, batch, taught, loss)
    return costs


def _chosen_boxes(network: Any, raw: Raw, batch: Batch, taught: Taught,
                  config: LossConfig) -> Tensor:
    """Give the cost of boxes as if those that the teacher chose were the true ones."""
    assert taught.boxes is not None
    labelled = torch.zeros_like(batch.labelled)
    labelled[:, taught.places[BOXES]] = True
    boxes, labels = taught.boxes
    pseudo = replace(batch, boxes=boxes, labels=labels, labelled=labelled,
                     masks=batch.masks.new_zeros((*labels.shape, *batch.masks.shape[2:])),
                     has_masks=torch.zeros_like(batch.has_masks))
    terms = network.heads[BOXES].losses(raw[BOXES], pseudo, config)
    return torch.stack([
        getattr(config.detection, name) * value for name, value in terms.items()]).sum()


def label_maps(logits: Tensor, taught: Tensor, places: Tensor, temperature: float) -> Tensor:
    """
    Give the Kullback-Leibler divergence of softened classes (Hinton et al. 2015), a pixel's mean.

    Among the teacher's classes alone: what it does not know, the student is free to say.

    :param logits: the student's `[B, C, h, w]`.
    :param taught: the teacher's `[B, K, h', w']`.
    :param places: `[K]`, the teacher's classes among the student's.
    """
    logits = logits.float()[:, places] / temperature
    if taught.shape[2:] != logits.shape[2:]:
        taught = F.interpolate(taught, size=logits.shape[2:], mode='bilinear', align_corners=False)
    log_p, log_q = (taught / temperature).log_softmax(1), logits.log_softmax(1)
    # Softer answers have smaller gradients, by the square.
    return (log_p.exp() * (log_p - log_q)).sum(1).mean() * temperature ** 2


def anchors(boxes: Tensor, scores: Tensor, taught: tuple[Tensor, Tensor],
            places: Tensor) -> Tensor:
    """
    Give the divergence of scores, and how far boxes lie apart where the teacher sees something.

    Both are sums over anchors, divided by the sum of the teacher's best scores over all processes.

    :param boxes: the student's `[B, A, 4]` in input pixels, and `scores` `[B, A, C]`.
    """
    wanted, truth = taught[1].clamp(_EDGE, 1 - _EDGE), taught[0]
    got = scores.float()[..., places].clamp(_EDGE, 1 - _EDGE)
    apart = wanted * (wanted / got).log() + (1 - wanted) * ((1 - wanted) / (1 - got)).log()
    seen = taught[1].amax(-1)
    far = (1 - complete_iou(boxes.float(), truth)) * seen
    return (apart.sum() + far.sum()) / mean_count(seen.sum())


def soft_one_hot(ids: Tensor, classes: int, sure: float = 0.9) -> Tensor:
    """
    Give logits `[B, K, h, w]` of class ids `[B, h, w]`, of which a teacher is this sure.

    Ids beyond the classes leave all as likely.
    """
    known = F.one_hot(ids.long().clamp(max=classes), classes + 1)[..., :classes]
    others = (1 - sure) / max(classes - 1, 1)
    high = torch.log(torch.tensor(sure / others if classes > 1 else 1.0, device=ids.device))
    return known.movedim(-1, 1).float() * high
