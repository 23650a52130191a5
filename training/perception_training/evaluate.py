"""Measure boxes on the held-out IDD drives and the scene on CamVid val."""

from collections.abc import Callable, Iterator
import contextlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
import torch

from perception_ros.backends import EngineOptions, open_engine
from perception_ros.bundles import Bundle, recipe
from perception_ros.bundles.graph.nms import Selection
from perception_ros.core.letterbox import Letterbox
from perception_ros.evaluation.boxes import BoxScorer
from perception_ros.evaluation.classes import match_classes
from perception_ros.evaluation.masks import MaskScorer
from perception_training.config import Config
from perception_training.data import load_camvid, load_idd, Sample, to_input, UNKNOWN_SCENE
from perception_training.model import DETECTION_CLASSES, RoadScene, SCENE_CLASSES

SELECTION = Selection(max_detections=100, nms_iou=0.6)
SCENE_STRIDE = 2
"""Input pixels per cell of the scene's answer; the logits come at stride 4 and are enlarged."""


class Prediction(NamedTuple):
    """One image's answers in its own pixels."""

    boxes: NDArray[np.float32]
    """`[N, 4]`"""
    labels: NDArray[np.int32]
    """`[N]`"""
    scores: NDArray[np.float32]
    """`[N]`, 0..1"""
    scene: NDArray[np.uint8]
    """`[H, W]` class ids"""


Predictor = Callable[[NDArray[np.uint8]], Prediction]


def torch_predictor(model: RoadScene, width: int, height: int) -> Predictor:
    """Predict with a network, followed by what the bundle's graph does, in plain NumPy."""

    def predict(image: NDArray[np.uint8]) -> Prediction:
        canvas, letterbox = _fitted(image, width, height)
        model.eval()
        with torch.no_grad():
            boxes, objectness, classes, scene = model(
                to_input(torch.from_numpy(canvas)[None])
                .contiguous(memory_format=torch.channels_last))
        scores = (classes.sigmoid() * objectness.sigmoid()[..., None])[0].numpy()
        best = recipe.select(boxes[0].numpy(), scores, SELECTION, len(scores))
        return Prediction(
            letterbox.clip(letterbox.boxes_to_source(best.boxes)), best.labels, best.scores,
            letterbox.mask_to_source(recipe.semantic(scene[0].numpy(), 4 / SCENE_STRIDE)))

    return predict


@contextlib.contextmanager
def bundle_predictor(path: Path, threads: int) -> Iterator[Predictor]:
    """Predict with a bundle in ONNX Runtime, as the runtime's node does."""
    bundle = Bundle.load(path)
    with open_engine(
        bundle, 'onnxruntime', EngineOptions(max_batch=1, device='cpu', threads=threads)
    ) as engine:

        def predict(image: NDArray[np.uint8]) -> Prediction:
            request = engine.request()
            try:
                request.images[0], letterbox = _fitted(image, *engine.info.input_size)
                request.start(1)
                outputs = request.result()
                # Padding has score 0; the arrays are gone after the release.
                used = outputs['scores'][0] > 0
                boxes = letterbox.boxes_to_source(outputs['boxes'][0][used])
                return Prediction(letterbox.clip(boxes),
                                  outputs['labels'][0][used].copy(),
                                  outputs['scores'][0][used].copy(),
                                  letterbox.mask_to_source(outputs['semantic_scene'][0]))
            finally:
                request.release()

        yield predict


def scene_metrics(samples: list[Sample], predict: Predictor) -> dict[str, Any]:
    """Give mIoU over 11 classes and each class's IoU, over all images together."""
    scorer = MaskScorer(match_classes(SCENE_CLASSES, SCENE_CLASSES))
    for sample in samples:
        known = sample.scene < len(SCENE_CLASSES)
        truth = np.where(known, sample.scene, np.uint8(UNKNOWN_SCENE))
        scorer.add(truth, predict(sample.image).scene)
    result = scorer.result()
    return {'images': len(samples), 'miou': _rounded(result.miou),
            'pixel_accuracy': _rounded(result.pixel_accuracy),
            'iou': {name: _rounded(item.iou) for name, item in result.classes.items()}}


def box_metrics(samples: list[Sample], predict: Predictor) -> dict[str, Any]:
    """Give AP50 and AP50:95 per class with the number of true boxes n, by COCO's rules."""
    scorer = BoxScorer(DETECTION_CLASSES)
    for sample in samples:
        height, width = sample.image.shape[:2]
        guess = predict(sample.image)
        scorer.add((width, height), sample.boxes, sample.labels, np.zeros(len(sample.boxes), bool),
                   guess.boxes, guess.labels, guess.scores)
    result = scorer.result()
    return {'images': len(samples), 'map50': _rounded(result.map50),
            'classes': {name: {'n': item.count, 'ap50': _rounded(item.ap50),
                               'ap': _rounded(item.ap)}
                        for name, item in result.classes.items()}}


def evaluate(config: Config, predict: Predictor) -> dict[str, Any]:
    """Measure everything; both sets are unseen by training and by the teachers."""
    return {'camvid_val': scene_metrics(load_camvid(config, 'val'), predict),
            'idd_val': box_metrics(load_idd(config, held_out=True), predict)}


def _fitted(image: NDArray[np.uint8], width: int,
            height: int) -> tuple[NDArray[np.uint8], Letterbox]:
    letterbox = Letterbox.fit((image.shape[1], image.shape[0]), (width, height))
    canvas = np.empty((height, width, 3), np.uint8)
    letterbox.write(image, None, canvas)
    return canvas, letterbox


def _rounded(value: float | None) -> float:
    return round(value or 0.0, 4)
