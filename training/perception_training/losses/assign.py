"""Which anchor answers for which true box."""

from typing import NamedTuple

import torch
from torch import Tensor
import torch.nn.functional as F

from perception_training.config.loss import DetectionLossConfig
from perception_training.data.sample import UNKNOWN_BOX
from perception_training.losses.boxes import contain, iou


class Assignment(NamedTuple):
    """Of each anchor of each image: all `[B, A]`."""

    positive: Tensor
    """bool"""
    box: Tensor
    """int64 place of its box in the batch's rows; 0 where negative"""
    quality: Tensor
    """float32 0..1, what its score shall say; 0 where negative"""
    ignored: Tensor
    """bool, neither positive nor background"""


@torch.no_grad()
def assign(boxes: Tensor, scores: Tensor, centres: Tensor, strides: Tensor, truth: Tensor,
           labels: Tensor, config: DetectionLossConfig) -> Assignment:
    """
    Give every true box the anchors that already answer best for it (TOOD, Feng et al. 2021).

    :param boxes: predictions `[B, A, 4]`.
    :param scores: probabilities `[B, A, C]`.
    :param centres: `[A, 2]`, and `strides` `[A, 1]`, in pixels.
    :param truth: `[B, M, 4]`.
    :param labels: `[B, M]`, -1 = unknown region: background inside it costs nothing; -2 = none.
    """
    batch, count = boxes.shape[:2]
    if truth.shape[1] == 0:
        nothing = torch.zeros((batch, count), dtype=torch.bool, device=boxes.device)
        return Assignment(nothing, nothing.long(), nothing.float(), nothing)
    unknown = (contain(centres, truth) & (labels == UNKNOWN_BOX)[..., None]).any(1)
    overlap = iou(boxes[:, None], truth[:, :, None])
    candidate = _near(centres, strides, truth) & (labels >= 0)[..., None]
    named = labels.clamp(min=0)[..., None].expand(-1, -1, count)
    score = scores.transpose(1, 2).gather(1, named)
    aligned = (score.pow(config.alpha) * overlap.pow(config.beta) + 1e-12) * candidate
    best = aligned.topk(min(config.topk, count), dim=2)
    chosen = torch.zeros_like(candidate)
    chosen.scatter_(2, best.indices, best.values > 0)
    # An anchor that several boxes claim belongs to the one that it covers best.
    owner = torch.where(chosen, overlap + 1e-6, -1.0).argmax(1)
    positive = chosen.any(1)
    chosen &= F.one_hot(owner, truth.shape[1]).transpose(1, 2).bool()
    aligned = aligned * chosen
    top = (overlap * chosen).amax(2, keepdim=True)
    quality = (aligned / aligned.amax(2, keepdim=True).clamp(min=1e-12) * top).amax(1)
    return Assignment(positive, owner * positive, quality * positive, unknown & ~positive)


def _near(centres: Tensor, strides: Tensor, truth: Tensor) -> Tensor:
    """Whether anchors lie in boxes: bool `[B, M, A]`."""
    middle = (truth[..., :2] + truth[..., 2:]) / 2
    # A box smaller than a cell may hold no centre: it is widened to the cells around it.
    reach = torch.maximum((truth[..., 2:] - truth[..., :2]).unsqueeze(2) / 2, strides * 0.75)
    return ((centres - middle.unsqueeze(2)).abs() < reach).all(-1)
