"""The weights of a YOLOX-nano ONNX file, for a network of its layout."""

from collections.abc import Iterator
from pathlib import Path

import onnx
from onnx import numpy_helper
import torch
from torch import nn, Tensor

from perception_ros.bundles.labels import COCO
from perception_training.errors import CheckpointError
from perception_training.models.heads import ObjectnessHead
from perception_training.models.nano import NanoTrunk


def load_yolox_nano(trunk: NanoTrunk, head: ObjectnessHead | None, path: Path) -> None:
    """
    Start trunk and box head from a YOLOX-nano ONNX file.

    Its convolutions stand in the graph in the order in which ours are built, so they are
    paired one by one and every shape is checked. Three things differ and are converted: the
    stem (space-to-depth of BGR 0..255, then 3x3) becomes one 6x6 convolution on RGB 0..1, the
    class rows are picked from COCO's 80, and box centres count from the cell's middle.

    :param head: None: the trunk's weights alone are taken.
    :raises CheckpointError: the file does not hold this architecture, or COCO not a class.
    """
    if not path.is_file():
        raise CheckpointError(f'{path}: expected the ONNX file of YOLOX-nano; set model.start, or '
                              'model.start=null for random weights')
    graph = onnx.load(path).graph
    values = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    nodes = [n for n in graph.node if n.op_type == 'Conv']
    ours = list(_convolutions(trunk))
    rows: list[int] = []
    if head is not None:
        rows = _rows(head.task.classes)
        ours += _convolutions(head)
    else:
        nodes = nodes[:len(ours)]
    if len(nodes) != len(ours):
        raise CheckpointError(
            f'expected {len(ours)} convolutions in {path.name}, got {len(nodes)}')
    classes = [level.classes for level in head.levels] if head else []
    boxes = [level.box for level in head.levels] if head else []
    with torch.no_grad():
        for node, conv in zip(nodes, ours, strict=True):
            weight = torch.tensor(values[node.input[1]])
            bias = torch.tensor(values[node.input[2]])
            if conv is trunk.backbone.stem:
                weight = _unfold_stem(weight)
            elif conv in classes:
                weight, bias = weight[rows], bias[rows]
            elif conv in boxes:
                bias = bias - torch.tensor([0.5, 0.5, 0.0, 0.0])
            if weight.shape != conv.weight.shape:
                raise CheckpointError(
                    f'{path.name}, {node.name}: expected weights {tuple(conv.weight.shape)}, got '
                    f'{tuple(weight.shape)}')
            conv.weight.copy_(weight)
            conv.bias.copy_(bias)


def _rows(classes: tuple[str, ...]) -> list[int]:
    if unknown := sorted(set(classes) - set(COCO)):
        raise CheckpointError(f'model.start: YOLOX knows the classes of COCO, not {unknown}; use '
                              "COCO's names in labels.boxes, or model.start=null")
    return [COCO.index(name) for name in classes]


def _unfold_stem(weight: Tensor) -> Tensor:
    """`[O, 12, 3, 3]` on (tl, bl, tr, br) x BGR 0..255 to `[O, 3, 6, 6]` on RGB 0..1."""
    outputs = weight.shape[0]
    blocks = weight.reshape(outputs, 2, 2, 3, 3, 3)  # o, dx, dy, colour, ky, kx
    full = blocks.permute(0, 3, 4, 2, 5, 1).reshape(outputs, 3, 6, 6)
    return full.flip(1) * 255.0


def _convolutions(module: nn.Module) -> Iterator[nn.Conv2d]:
    return (m for m in module.modules() if isinstance(m, nn.Conv2d))
