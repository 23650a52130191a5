"""
Pseudo-labels from two foreign ONNX models for what the data sets do not label.

YOLOX-nano gives boxes for CamVid and the clips, and regions of IDD that may hold something
unlabelled; TwinLiteNet gives confident road for IDD and the clips. Everything that a teacher is
not sure of is marked as unknown. Teachers see training images only.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
import os
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
import onnxruntime

from perception_training.data import BACKDROP, PAD, Sample, UNKNOWN_BOX, UNKNOWN_SCENE
from perception_training.model import COCO_ROWS, SCENE_CLASSES, STRIDES

ROAD = SCENE_CLASSES.index('road')
SCENE_CAR = SCENE_CLASSES.index('car')
COCO_MOTORCYCLE = 3
# Scene ids that must lie in a box of each detection class (car, person, truck, bus, bicycle).
AGREEING = ((8,), (9, 10), (8,), (8,), (10,))
SURE, POSSIBLE = 0.45, 0.15
FIELDS = ('boxes', 'labels', 'scene', 'scene_weight')


@dataclass(frozen=True)
class Found:
    """A teacher's boxes `[N, 4]` in pixels, our labels `[N]` (-1 = motorcycle), scores `[N]`."""

    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    scores: NDArray[np.float32]


class BoxTeacher:
    """YOLOX-nano on the whole image and on 3 x 2 overlapping tiles, so that far cars count."""

    def __init__(self, path: Path) -> None:
        self.session = _session(path)
        self.input = self.session.get_inputs()[0].name
        self.size = 416
        cells = [np.stack(np.meshgrid(np.arange(self.size // s), np.arange(self.size // s)), -1)
                 .reshape(-1, 2) for s in STRIDES]
        self.grid = np.concatenate(cells)
        self.stride = np.concatenate(
            [np.full((len(c), 1), s) for c, s in zip(cells, STRIDES, strict=True)])

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
        scale = self.size / max(image.shape[:2])
        size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
        canvas = np.full((self.size, self.size, 3), PAD, np.uint8)
        canvas[:size[1], :size[0]] = cv2.resize(image, size)[..., ::-1]
        out = self.session.run(
            None, {self.input: canvas.transpose(2, 0, 1)[None].astype(np.float32)})[0][0]
        scores = out[:, 4:5] * out[:, 5:][:, [*COCO_ROWS, COCO_MOTORCYCLE]]
        labels, score = scores.argmax(1), scores.max(1)
        keep = score >= POSSIBLE
        centre = (out[:, :2] + self.grid) * self.stride
        half = np.exp(out[:, 2:4]) * self.stride / 2
        boxes = np.hstack((centre - half, centre + half))[keep] / scale
        limit = [image.shape[1], image.shape[0]] * 2
        labels = np.where(labels == len(COCO_ROWS), UNKNOWN_BOX, labels)
        return np.clip(boxes, 0, limit), labels[keep], score[keep]


class RoadTeacher:
    """TwinLiteNet's probability of drivable area."""

    def __init__(self, path: Path) -> None:
        self.session = _session(path)
        self.input = self.session.get_inputs()[0].name
        names = [o.name for o in self.session.get_outputs()]
        self.output = 'da' if 'da' in names else names[0]

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Give float32 `[H, W]` in 0..1 for an RGB image."""
        small = cv2.resize(image, (640, 360), interpolation=cv2.INTER_AREA)
        x = small.transpose(2, 0, 1)[None].astype(np.float32) / 255
        logits = self.session.run([self.output], {self.input: x})[0][0]
        road = 1 / (1 + np.exp(np.clip(logits[0] - logits[1], -50, 50)))
        return cv2.resize(road.astype(np.float32), (image.shape[1], image.shape[0]))


def teach_camvid(sample: Sample, found: Found) -> Sample:
    """Add boxes that the scene labels confirm; other finds and boxless cars are unknown."""
    boxes, labels = [], []
    claimed = np.zeros(sample.scene.shape, bool)
    for box, label, score in zip(found.boxes, found.labels, found.scores, strict=True):
        x0, y0, x1, y1 = box.round().astype(int)
        inside = sample.scene[y0:y1, x0:x1]
        agreeing = np.isin(inside, AGREEING[label] if label >= 0 else (10,)).mean() \
            if inside.size else 0.0
        if agreeing < 0.05 and score < SURE:
            continue
        sure = label >= 0 and ((score >= 0.2 and agreeing >= 0.4) or
                               (score >= SURE and agreeing >= 0.2))
        boxes.append(box)
        labels.append(label if sure else UNKNOWN_BOX)
        claimed[y0:y1, x0:x1] = True
    for classes in ((SCENE_CAR,), (9, 10)):
        missed = (np.isin(sample.scene, classes) & ~claimed).astype(np.uint8)
        for x, y, w, h, area in cv2.connectedComponentsWithStats(missed)[2][1:]:
            if area >= 20:
                boxes.append(np.array([x, y, x + w, y + h]))
                labels.append(UNKNOWN_BOX)
    return _with_boxes(sample, boxes, labels)


def teach_clip(sample: Sample, found: Found, road: NDArray[np.float32]) -> Sample:
    """Add confident boxes and confident road; possible boxes are unknown."""
    sure = (found.scores >= SURE) & (found.labels >= 0)
    labels = np.where(sure, found.labels, UNKNOWN_BOX)
    sample = _with_boxes(sample, list(found.boxes), list(labels))
    return replace(sample, scene=_road_scene(sample, road))


def teach_idd(sample: Sample, found: Found, road: NDArray[np.float32]) -> Sample:
    """Keep the labelled boxes, mark what else may be there as unknown, add confident road."""
    overlap = iou(found.boxes, sample.boxes).max(1, initial=0)
    extra = found.boxes[overlap < 0.3]
    sample = _with_boxes(sample, [*sample.boxes, *extra],
                         [*sample.labels, *[UNKNOWN_BOX] * len(extra)])
    return replace(sample, scene=_road_scene(sample, road))


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


def teach(sources: dict[str, list[Sample]], models: Path,
          weight: float) -> dict[str, list[Sample]]:
    """
    Label all training images with both teachers; about 0.4 s an image on two cores.

    :param weight: what a pixel that the road teacher labelled counts.
    """
    boxes = BoxTeacher(models / 'yolox_nano.onnx')
    road = RoadTeacher(models / 'twinlitenet.onnx')
    return {
        'camvid': [teach_camvid(s, boxes(s.image)) for s in sources['camvid']],
        'idd': [replace(teach_idd(s, boxes(s.image), road(s.image)), scene_weight=weight)
                for s in sources['idd']],
        'clip': [replace(teach_clip(s, boxes(s.image), road(s.image)), scene_weight=weight)
                 for s in sources['clip']],
    }


def save(sources: dict[str, list[Sample]], path: Path) -> None:
    """Keep what the teachers said, so that a resumed run does not ask again."""
    arrays = {f'{source}/{s.name}/{field}': np.asarray(getattr(s, field))
              for source, samples in sources.items() for s in samples for field in FIELDS}
    part = path.with_suffix('.part.npz')
    np.savez_compressed(part, **arrays)
    os.replace(part, path)


def restore(sources: dict[str, list[Sample]], path: Path) -> dict[str, list[Sample]]:
    """Put saved labels on freshly loaded images."""
    with np.load(path, allow_pickle=False) as file:
        return {source: [_restored(s, file, f'{source}/{s.name}') for s in samples]
                for source, samples in sources.items()}


def _restored(sample: Sample, file: Mapping[str, NDArray], key: str) -> Sample:
    return replace(sample, boxes=file[f'{key}/boxes'], labels=file[f'{key}/labels'],
                   scene=file[f'{key}/scene'], scene_weight=float(file[f'{key}/scene_weight']))


def _road_scene(sample: Sample, road: NDArray[np.float32]) -> NDArray[np.uint8]:
    scene = np.full(road.shape, UNKNOWN_SCENE, np.uint8)
    sure = road > 0.9
    if sure.mean() > 0.02:
        # The teacher may leave out lanes and shoulders, but no road lies above its highest row.
        top = int(np.flatnonzero(sure.any(1))[0])
        # Nor does a car that is in no box: told of road and cars alone, a network would call
        # the sky a car, as it is no road.
        scene[:max(0, top - round(0.06 * len(scene)))] = BACKDROP
        for x0, y0, x1, y1 in sample.boxes.round().astype(int):
            scene[y0:y1, x0:x1] = UNKNOWN_SCENE
    scene[sure] = ROAD
    for box, label in zip(sample.boxes, sample.labels, strict=True):
        x0, y0, x1, y1 = box
        if label in (0, 2, 3):
            # The corners of a vehicle's box show what is behind it, its core does not.
            dx, dy = (x1 - x0) * 0.2, (y1 - y0) * 0.2
            core = np.array([x0 + dx, y0 + dy, x1 - dx, y1 - dy]).round().astype(int)
            scene[core[1]:core[3], core[0]:core[2]] = SCENE_CAR
    for box, label in zip(sample.boxes, sample.labels, strict=True):
        if label in (1, 4):
            x0, y0, x1, y1 = box.round().astype(int)
            scene[y0:y1, x0:x1] = UNKNOWN_SCENE
    return scene


def _with_boxes(sample: Sample, boxes: list, labels: list) -> Sample:
    return replace(sample, boxes=np.array(boxes, np.float32).reshape(-1, 4),
                   labels=np.array(labels, np.int64))


def _session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    options.add_session_config_entry('session.intra_op.allow_spinning', '0')
    return onnxruntime.InferenceSession(str(path), options, ['CPUExecutionProvider'])
