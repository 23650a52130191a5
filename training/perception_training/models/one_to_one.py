"""
Boxes without suppression: consistent dual assignment, written from its published description.

Of two box heads of one layout, the first learns with several anchors for each box, and teaches
the trunk; the second learns with the one anchor that the same measure puts first, so that
only one answer for each object is left (YOLOv10, Wang et al. 2024).
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from perception_training.config.loss import LossConfig
from perception_training.data.sample import Batch
from perception_training.models.base import BoxTask, Raw
from perception_training.models.composed import Features, Head
from perception_training.models.heads import BoxHead


class OneToOneHead(Head):
    """
    A head that answers once for each object, beside one that only teaches.

    Raw answers: `one`, and where it may learn `many`, each as its head gives them.
    """

    task: BoxTask

    def __init__(self, many: BoxHead, one: BoxHead) -> None:
        super().__init__()
        self.task = replace(one.task, suppressed=False)
        self.many, self.one = many, one

    def forward(self, features: Features) -> Raw:
        # A gradient of one anchor a box would only disturb what the trunk learns from many.
        # Outside of training gradients say what matters to the answers, as pruning asks.
        seen = {s: x.detach() for s, x in features.items()} if self.training else features
        raw: Raw = {'one': self.one(seen)}
        if self.training or torch.is_grad_enabled():
            raw['many'] = self.many(features)
        return raw

    def losses(self, raw: Any, batch: Batch, config: LossConfig) -> dict[str, Tensor]:
        single = config.model_copy(update={
            'detection': config.detection.model_copy(update={'topk': 1})})
        many = self.many.losses(raw['many'], batch, config)
        one = self.one.losses(raw['one'], batch, single)
        return {name: value + one[name] for name, value in many.items()}

    def answers(self, raw: Any) -> dict[str, Tensor]:
        return self.one.answers(raw['one'])
