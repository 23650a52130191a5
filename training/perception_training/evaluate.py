"""Measure boxes on the held-out IDD drives and the scene on CamVid val."""

from collections.abc import Callable, Iterator
import contextlib
import io
from pathlib import Path
from typing import Any, NamedTuple

from faster_coco_eval import COCO, COCOeval_faster
import numpy as np
from numpy.typing import NDArray
import torch

from perception_ros.backends import EngineOptions, open_engine
from perception_ros.bundles import Bundle, recipe
from perception_ros.bundles.graph.nms import Selection
from perception_ros.core.letterbox import Letterbox
from perception_training.config import Config
from perception_training.data import load_camvid, load_idd, Sample, to_input
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
    """Give mIoU over 11 classes and each class's IoU, from one confusion matrix over all."""
    count = len(SCENE_CLASSES)
    confusion = np.zeros((count, count), np.int64)
    for sample in samples:
        known = sample.scene < count
        guess = predict(sample.image).scene
        confusion += np.bincount(sample.scene[known].astype(np.int64) * count + guess[known],
                                 minlength=count ** 2).reshape(count, count)
    inner = np.diag(confusion)
    union = confusion.sum(0) + confusion.sum(1) - inner
    each = inner / np.maximum(union, 1)
    return {'images': len(samples), 'miou': round(float(each.mean()), 4),
            'pixel_accuracy': round(float(inner.sum() / confusion.sum()), 4),
            'iou': {n: round(float(v), 4) for n, v in zip(SCENE_CLASSES, each, strict=True)}}


def box_metrics(samples: list[Sample], predict: Predictor) -> dict[str, Any]:
    """Give AP50 and AP50:95 per class with the number of true boxes n, by COCO's rules."""
    images, truth, found = [], [], []
    for index, sample in enumerate(samples, 1):
        height, width = sample.image.shape[:2]
        images.append({'id': index, 'width': width, 'height': height})
        for box, label in zip(sample.boxes, sample.labels, strict=True):
            if label >= 0:
                truth.append({'id': len(truth) + 1, 'image_id': index, 'iscrowd': 0,
                              'category_id': int(label) + 1, **_coco_box(box)})
        guess = predict(sample.image)
        found += [{'image_id': index, 'category_id': int(label) + 1, 'score': float(score),
                   **_coco_box(box)}
                  for box, label, score in zip(guess.boxes, guess.labels, guess.scores,
                                               strict=True)]
    result: dict[str, Any] = {'images': len(samples), 'classes': {}}
    categories = [{'id': i, 'name': n} for i, n in enumerate(DETECTION_CLASSES, 1)]
    # The library prints its tables; the numbers are returned instead.
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO({'images': images, 'annotations': truth, 'categories': categories})
        judge = COCOeval_faster(coco, coco.loadRes(found), 'bbox') if found else None
        if judge is not None:
            judge.evaluate()
            judge.accumulate()
    for index, name in enumerate(DETECTION_CLASSES):
        n = sum(t['category_id'] == index + 1 for t in truth)
        # precision: [IoU, recall, class, area, detections]; all areas, most detections.
        precision = None if judge is None else judge.eval['precision'][:, :, index, 0, -1]
        result['classes'][name] = {
            'n': n, 'ap50': _mean(None if precision is None else precision[0]),
            'ap': _mean(precision)}
    seen = [c for c in result['classes'].values() if c['n']]
    result['map50'] = round(float(np.mean([c['ap50'] for c in seen])), 4) if seen else 0.0
    return result


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


def _coco_box(box: NDArray[np.float32]) -> dict[str, Any]:
    x0, y0, x1, y1 = (float(v) for v in box)
    return {'bbox': [x0, y0, x1 - x0, y1 - y0], 'area': (x1 - x0) * (y1 - y0)}


def _mean(values: NDArray[np.float64] | None) -> float:
    if values is None or not (values > -1).any():
        return 0.0
    return round(float(values[values > -1].mean()), 4)
