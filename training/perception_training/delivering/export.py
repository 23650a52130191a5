"""From a network to ONNX, compared with torch before it is believed."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
import onnx
import onnxruntime
import torch
from torch import nn, Tensor

from perception_training.errors import TrainingError
from perception_training.models import BOXES, BoxTask, MASKS, Network, SCORES

OPSET = 20
BATCH_SIZES = (1, 2, 5)
INPUT = 'images'
# Relative to the greatest magnitude of each output; runtimes add in different orders.
TOLERANCE = 1e-4


class Deployed(nn.Module):
    """A network with its answers alone, in a fixed order."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.network.answers(self.network(images)).values())


def export_onnx(network: Network, path: Path, width: int, height: int) -> tuple[str, ...]:
    """
    Write a network as ONNX and prove it against torch at batch sizes 1, 2 and 5.

    Input `images` float32 `[B, 3, H, W]` RGB 0..1, B dynamic; outputs as `Network.answers` names
    them. Rows that a network orders itself may swap places where scores are equal, so that they
    cannot be compared here number by number: of these only the dimensions are checked, and
    `proof` pairs what the bundle makes of them.

    :returns: the names of the outputs.
    :raises TrainingError: a dimension or a number differs from torch's; nothing is left at `path`.
    """
    deployed = Deployed(network).eval().to('cpu', memory_format=torch.contiguous_format)
    example = torch.zeros(2, 3, height, width)
    with torch.no_grad():
        names = tuple(network.answers(network(example)))
    program = torch.onnx.export(
        _traced(deployed, example), dynamo=True, opset_version=OPSET, input_names=[INPUT],
        output_names=list(names), verbose=False)
    assert program is not None
    part = path.with_suffix('.part.onnx')
    onnx.save(program.model_proto, part)
    try:
        check_dimensions(part, deployed, names, width, height)
        differences = compare(part, deployed, names, width, height)
        fixed = [differences[name] for name in names if name not in sorted_answers(network)]
        if not max(fixed, default=0.0) <= TOLERANCE:
            raise TrainingError(f'expected differences up to {TOLERANCE}, got {differences}')
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return names


def sorted_answers(network: Network) -> tuple[str, ...]:
    """Name the answers whose rows the network orders itself."""
    task = network.tasks.get(BOXES)
    return (BOXES, SCORES, MASKS) if isinstance(task, BoxTask) and task.sorts else ()


def _traced(deployed: Deployed, example: Tensor) -> torch.export.ExportedProgram:
    """
    Give the graph of a network for any batch.

    Left to itself, the exporter falls back to a fixed batch, and says nothing.
    """
    shapes = ({0: torch.export.Dim('batch', min=1)},)
    try:
        return torch.export.export(deployed, (example,), dynamic_shapes=shapes, strict=False)
    except torch._dynamo.exc.UserError:
        # Detectors of transformers ask for the length of a batch as a number of Python's; only
        # the slower way of reading their code keeps it open.
        return torch.export.export(deployed, (example,), dynamic_shapes=shapes, strict=True)


def check_dimensions(path: Path, deployed: Deployed, names: Sequence[str], width: int,
                     height: int) -> None:
    """
    Require a dynamic batch and fixed other dimensions, as torch gives them.

    :raises TrainingError: an exporter that fixed the batch says nothing itself.
    """
    graph = onnx.load(path).graph
    with torch.no_grad():
        expected: dict[str, tuple[int, ...]] = {INPUT: (3, height, width)}
        answers = deployed(torch.zeros(1, 3, height, width))
        expected |= {n: tuple(a.shape[1:]) for n, a in zip(names, answers, strict=True)}
    for value in (*graph.input, *graph.output):
        batch, *rest = value.type.tensor_type.shape.dim
        if batch.HasField('dim_value') or tuple(d.dim_value for d in rest) != expected[value.name]:
            got = [d.dim_param or d.dim_value for d in (batch, *rest)]
            raise TrainingError(f'{value.name}: expected [B, {expected[value.name]}], got {got}')


def compare(path: Path, deployed: Deployed, names: Sequence[str], width: int, height: int,
            batches: Sequence[int] = BATCH_SIZES) -> dict[str, float]:
    """Give each output's greatest difference from torch, relative to its greatest magnitude."""
    session = onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider'])
    rng = np.random.default_rng(0)
    worst = dict.fromkeys(names, 0.0)
    for batch in batches:
        images = rng.random((batch, 3, height, width), np.float32)
        with torch.no_grad():
            expected = deployed(torch.from_numpy(images))
        got: list[NDArray[np.float32]] = session.run(list(names), {INPUT: images})
        for name, wanted, came in zip(names, expected, got, strict=True):
            if tuple(wanted.shape) != came.shape:
                raise TrainingError(f'{name} at batch {batch}: expected {tuple(wanted.shape)}, '
                                    f'got {came.shape}')
            scale = max(1.0, float(wanted.abs().max()))
            worst[name] = max(worst[name], float(np.abs(wanted.numpy() - came).max()) / scale)
    return worst
