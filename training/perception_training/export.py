"""From a checkpoint to ONNX, and from there to a bundle that explains itself."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
import onnx
import onnxruntime
import torch
from torch import nn, Tensor

from perception_training.model import RoadScene

OPSET = 20
BATCH_SIZES = (1, 2, 5)
INPUT = 'images'
OUTPUTS = ('boxes', 'scores', 'scene')
# Relative to the greatest magnitude of each output; runtimes add in different orders.
TOLERANCE = 1e-4


class Deployed(nn.Module):
    """The network with one probability per class: `boxes`, `scores` `[B, A, 5]`, `scene`."""

    def __init__(self, model: RoadScene) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        boxes, objectness, classes, scene = self.model(images)
        return boxes, classes.sigmoid() * objectness.sigmoid().unsqueeze(-1), scene


def export_onnx(model: RoadScene, path: Path, width: int, height: int) -> None:
    """
    Write the network as ONNX and prove it against torch at batch sizes 1, 2 and 5.

    Input `images` float32 `[B, 3, H, W]` RGB 0..1. Outputs: `boxes` float32 `[B, A, 4]` x1 y1 x2
    y2 in input pixels, (0, 0) = outer corner of the top-left pixel; `scores` float32 `[B, A, 5]`
    probabilities; `scene` float32 `[B, 11, H/4, W/4]` logits. B is dynamic.

    :raises ValueError: a dimension or a number differs from torch's; nothing is left at `path`.
    """
    deployed = Deployed(model).eval().to(memory_format=torch.contiguous_format)
    example = torch.zeros(2, 3, height, width)
    program = torch.onnx.export(
        deployed, (example,), dynamo=True, opset_version=OPSET, input_names=[INPUT],
        output_names=list(OUTPUTS), dynamic_shapes=({0: torch.export.Dim('batch', min=1)},),
        verbose=False)
    part = path.with_suffix('.part.onnx')
    onnx.save(program.model_proto, part)
    try:
        check_dimensions(part, deployed, width, height)
        differences = compare(part, deployed, width, height)
        worst = max(differences.values())
        if not worst <= TOLERANCE:
            raise ValueError(f'expected differences up to {TOLERANCE}, got {differences}')
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def check_dimensions(path: Path, deployed: Deployed, width: int, height: int) -> None:
    """
    Require a dynamic batch and fixed other dimensions, as torch gives them.

    :raises ValueError: an exporter that fixed the batch says nothing itself.
    """
    graph = onnx.load(path).graph
    with torch.no_grad():
        expected = {INPUT: (3, height, width)}
        answers = deployed(torch.zeros(1, 3, height, width))
        expected |= {n: tuple(a.shape[1:]) for n, a in zip(OUTPUTS, answers, strict=True)}
    for value in (*graph.input, *graph.output):
        batch, *rest = value.type.tensor_type.shape.dim
        if batch.HasField('dim_value') or tuple(d.dim_value for d in rest) != expected[value.name]:
            got = [d.dim_param or d.dim_value for d in (batch, *rest)]
            raise ValueError(f'{value.name}: expected [B, {expected[value.name]}], got {got}')


def compare(path: Path, deployed: Deployed, width: int, height: int,
            batches: Sequence[int] = BATCH_SIZES) -> dict[str, float]:
    """Give each output's greatest difference from torch, relative to its greatest magnitude."""
    session = onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider'])
    rng = np.random.default_rng(0)
    worst = dict.fromkeys(OUTPUTS, 0.0)
    for batch in batches:
        images = rng.random((batch, 3, height, width), np.float32)
        with torch.no_grad():
            expected = deployed(torch.from_numpy(images))
        got: list[NDArray[np.float32]] = session.run(list(OUTPUTS), {INPUT: images})
        for name, wanted, came in zip(OUTPUTS, expected, got, strict=True):
            if tuple(wanted.shape) != came.shape:
                raise ValueError(f'{name} at batch {batch}: expected {tuple(wanted.shape)}, '
                                 f'got {came.shape}')
            scale = max(1.0, float(wanted.abs().max()))
            worst[name] = max(worst[name], float(np.abs(wanted.numpy() - came).max()) / scale)
    return worst
