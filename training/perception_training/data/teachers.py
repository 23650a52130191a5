"""Two foreign ONNX models that look at training images: YOLOX for boxes, TwinLiteNet for road."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
import onnxruntime

from perception_ros.bundles.labels import COCO
from perception_ros.bundles.recipe import decode_yolox
from perception_training.data.geometry import PAD
from perception_training.data.sample import UNKNOWN_BOX
from perception_training.errors import DataError

POSSIBLE = 0.15
"""Score from which something may be there."""
MOTORCYCLE = 'motorcycle'
_SIZE_PX, _STRIDES = 416, (8, 16, 32)


@dataclass(frozen=True)
class Found:
    """A teacher's boxes `[N, 4]` in pixels, our labels `[N]` (-1 = motorcycle), scores `[N]`."""

    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    scores: NDArray[np.float32]


class BoxTeacher:
    """YOLOX on the whole image and on 3 x 2 overlapping tiles, so that far cars count."""

    def __init__(self, path: Path, classes: Sequence[str]) -> None:
        """
        Open the model.

        :param classes: our names, of COCO's.
        :raises DataError: there is no such file, or COCO has no such class.
        """
        if unknown := sorted(set(classes) - set(COCO)):
            raise DataError(f'the box teacher knows the classes of COCO, not {unknown}; leave '
                            'pseudo out of the sets, or rename the classes')
        self._session = _session(path)
        self._input = self._session.get_inputs()[0].name
        self._rows = [COCO.index(name) for name in (*classes, MOTORCYCLE)]

    def __call__(self, image: NDArray[np.uint8]) -> Found:
        """Find boxes with score >= 0.15 in an RGB image."""
        height, width = image.shape[:2]
        w, h = width // 2, round(height * 0.6)
        windows = [(0, 0, width, height)]
        windows += [(x, y, w, h) for y in (0, height - h) for x in (0, w // 2, width - w)]
        boxes, labels, scores = [], [], []
        for left, top, w, h in windows:
            b, c, s = self._run(image[top:top + h, left:left + w])
            # A box that ends at a tile's inner edge is a piece of something larger.
            whole = np.ones(len(b), bool)
            margin = 0.01 * width
            for cut, edge in ((left > 0, b[:, 0]), (top > 0, b[:, 1]),
                              (left + w < width, w - b[:, 2]), (top + h < height, h - b[:, 3])):
                if cut:
                    whole &= edge > margin
            boxes.append(b[whole] + [left, top, left, top])
            labels.append(c[whole])
            scores.append(s[whole])
        box, label, score = map(np.concatenate, (boxes, labels, scores))
        keep = suppress(box, score)
        return Found(box[keep].astype(np.float32), label[keep], score[keep].astype(np.float32))

    def _run(self, image: NDArray[np.uint8]) -> tuple[NDArray, NDArray, NDArray]:
        scale = _SIZE_PX / max(image.shape[:2])
        size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
        canvas = np.full((_SIZE_PX, _SIZE_PX, 3), PAD, np.uint8)
        canvas[:size[1], :size[0]] = cv2.resize(image, size)[..., ::-1]
        raw = self._session.run(
            None, {self._input: canvas.transpose(2, 0, 1)[None].astype(np.float32)})[0][0]
        boxes, scores = decode_yolox(raw, (_SIZE_PX, _SIZE_PX), _STRIDES)
        scores = scores[:, self._rows]
        labels, best = scores.argmax(1), scores.max(1)
        keep = best >= POSSIBLE
        limit = [image.shape[1], image.shape[0]] * 2
        labels = np.where(labels == len(self._rows) - 1, UNKNOWN_BOX, labels)
        return np.clip(boxes[keep] / scale, 0, limit), labels[keep], best[keep]


class RoadTeacher:
    """TwinLiteNet's probability of drivable area."""

    def __init__(self, path: Path) -> None:
        """
        Open the model.

        :raises DataError: there is no such file.
        """
        self._session = _session(path)
        self._input = self._session.get_inputs()[0].name
        names = [o.name for o in self._session.get_outputs()]
        self._output = 'da' if 'da' in names else names[0]

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Give float32 `[H, W]` in 0..1 for an RGB image."""
        small = cv2.resize(image, (640, 360), interpolation=cv2.INTER_AREA)
        x = small.transpose(2, 0, 1)[None].astype(np.float32) / 255
        logits = self._session.run([self._output], {self._input: x})[0][0]
        road = 1 / (1 + np.exp(np.clip(logits[0] - logits[1], -50, 50)))
        return cv2.resize(road.astype(np.float32), (image.shape[1], image.shape[0]))


def iou(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """Intersection over union of `[N, 4]` and `[M, 4]`: `[N, M]`."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    inner = np.clip(high - low, 0, None).prod(-1)
    area_a = (a[:, 2:] - a[:, :2]).prod(-1)[:, None]
    area_b = (b[:, 2:] - b[:, :2]).prod(-1)[None]
    return inner / np.maximum(area_a + area_b - inner, 1e-9)


def suppress(boxes: NDArray[np.float32], scores: NDArray[np.float32],
             threshold: float = 0.5) -> NDArray[np.int64]:
    """Greedy non-maximum suppression over all classes together: kept indices, best first."""
    order = np.argsort(-scores, kind='stable')
    overlap = iou(boxes, boxes)
    keep: list[int] = []
    for index in order:
        if not keep or overlap[index, keep].max() <= threshold:
            keep.append(int(index))
    return np.array(keep, np.int64)


def _session(path: Path) -> onnxruntime.InferenceSession:
    if not path.is_file():
        raise DataError(f'{path}: expected the ONNX file of a teacher; set data.teachers, or '
                        'leave pseudo out of the sets')
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    options.add_session_config_entry('session.intra_op.allow_spinning', '0')
    return onnxruntime.InferenceSession(str(path), options, ['CPUExecutionProvider'])
