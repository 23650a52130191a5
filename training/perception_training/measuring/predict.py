"""One image in, its answers out: by a network in torch, or by a bundle as a vehicle runs it."""

from collections.abc import Callable, Iterator, Mapping
import contextlib
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
import torch

from perception_ros.backends import Engine, EngineOptions, open_engine
from perception_ros.bundles import Bundle, recipe
from perception_ros.bundles.graph.nms import Selection
from perception_ros.bundles.manifest import Manifest
from perception_ros.core.instances import whole_masks
from perception_ros.core.letterbox import Letterbox
from perception_training.config import Config
from perception_training.data.sample import to_input
from perception_training.models import (
    BOXES,
    BoxTask,
    MASKS,
    Network,
    PROTOTYPES,
    SCORES,
    SemanticTask,
)


class Prediction(NamedTuple):
    """One image's answers in its own pixels."""

    boxes: NDArray[np.float32]
    """`[N, 4]`"""
    labels: NDArray[np.int32]
    """`[N]`"""
    scores: NDArray[np.float32]
    """`[N]`, 0..1, best first"""
    semantic: dict[str, NDArray[np.uint8]]
    """Head -> `[H, W]` class ids."""
    masks: NDArray[np.bool_] | None = None
    """`[N, H, W]`, which may overlap; None = boxes have none."""


NOTHING = recipe.Boxes(
    np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32))
Predictor = Callable[[NDArray[np.uint8]], Prediction]


def selection(config: Config, task: BoxTask) -> Selection:
    """Give how the bundle's graph will choose among boxes."""
    bundle = config.bundle
    return Selection(max_detections=bundle.max_detections,
                     nms_iou=bundle.nms_iou if task.suppressed else None)


def chosen(answers: Mapping[str, NDArray[np.float32]], config: Config,
           task: BoxTask) -> recipe.Boxes:
    """
    Choose among a network's boxes as the bundle's graph will, in plain NumPy.

    :param answers: of `Network.answers` for one image, without the batch.
    """
    boxes, shares = answers[BOXES], answers[SCORES]

    def masks_of(order: NDArray[np.intp]) -> NDArray[np.float32]:
        rows = answers[MASKS][order]
        if task.masks == 'boxes':
            return rows
        size = (config.width, config.height)
        return recipe.prototype_masks(
            rows, answers[PROTOTYPES], boxes[order], size, config.bundle.mask_cells)

    return recipe.select(boxes, shares, selection(config, task), len(shares),
                         masks_of=None if task.masks == 'none' else masks_of)


def network_predictor(network: Network, config: Config) -> Predictor:
    """Predict with a network, followed by what the bundle's graph does, in plain NumPy."""
    device = next(network.parameters()).device

    def predict(image: NDArray[np.uint8]) -> Prediction:
        canvas, letterbox = _fitted(image, config.width, config.height)
        network.eval()
        with torch.no_grad():
            raw = network(to_input(torch.from_numpy(canvas)[None].to(device))
                          .contiguous(memory_format=torch.channels_last))
            answers = {n: a[0].cpu().numpy() for n, a in network.answers(raw).items()}
        best, semantic = NOTHING, {}
        for head, task in network.tasks.items():
            if isinstance(task, SemanticTask):
                enlarge = task.stride / config.bundle.semantic_stride
                semantic[head] = letterbox.mask_to_source(
                    recipe.semantic(answers[head], enlarge))
            else:
                best = chosen(answers, config, task)
        return _restored(best, semantic, letterbox)

    return predict


@contextlib.contextmanager
def bundle_predictor(path: Path, threads: int = 0) -> Iterator[Predictor]:
    """Predict with a bundle in ONNX Runtime."""
    bundle = Bundle.load(path)
    options = EngineOptions(max_batch=1, device='cpu', threads=threads)
    with open_engine(bundle, 'onnxruntime', options) as engine:
        yield engine_predictor(bundle.manifest, engine)


def engine_predictor(manifest: Manifest, engine: Engine) -> Predictor:
    """Predict with a bundle that an engine has opened, as the runtime's node does."""

    def predict(image: NDArray[np.uint8]) -> Prediction:
        request = engine.request()
        try:
            request.images[0], letterbox = _fitted(image, *engine.info.input_size)
            request.start(1)
            outputs = request.result()
            # The arrays are gone after the release.
            semantic = {head: letterbox.mask_to_source(outputs[f'semantic_{head}'][0])
                        for head in manifest.semantic}
            if manifest.detection is None:
                return _restored(NOTHING, semantic, letterbox)
            used = outputs['scores'][0] > 0  # padding has score 0
            best = recipe.Boxes(*(
                outputs[name][0][used] for name in ('boxes', 'scores', 'labels')))
            if manifest.detection.masks is not None:
                best = replace(best, masks=outputs['masks'][0][used])
            return _restored(best, semantic, letterbox)
        finally:
            request.release()

    return predict


def _restored(best: recipe.Boxes, semantic: dict[str, NDArray[np.uint8]],
              letterbox: Letterbox) -> Prediction:
    """Put boxes and their masks into the image's own pixels."""
    boxes = letterbox.boxes_to_source(best.boxes)
    # Masks are relative to the boxes as the network said them, not as they are cut.
    masks = None if best.masks is None else whole_masks(best.masks, boxes, letterbox.source_size)
    return Prediction(letterbox.clip(boxes), best.labels, best.scores, semantic, masks)


def _fitted(image: NDArray[np.uint8], width: int,
            height: int) -> tuple[NDArray[np.uint8], Letterbox]:
    letterbox = Letterbox.fit((image.shape[1], image.shape[0]), (width, height))
    canvas = np.empty((height, width, 3), np.uint8)
    letterbox.write(image, None, canvas)
    return canvas, letterbox
