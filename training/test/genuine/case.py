"""
What an export of somebody else's model is: how it is made, and what it must come to.

Beside each network stands its library's own way from images to answers, in torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn, Tensor
from torch.nn import functional

from perception_ros.bundles.options import HeadOptions, ImportOptions
from perception_ros.bundles.proof import synthetic_images

WIDTH, HEIGHT, CLASSES = 160, 128, 3
NAMES = ('car', 'person', 'bus')
CELLS, QUERIES_KEPT = 28, 40
SHARED = Path(__file__).resolve().parents[3] / 'shared' / 'data'
IMAGENET = {'mean': (0.485, 0.456, 0.406), 'std': (0.229, 0.224, 0.225)}


@dataclass
class Found:
    """Boxes [N, 4] in input pixels, scores [N], class ids [N], masks [N, 28, 28] in the boxes."""

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    masks: np.ndarray | None = None

    @classmethod
    def of(cls, boxes: Tensor, scores: Tensor, labels: Tensor,
           masks: Tensor | None = None) -> Found:
        """Take what a bundle publishes out of a library's answer: the best 300 of any worth."""
        order = scores.argsort(descending=True)
        order = order[scores[order] >= 0.001][:300]
        parts = [None if part is None else part[order].numpy() for part in (boxes, scores, labels,
                                                                            masks)]
        return cls(*parts)


Boxes = Callable[[nn.Module, Tensor], list[Found]]
Heads = Callable[[nn.Module, Tensor], dict[str, Tensor]]


@dataclass(frozen=True)
class Genuine:
    """A model, how it is exported, what it must be recognised as, and its library's answers."""

    family: str
    library: str
    """Distribution that makes the network; 'ours': none does."""
    build: Callable[[], nn.Module]
    outputs: tuple[str, ...]
    boxes: Boxes | None = None
    heads: Heads | None = None
    """Head -> class ids [B, h, w]."""
    opset: int = 17
    dynamo: bool = False
    dynamic: bool = True
    batched: bool = True
    """Whether the network takes a batch; torchvision's detectors take a list of images."""
    deployed: bool = False
    """Whether there is a second input, orig_target_sizes."""
    half: bool = False
    """Then the library's own answers in torch's half precision are no measure: only the proof is.
    """
    nhwc: bool = False
    order: str = 'rgb'
    divisor: float = 255.0
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    size: tuple[int, int] = (WIDTH, HEIGHT)
    options: dict[str, Any] = field(default_factory=dict)
    says: str = ''
    """What the import must tell."""
    slow: bool = False
    """Whether its export takes longer than a test may."""

    @property
    def exporter(self) -> str:
        """How it was exported, in words."""
        words = ['dynamo' if self.dynamo else 'legacy', f'opset {self.opset}']
        words += ['no batch' if not self.batched else
                  'dynamic batch' if self.dynamic else 'batch of 1']
        return ', '.join(words + ['FP16'] * self.half + ['NHWC'] * self.nhwc)

    def import_options(self) -> ImportOptions:
        """Return what a user would say at import."""
        pixels = {'order': self.order, 'divisor': self.divisor, 'mean': self.mean,
                  'std': self.std}
        options = dict(self.options)
        if 'heads' in options:
            options['heads'] = {name: HeadOptions(output, stride=stride)
                                for name, (output, stride) in options['heads'].items()}
        return ImportOptions(pixels=pixels, **options)

    def tensor(self, images: np.ndarray) -> Tensor:
        """Normalise uint8 [B, H, W, 3] RGB as the library does: float32 [B, 3, H, W], or NHWC."""
        pixels = torch.from_numpy(images.astype(np.float32))
        if self.order == 'bgr':
            pixels = pixels.flip(-1)
        pixels = (pixels / self.divisor - torch.tensor(self.mean)) / torch.tensor(self.std)
        return pixels if self.nhwc else pixels.permute(0, 3, 1, 2).contiguous()

    def model(self) -> nn.Module:
        """Return the network, with the same weights at every call."""
        torch.manual_seed(0)
        return settle(self.build(), self.tensor(pictures(*self.size)), self.batched)

    def write(self, model: nn.Module, path: Path) -> Path:
        """Export it."""
        example = self.tensor(pictures(*self.size))[:2 if self.dynamo and self.dynamic else 1]
        if self.half:
            model, example = model.half(), example.half()
        arguments: tuple[Any, ...] = (example,) if self.batched else ([example[0]],)
        inputs = ['images']
        if self.deployed:
            inputs.append('orig_target_sizes')
            arguments += (torch.tensor([self.size]).expand(len(example), 2),)
        extra: dict[str, Any] = {}
        if self.dynamic and self.batched and self.dynamo:
            extra['dynamic_shapes'] = ({0: torch.export.Dim('batch', min=1, max=64)},)
        elif self.dynamic and self.batched:
            extra['dynamic_axes'] = {name: {0: 'batch'} for name in (*inputs, *self.outputs)}
        with torch.no_grad():
            torch.onnx.export(
                model, arguments, str(path), input_names=inputs,
                output_names=list(self.outputs), opset_version=self.opset, dynamo=self.dynamo,
                verbose=False, **extra)
        if self.half:
            model.float()
        return path


def pictures(width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """Return five real pictures where there are any, else synthetic ones: uint8 [5, H, W, 3]."""
    import cv2

    paths = sorted((SHARED / 'idd' / 'images').glob('*.jpg'))[::40][:5]
    if len(paths) < 5:
        return synthetic_images(5, height, width, seed=3)
    return np.stack([
        cv2.cvtColor(cv2.resize(cv2.imread(str(path)), (width, height)), cv2.COLOR_BGR2RGB)
        for path in paths])


def settle(model: nn.Module, images: Tensor, batched: bool) -> nn.Module:
    """Give normalisation layers the statistics of real pictures, as training would."""
    model.eval()
    layers = [part for part in model.modules() if isinstance(part, nn.BatchNorm2d)]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None
        layer.train()
    with torch.no_grad():
        model(images if batched else list(images))
    for layer in layers:
        # Damped: deep fresh networks make whole pixels of a last digit's difference, and what
        # torch says in float32 is then no measure for what ONNX Runtime says.
        layer.running_var *= 2
    return model.eval()


def louder(layers: list[nn.Module], gain: float, bias: float | None = None) -> None:
    """Make random heads say something: fresh ones give all cells nearly the same score."""
    for layer in layers:
        layer.weight.data *= gain
        if bias is not None:
            layer.bias.data.fill_(bias)


def cut(whole: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Sample masks [N, h, w] over the input at 28 x 28 places of their boxes, bilinearly."""
    share = (torch.arange(CELLS) + 0.5) / CELLS
    low, side = boxes[:, :2, None], (boxes[:, 2:] - boxes[:, :2])[:, :, None]
    x, y = ((low + share * side) / torch.tensor(size)[None, :, None] * 2 - 1).unbind(1)
    grid = torch.stack((x[:, None].expand(-1, CELLS, -1), y[:, :, None].expand(-1, -1, CELLS)), -1)
    sampled = functional.grid_sample(
        whole[:, None], grid, padding_mode='border', align_corners=False)
    return sampled[:, 0]


def compare(want: Found, boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray,
            masks: np.ndarray | None) -> tuple[float, float, float, int, int]:
    """
    Pair a library's boxes with a bundle's, one to one.

    Returns the greatest differences (px of a side, of a score, of a mask on average), how many
    boxes have no partner, and how many there are.
    """
    count = int((scores > 0).sum())
    free = np.ones(count, bool)
    worst = np.zeros(3)
    lonely = max(count, len(want.scores))
    for i, (box, score, label) in enumerate(zip(want.boxes, want.scores, want.labels,
                                                strict=True)):
        away = np.abs(boxes[:count] - box).max(1)
        limit = 0.1 * max(float((box[2:] - box[:2]).max()) / 100, 1)
        near = free & (labels[:count] == label) & (away <= limit)
        near &= np.abs(scores[:count] - score) <= 0.002
        if not near.any():
            continue
        best = int(np.where(near, away, np.inf).argmin())
        free[best], lonely = False, lonely - 1
        mask = 0.0
        if want.masks is not None and masks is not None:
            mask = float(np.abs(masks[best] - want.masks[i]).mean())
        worst = np.maximum(worst, (away[best], abs(scores[best] - score), mask))
    return *map(float, worst), lonely, max(count, len(want.scores))
