"""Imports an export by itself, and measures the bundle against its library at each batch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch

from genuine.case import compare, Found, Genuine, pictures
from perception_ros.bundles.importing import import_model
from perception_ros.bundles.proof import BATCH_SIZES, Proof
from perception_ros.core.image import Image


@dataclass
class Difference:
    """The greatest differences between a bundle and its library, over all images of a batch."""

    px: float = 0.0
    score: float = 0.0
    mask: float = 0.0
    """Of an instance mask's cells, on average."""
    boxes: int = 0
    lonely: int = 0
    """Boxes without a partner."""
    cells: float = 0.0
    """Share of a semantic head's cells with another class."""


@dataclass
class Result:
    """What came of one import."""

    told: list[str]
    proof: Proof
    by_batch: dict[int, Difference]


def measure(case: Genuine, folder: Path) -> Result:
    """Export, import with `--family auto`, and compare on real pictures."""
    model, images = case.model(), pictures(*case.size)
    path = case.write(model, folder / 'net.onnx')
    told: list[str] = []
    proofs: list[Proof] = []
    bundle = import_model(
        path, folder / 'bundle', options=case.import_options(), announce=told.append,
        images=[Image.from_array(image) for image in images], report=proofs.append)
    with torch.no_grad():
        tensor = case.tensor(images)
        boxes = case.boxes(model, tensor) if case.boxes else []
        heads = case.heads(model, tensor) if case.heads else {}
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(
        str(bundle.graph_path), options, providers=['CPUExecutionProvider'])
    names = [output.name for output in session.get_outputs()]
    by_batch = {}
    for batch in BATCH_SIZES:
        found = dict(zip(names, session.run(names, {'images': images[:batch]}), strict=True))
        ids = {head: values[:batch].numpy() for head, values in heads.items()}
        by_batch[batch] = _difference(boxes[:batch], ids, found)
    return Result(told, proofs[0], by_batch)


def _difference(
    boxes: list[Found], heads: dict[str, np.ndarray], found: dict[str, np.ndarray]
) -> Difference:
    worst = Difference()
    for i, want in enumerate(boxes):
        masks = found['masks'][i] if 'masks' in found else None
        assert (masks is None) == (want.masks is None)
        px, score, mask, lonely, count = compare(
            want, found['boxes'][i], found['scores'][i], found['labels'][i], masks)
        worst.px, worst.score = max(worst.px, px), max(worst.score, score)
        worst.mask = max(worst.mask, mask)
        worst.boxes, worst.lonely = worst.boxes + count, worst.lonely + lonely
    for head, ids in heads.items():
        worst.cells = max(worst.cells, float((found[f'semantic_{head}'] != ids).mean()))
    return worst
