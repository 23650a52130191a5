"""The points that boxes are counted from."""

from collections.abc import Sequence

import torch
from torch import Tensor


def anchors(height: int, width: int, strides: Sequence[int],
            device: torch.device | str = 'cpu') -> tuple[Tensor, Tensor]:
    """
    Give the middles of cells `[A, 2]` (x, y) in pixels and their strides `[A, 1]`.

    Level after level, each row by row.
    """
    centres, sizes = [], []
    for stride in strides:
        y, x = torch.meshgrid(
            torch.arange(height // stride, device=device),
            torch.arange(width // stride, device=device), indexing='ij')
        centres.append((torch.stack((x, y), -1).reshape(-1, 2) + 0.5) * stride)
        sizes.append(torch.full((x.numel(), 1), float(stride), device=device))
    return torch.cat(centres), torch.cat(sizes)


def anchors_of(levels: dict[int, Tensor], strides: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Give the anchors of features by stride."""
    first = levels[strides[0]]
    height, width = first.shape[2] * strides[0], first.shape[3] * strides[0]
    return anchors(height, width, strides, first.device)
