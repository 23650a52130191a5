"""One image in, its answers out: by a network in torch, or by a bundle as a vehicle runs it."""

from collections.abc import Callable, Iterator
import contextlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
import torch

from perception_ros.backends import Engine, EngineOptions, open_engine
from perception_ros.bundles import Bundle, recipe
from perception_ros.bundles.graph.nms import Selection
from perception_ros.bundles.manifest import Manifest
from perception_ros.core.letterbox import Letterbox
from perception_training.config import Config
from perception_training.data.sample import to_input
from perception_training.models import BOXES, BoxTask, Network, SemanticTask


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


Predictor = Callable[[NDArray[np.uint8]], Prediction]


def selection(config: Config, task: BoxTask) -> Selection:
    """Give how the bundle's graph will choose among boxes."""
    bundle = config.bundle
    return Selection(max_detections=bundle.max_detections,
                     nms_iou=bundle.nms_iou if task.suppressed else None)


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
        boxes, labels, scores = _nothing()
        semantic = {}
        for head, task in network.tasks.items():
            if isinstance(task, SemanticTask):
                enlarge = task.stride / config.bundle.semantic_stride
                semantic[head] = letterbox.mask_to_source(
                    recipe.semantic(answers[head], enlarge))
            else:
                shares = answers['scores']
                best = recipe.select(answers[BOXES], shares, selection(config, task), len(shares))
                boxes, labels, scores = best.boxes, best.labels, best.scores
        boxes = letterbox.clip(letterbox.boxes_to_source(boxes))
        return Prediction(boxes, labels, scores, semantic)

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
                return Prediction(*_nothing(), semantic)
            used = outputs['scores'][0] > 0  # padding has score 0
            boxes = letterbox.boxes_to_source(outputs['boxes'][0][used])
            return Prediction(letterbox.clip(boxes), outputs['labels'][0][used].copy(),
                              outputs['scores'][0][used].copy(), semantic)
        finally:
            request.release()

    return predict


def _nothing() -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.float32]]:
    return np.zeros((0, 4), np.float32), np.zeros(0, np.int32), np.zeros(0, np.float32)


def _fitted(image: NDArray[np.uint8], width: int,
            height: int) -> tuple[NDArray[np.uint8], Letterbox]:
    letterbox = Letterbox.fit((image.shape[1], image.shape[0]), (width, height))
    canvas = np.empty((height, width, 3), np.uint8)
    letterbox.write(image, None, canvas)
    return canvas, letterbox
