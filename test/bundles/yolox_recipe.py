"""The published recipe of YOLOX, written down anew: what an imported YOLOX is measured by.

It shares no code with the package: own letterbox, own decoding, own suppression.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import onnxruntime as ort

SIZE = 416
NMS_IOU = 0.45


@dataclass
class Found:
    """Boxes [N, 4] in image pixels, scores [N], class ids [N], best first."""

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray


class YoloxRecipe:
    """Runs the original graph, one image at a time."""

    def __init__(self, path):
        options = ort.SessionOptions()
        options.log_severity_level = 3
        self._session = ort.InferenceSession(
            str(path), options, providers=['CPUExecutionProvider'])

    def __call__(self, bgr, threshold):
        """Return what the model finds in a uint8 [H, W, 3] BGR image, clipped to the image."""
        height, width = bgr.shape[:2]
        ratio = min(SIZE / height, SIZE / width)
        resized = cv2.resize(
            bgr, (int(width * ratio), int(height * ratio)), interpolation=cv2.INTER_LINEAR)
        padded = np.full((SIZE, SIZE, 3), 114, np.uint8)
        padded[: resized.shape[0], : resized.shape[1]] = resized
        tensor = np.ascontiguousarray(padded.transpose(2, 0, 1)[None], np.float32)
        (raw,) = self._session.run(None, {'images': tensor})
        found = _suppress(*_decode(raw[0]), threshold)
        found.boxes = np.clip(found.boxes / ratio, 0, [width, height, width, height])
        return found


def sides_are_whole(width, height):
    """Say whether the recipe scales an image to whole pixels without rounding."""
    ratio = min(SIZE / height, SIZE / width)
    return all(abs(side * ratio - int(side * ratio)) < 1e-6 for side in (width, height))


def _decode(raw):
    cells, strides = [], []
    for stride in (8, 16, 32):
        count = SIZE // stride
        x, y = np.meshgrid(np.arange(count), np.arange(count))
        cells.append(np.stack((x, y), 2).reshape(-1, 2))
        strides.append(np.full((count * count, 1), stride))
    cells, strides = np.concatenate(cells), np.concatenate(strides)
    centre = (raw[:, :2] + cells) * strides
    size = np.exp(raw[:, 2:4]) * strides
    boxes = np.concatenate((centre - size / 2, centre + size / 2), 1)
    return boxes, raw[:, 4:5] * raw[:, 5:]


def _suppress(boxes, scores, threshold):
    labels, best = scores.argmax(1), scores.max(1)
    kept = []
    for label in np.unique(labels[best >= threshold]):
        order = np.flatnonzero((labels == label) & (best >= threshold))
        order = order[np.argsort(-best[order])]
        while len(order):
            first, order = order[0], order[1:]
            kept.append(first)
            order = order[_iou(boxes[first], boxes[order]) <= NMS_IOU]
    kept = np.asarray(sorted(kept, key=lambda i: -best[i]), int)
    return Found(boxes[kept], best[kept], labels[kept])


def _iou(box, others):
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    inter = (high - low).clip(0).prod(1)
    areas = [(b[..., 2:] - b[..., :2]).prod(-1) for b in (box, others)]
    return inter / (areas[0] + areas[1] - inter)
