"""The imported YOLOX against the model's own published recipe, on real pictures.

Box for box: recall alone would survive swapped channels and a missing suppression.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest

from perception_ros.backends import EngineOptions, open_engine
from perception_ros.bundles import Bundle
from perception_ros.bundles.graph.nms import Selection
from perception_ros.bundles.graph.preprocess import PixelFormat
from perception_ros.bundles.importing import import_model
from perception_ros.bundles.options import ImportOptions
from perception_ros.core.image import Image
from perception_ros.core.model import Model
from perception_ros.core.types import Detections, Frame
from test.bundles.shared import shared, yolox
from test.bundles.yolox_recipe import Found, sides_are_whole, YoloxRecipe

THRESHOLD, SCORE = 0.3, 0.01
ASPECTS = {'16:9': None, '21:9': 21 / 9, '4:3': 4 / 3, '1:1': 1.0, '9:16': 9 / 16}
PICTURES = 16


@cache
def recipe() -> YoloxRecipe:
    return YoloxRecipe(shared('models', 'yolox_nano.onnx'))


def pictures(count: int = PICTURES) -> list[Path]:
    """Return pictures spread over all drives and camera positions."""
    paths = sorted(shared('idd', 'images').glob('*.jpg'))
    return paths[:: len(paths) // count][:count]


def cropped(bgr: np.ndarray, aspect: float | None) -> np.ndarray:
    """Return the greatest crop of an aspect ratio (width / height), off the centre."""
    height, width = bgr.shape[:2]
    if aspect is None:
        return bgr
    crop_width = min(width, round(height * aspect))
    crop_height = min(height, round(width / aspect))
    x, y = (width - crop_width) // 3, (height - crop_height) // 2
    return np.ascontiguousarray(bgr[y : y + crop_height, x : x + crop_width])


def detect(model: Model, bgr: np.ndarray) -> Detections:
    rgb = np.ascontiguousarray(bgr[..., ::-1])
    found = model.infer([Frame('camera', 1, 1, Image.from_array(rgb))])[0].detections
    assert found is not None
    return found


def compare(expected: Found, came: Detections, box_px: float) -> None:
    """Pair the boxes one to one; a box near the threshold may be on either side of it."""
    free = set(range(len(came)))
    for box, score, label in zip(expected.boxes, expected.scores, expected.labels, strict=True):
        partners = [
            i for i in free
            if came.labels[i] == label
            and abs(came.scores[i] - score) <= SCORE
            and np.abs(came.boxes[i] - box).max() <= box_px
        ]
        assert partners or score < THRESHOLD + SCORE, f'no partner for {box} {score} {label}'
        if partners:
            free.remove(min(partners, key=lambda i: float(np.abs(came.boxes[i] - box).max())))
    lonely = [i for i in free if came.scores[i] >= THRESHOLD + SCORE]
    assert not lonely, f'boxes that the recipe has not: {came.boxes[lonely]}'


@pytest.fixture(scope='module')
def model() -> Iterator[Model]:
    with opened(yolox()) as ready:
        yield ready


class opened:  # noqa: N801 - reads as a verb

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._engine = open_engine(bundle, 'onnxruntime', EngineOptions(max_batch=1))

    def __enter__(self) -> Model:
        return Model('yolox', self._bundle.manifest, self._engine,
                     score_threshold=lambda camera: THRESHOLD)

    def __exit__(self, *error: object) -> None:
        self._engine.close()


@pytest.mark.slow
@pytest.mark.parametrize('aspect', ASPECTS)
def test_boxes_are_the_recipe_s(model: Model, aspect: str) -> None:
    boxes = 0
    for path in pictures():
        bgr = cropped(cv2.imread(str(path)), ASPECTS[aspect])
        expected = recipe()(bgr, THRESHOLD)
        whole = sides_are_whole(bgr.shape[1], bgr.shape[0])
        compare(expected, detect(model, bgr), 0.5 if whole else 1.5)
        boxes += len(expected.scores)
    assert boxes >= 20, 'these pictures show traffic'


@pytest.mark.slow
@pytest.mark.parametrize('options', [
    pytest.param(ImportOptions(pixels=PixelFormat('rgb', 1.0)), id='swapped channels'),
    pytest.param(ImportOptions(selection=Selection(nms_iou=None)), id='no suppression'),
    pytest.param(ImportOptions(pixels=PixelFormat('bgr', 255.0)), id='0..1 instead of 0..255'),
])
def test_the_comparison_finds_a_wrong_import(tmp_path: Path, options: ImportOptions) -> None:
    source = shared('models', 'yolox_nano.onnx')
    wrong = import_model(source, tmp_path / 'wrong', family='yolox', options=options)
    with opened(wrong) as model:
        for path in pictures():
            bgr = cv2.imread(str(path))
            expected = recipe()(bgr, THRESHOLD)
            if len(expected.scores) >= 3:
                with pytest.raises(AssertionError, match='no partner|that the recipe has not'):
                    compare(expected, detect(model, bgr), 1.5)
                return
    pytest.fail('no picture with three boxes')


def test_no_box_twice(model: Model) -> None:
    """Boxes of one class overlap by less than the suppression's IoU."""
    for path in pictures(4):
        found = detect(model, cv2.imread(str(path)))
        for i in range(len(found)):
            for j in range(i):
                if found.labels[i] == found.labels[j]:
                    assert _iou(found.boxes[i], found.boxes[j]) < 0.5


def _iou(one: np.ndarray, other: np.ndarray) -> float:
    sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    inter = float(sides.clip(0).prod())
    areas = sum(float((box[2:] - box[:2]).prod()) for box in (one, other))
    return inter / (areas - inter)
