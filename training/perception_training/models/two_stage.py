"""The head of Mask R-CNN: proposals, then a class, a better box and a mask for each region."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.rpn import RPNHead

from perception_ros.bundles.contract import LEAST_SCORE
from perception_training.config.loss import LossConfig
from perception_training.config.model import MaskRcnnConfig
from perception_training.data.sample import Batch
from perception_training.losses.two_stage import (
    proposal_losses,
    region_losses,
    Regions,
    sample_regions,
)
from perception_training.models.base import BOXES, BoxTask, MASKS, Raw, SCORES
from perception_training.models.composed import Features, Head
from perception_training.models.regions import (
    ANCHOR_CODE,
    anchors_at,
    BOX_CODE,
    clip,
    decode,
    pick,
    POOLED,
    region_features,
    survivors,
)

STRIDES = (*POOLED, 64)
RATIOS = (0.5, 1.0, 2.0)
BOX_CELLS, MASK_CELLS = 7, 14
OUT = -1e4
"""Logit of a proposal that is none."""
SECOND_CANDIDATES = 512
"""Pairs of region and class, best first, that take part in the suppression at the end."""


class Proposals(NamedTuple):
    """Regions that may hold something."""

    boxes: Tensor
    """`[B, R, 4]` in input pixels, within the image."""
    valid: Tensor
    """bool `[B, R]`; the others fill up."""


class TwoStageHead(Head):
    """
    Mask R-CNN (He et al. 2017) with torchvision's layers, selecting in fixed shapes.

    Raw answers: `features` by stride, `objectness` `[B, A]` logits and `codes` `[B, A, 4]` of
    `anchors` `[A, 4]`, level after level of `counts`.
    """

    task: BoxTask
    cells: Tensor

    def __init__(self, channels: int, classes: tuple[str, ...], config: MaskRcnnConfig) -> None:
        super().__init__()
        self.task = BoxTask(classes, suppressed=False, sorts=True, masks='boxes')
        self._config = config
        count = len(classes) + 1  # 0 is the background
        generator = AnchorGenerator(tuple((px,) for px in config.anchors_px), (RATIOS,) * 5)
        self.register_buffer('cells', torch.stack(generator.cell_anchors), persistent=False)
        self.rpn = RPNHead(channels, len(RATIOS))
        self.box_head = TwoMLPHead(channels * BOX_CELLS ** 2, config.hidden)
        self.box_predictor = FastRCNNPredictor(config.hidden, count)
        self.mask_head = MaskRCNNHeads(channels, (channels,) * 4, 1)
        self.mask_predictor = MaskRCNNPredictor(channels, channels, count)

    def forward(self, features: Features) -> Raw:
        levels = [features[stride] for stride in STRIDES]
        shapes = [(level.shape[2], level.shape[3]) for level in levels]
        logits, codes = self.rpn(levels)
        anchors = anchors_at(shapes, STRIDES, self.cells)
        return {
            'features': {stride: features[stride] for stride in POOLED},
            'objectness': torch.cat([x.permute(0, 2, 3, 1).flatten(1) for x in logits], 1),
            'codes': torch.cat([_rows(x) for x in codes], 1), 'anchors': torch.cat(anchors),
            'counts': [len(level) for level in anchors]}

    @torch.no_grad()
    def proposals(self, raw: Mapping[str, Any]) -> Proposals:
        """Give the best regions that do not overlap much, of all levels."""
        config = self._config
        boxes, scores, levels = [], [], []
        parts = zip(*(raw[name].float().split(raw['counts'], 1)
                      for name in ('objectness', 'codes')),
                    raw['anchors'].split(raw['counts']), strict=True)
        for number, (logits, codes, anchors) in enumerate(parts):
            best = logits.topk(min(config.candidates, logits.shape[1]))
            boxes.append(decode(pick(codes, best.indices), anchors[best.indices], ANCHOR_CODE))
            scores.append(best.values)
            levels.append(torch.full((best.values.shape[1],), number, device=logits.device))
        found = clip(torch.cat(boxes, 1), *self._size(raw))
        logits = torch.cat(scores, 1)
        # A level's boxes come best first, and other levels leave them alone.
        kept = survivors(found, torch.cat(levels), _has_area(found), config.proposal_iou)
        best = torch.where(kept, logits, OUT).topk(min(config.proposals, logits.shape[1]))
        return Proposals(pick(found, best.indices), best.values > OUT / 2)

    def answers(self, raw: Any) -> dict[str, Tensor]:
        boxes, scores, labels = self._found(raw)
        classes = torch.arange(len(self.task.classes), device=labels.device)
        chosen = (labels.unsqueeze(-1) == classes).to(scores.dtype)
        logits = self.masks(raw['features'], boxes)[:, 1:]
        # Of each region the mask of its class alone.
        own = (logits * chosen.flatten(0, 1)[..., None, None]).sum(1)
        return {BOXES: boxes, SCORES: chosen * scores.unsqueeze(-1),
                MASKS: own.sigmoid().unflatten(0, (-1, boxes.shape[1]))}

    def _found(self, raw: Mapping[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
        """Give the best boxes `[B, N, 4]`, their scores `[B, N]` and labels `[B, N]`."""
        config, count = self._config, len(self.task.classes)
        proposals = self.proposals(raw)
        regions = proposals.boxes.shape[1]
        logits, codes = (rows.unflatten(0, (-1, regions))
                         for rows in self.boxes(raw['features'], proposals.boxes))
        scores = logits.softmax(-1)[..., 1:] * proposals.valid.unsqueeze(-1)
        codes = codes.unflatten(2, (count + 1, 4))[:, :, 1:]
        boxes = decode(codes, proposals.boxes.unsqueeze(2), BOX_CODE)
        best = scores.flatten(1).topk(min(SECOND_CANDIDATES, regions * count))
        boxes = clip(pick(boxes.flatten(1, 2), best.indices), *self._size(raw))
        classes = torch.arange(count, device=boxes.device).repeat(regions)
        labels = classes[best.indices]
        alive = (best.values >= LEAST_SCORE) & _has_area(boxes)
        kept = survivors(boxes, labels, alive, config.nms_iou)
        best = torch.where(kept, best.values, 0).topk(min(config.detections, kept.shape[1]))
        return pick(boxes, best.indices), best.values, labels.gather(1, best.indices)

    def boxes(self, features: Mapping[int, Tensor], boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Give logits `[B * R, 1 + C]` and codes `[B * R, (1 + C) * 4]` of regions `[B, R, 4]`."""
        logits, codes = self.box_predictor(
            self.box_head(region_features(features, boxes, BOX_CELLS)))
        return logits.float(), codes.float()

    def masks(self, features: Mapping[int, Tensor], boxes: Tensor) -> Tensor:
        """Give mask logits `[B * R, 1 + C, 28, 28]` of regions `[B, R, 4]`."""
        logits: Tensor = self.mask_predictor(
            self.mask_head(region_features(features, boxes, MASK_CELLS)))
        return logits.float()

    def losses(self, raw: Any, batch: Batch, config: LossConfig) -> dict[str, Tensor]:
        found: Regions = sample_regions(*self.proposals(raw), batch, self._config.samples)
        features = raw['features']
        kind = features[POOLED[0]].dtype
        # Losses are in float32; the layers that they run are as precise as all others.
        with torch.autocast(found.boxes.device.type, kind, enabled=kind != torch.float32):
            logits, codes = self.boxes(features, found.boxes)
            masks = self.masks(features, found.boxes[:, :found.most])
        return {**proposal_losses(raw, batch), **region_losses(found, logits, codes, masks, batch)}

    def _size(self, raw: Mapping[str, Any]) -> tuple[int, int]:
        """Give height and width of the input in pixels."""
        finest = raw['features'][POOLED[0]]
        return finest.shape[2] * POOLED[0], finest.shape[3] * POOLED[0]


def _rows(codes: Tensor) -> Tensor:
    """Turn `[B, S * 4, h, w]` into `[B, h * w * S, 4]`."""
    return codes.unflatten(1, (-1, 4)).permute(0, 3, 4, 1, 2).flatten(1, 3)


def _has_area(boxes: Tensor) -> Tensor:
    """Say which boxes `[B, K, 4]` are more than a line: bool `[B, K]`."""
    return (boxes[..., 2:] - boxes[..., :2] >= 1e-2).all(-1)
