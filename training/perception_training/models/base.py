"""What every network is: something that answers, can say what its answers cost, and exports."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn, Tensor

from perception_training.config.loss import LossConfig
from perception_training.data.sample import Batch
from perception_training.models.form import AS_BUILT, Form

Raw = dict[str, Any]
"""What a network says while it learns: head -> tensor, or names -> tensors."""
Terms = dict[str, dict[str, Tensor]]
"""Head -> term of its loss -> scalar, not yet weighted."""
BOXES = 'boxes'
"""Name of the head that finds boxes; semantic heads have their own names."""
SCORES = 'scores'
MASKS = 'masks'
PROTOTYPES = 'prototypes'
"""Names of the other answers of the head that finds boxes."""


@dataclass(frozen=True)
class BoxTask:
    """The head `boxes`."""

    classes: tuple[str, ...]
    suppressed: bool = True
    """Whether its answers need non-maximum suppression."""
    sorts: bool = False
    """Whether it orders its boxes itself: then equal scores may swap rows."""
    masks: Literal['none', 'boxes', 'prototypes'] = 'none'
    """Whether its boxes have masks: relative to them, or as weights of prototypes."""


@dataclass(frozen=True)
class SemanticTask:
    """A semantic head."""

    classes: tuple[str, ...]
    stride: int
    """Input pixels per cell of its logits."""


class Network(nn.Module, ABC):
    """
    A network of any number of heads.

    `forward` takes float32 `[B, 3, H, W]` RGB in 0..1, H and W multiples of 32; a network that
    wants other numbers turns them itself.
    """

    tasks: Mapping[str, BoxTask | SemanticTask]
    """Head -> what it says."""
    pretrained: tuple[str, ...] = ()
    """Beginnings of the names of layers that did not start from random weights."""
    form: Form = AS_BUILT
    """What was pruned or rounded after it was built."""

    @abstractmethod
    def forward(self, images: Tensor) -> Raw:
        """Give what losses and answers are made of."""

    @abstractmethod
    def losses(self, raw: Raw, batch: Batch, config: LossConfig) -> Terms:
        """
        Say what it costs, in float32.

        Every term hangs on its head's weights even where a batch has no label for it, so that
        all processes of a run reduce the same gradients.
        """

    @abstractmethod
    def answers(self, raw: Raw) -> dict[str, Tensor]:
        """
        Give what is exported and measured.

        `boxes` float32 `[B, A, 4]` x1 y1 x2 y2 in input pixels and `scores` `[B, A, C]`
        probabilities, where there are boxes. Where these have masks, `masks` `[B, A, h, w]` 0..1
        relative to the boxes; or `masks` `[B, A, P]`, weights of `prototypes` `[B, P, h, w]` over
        the whole input, whose sum is a logit. Logits `[B, C, H / stride, W / stride]` of each
        semantic head, under its name.
        """
