"""One image with what is known of it, and a batch of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor
from typing_extensions import Self

UNKNOWN_BOX = -1
"""Label of a region that may hold something: neither an object nor background."""
NO_BOX = -2
"""Label of a row that fills up a batch."""
UNKNOWN = 255
"""Id of a pixel whose class nobody knows."""
EXCLUDED = 254
"""Id of a pixel that is only known to be none of the loss's `none_of` classes."""
MASK_STRIDE = 4
"""Input pixels per cell of instance masks in a batch."""


@dataclass(frozen=True)
class Sample:
    """
    One image and what is known of it; arrays are never written to after construction.

    What is not labelled is said, so that sets with different labels can train one network: it
    is neither an object nor background, and costs nothing.
    """

    name: str
    """Where it comes from."""
    image: NDArray[np.uint8]
    """`[H, W, 3]` RGB."""
    boxes: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 4), np.float32))
    """`[N, 4]` x1 y1 x2 y2 in pixels, (0, 0) = outer corner of the top-left pixel."""
    labels: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    """`[N]` class ids; -1 = something may be here."""
    labelled: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))
    """`[C]` classes of which every object in the image has its box; `[0]` = none of them."""
    masks: NDArray[np.uint8] | None = None
    """`[N, H, W]` 0 or 1, one for each box; None = objects have no outlines."""
    semantic: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)
    """Head -> `[H, W]` class ids; 255 = unknown. A head that is missing is unknown everywhere."""
    semantic_weight: float = 1.0
    """What a labelled pixel counts."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.image.shape[1], self.image.shape[0]

    def with_boxes(self, boxes: Sequence[Any], labels: Sequence[int]) -> Self:
        """Return it with other boxes, without masks."""
        return replace(self, boxes=np.array(boxes, np.float32).reshape(-1, 4),
                       labels=np.array(labels, np.int64), masks=None)


@dataclass(frozen=True)
class Batch:
    """Images and answers as tensors on one device, M = most boxes of an image."""

    names: tuple[str, ...]
    images: Tensor
    """uint8 `[B, H, W, 3]` RGB."""
    boxes: Tensor
    """float32 `[B, M, 4]` in input pixels."""
    labels: Tensor
    """int64 `[B, M]`; -1 = unknown region, -2 = no box."""
    labelled: Tensor
    """bool `[B, C]`."""
    masks: Tensor
    """uint8 `[B, M, H / 4, W / 4]` 0 or 1; `[B, M, 0, 0]` where no image has them."""
    has_masks: Tensor
    """bool `[B]`."""
    semantic: dict[str, Tensor]
    """Head -> uint8 `[B, H, W]`."""
    semantic_weight: Tensor
    """float32 `[B]`."""

    def _each(self, change: Any) -> Self:
        values = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, Tensor):
                values[item.name] = change(value)
            elif isinstance(value, dict):
                values[item.name] = {key: change(tensor) for key, tensor in value.items()}
        return replace(self, **values)

    def to(self, device: torch.device) -> Self:
        """Return it on a device; a copy from pinned memory does not wait."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Self:
        """Return it in page-locked memory; the loader calls this."""
        return self._each(lambda tensor: tensor.pin_memory())


def collate(samples: Sequence[Sample], classes: int, heads: Sequence[str]) -> Batch:
    """
    Put samples of one size together.

    :param classes: how many classes of boxes there are.
    :param heads: semantic heads that the batch must have.
    """
    count, most = len(samples), max(len(s.boxes) for s in samples)
    height, width = samples[0].image.shape[:2]
    boxes = np.zeros((count, most, 4), np.float32)
    labels = np.full((count, most), NO_BOX, np.int64)
    labelled = np.zeros((count, classes), np.bool_)
    has_masks = np.array([s.masks is not None for s in samples])
    cells = (height // MASK_STRIDE, width // MASK_STRIDE) if has_masks.any() else (0, 0)
    masks = np.zeros((count, most, *cells), np.uint8)
    semantic = {head: np.full((count, height, width), UNKNOWN, np.uint8) for head in heads}
    middle = slice(MASK_STRIDE // 2, None, MASK_STRIDE)
    for i, sample in enumerate(samples):
        n = len(sample.boxes)
        boxes[i, :n], labels[i, :n] = sample.boxes, sample.labels
        if len(sample.labelled):
            labelled[i] = sample.labelled
        if sample.masks is not None:
            masks[i, :n] = sample.masks[:, middle, middle]
        for head in heads:
            if head in sample.semantic:
                semantic[head][i] = sample.semantic[head]
    return Batch(
        tuple(s.name for s in samples), torch.from_numpy(np.stack([s.image for s in samples])),
        torch.from_numpy(boxes), torch.from_numpy(labels), torch.from_numpy(labelled),
        torch.from_numpy(masks), torch.from_numpy(has_masks),
        {head: torch.from_numpy(value) for head, value in semantic.items()},
        torch.tensor([s.semantic_weight for s in samples]))


def to_input(images: Tensor) -> Tensor:
    """Turn uint8 `[B, H, W, 3]` into float32 `[B, 3, H, W]` in 0..1, channels-last in memory."""
    return images.permute(0, 3, 1, 2).float().div_(255.0)
