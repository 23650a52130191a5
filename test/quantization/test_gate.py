"""What a bundle in lower precision has to pass."""

from __future__ import annotations

from typing import Any

import pytest

from perception_ros.benchmarks.report import Difference
from perception_ros.evaluation import Accuracy
from perception_ros.evaluation.boxes import BoxAccuracy, ClassPrecision
from perception_ros.evaluation.masks import ClassOverlap, MaskAccuracy
from perception_ros.quantization import Gate
from test.builders import manifest


def boxes(ap50: float | None) -> Accuracy:
    found = BoxAccuracy({'red': ClassPrecision(9, ap50, ap50)})
    return Accuracy('yolo:data', 9, found)


def masks(iou: float) -> Accuracy:
    found = MaskAccuracy({'red': ClassOverlap(9, iou)}, iou)
    return Accuracy('camvid:data', 9, masks={'ground': found})


def changes(**found: Any) -> Difference:
    same = {'images': 3, 'box_px': 0.1, 'score': 0.01, 'boxes': 20, 'lost': 0, 'gained': 0,
            'mask_share': 0.0}
    return Difference.model_validate(same | found)


@pytest.mark.parametrize(('before', 'after', 'passes'), [
    ([boxes(0.5)], [boxes(0.495)], True),
    ([boxes(0.5)], [boxes(0.48)], False),
    ([boxes(0.5)], [boxes(0.6)], True),
    ([boxes(0.5), masks(0.6)], [boxes(0.5), masks(0.58)], False),
    ([boxes(None)], [boxes(None)], True),
], ids=['small drop', 'great drop', 'better', 'one of two data sets', 'nothing labelled'])
def test_each_data_set_may_drop_by_so_much(
    before: list[Accuracy], after: list[Accuracy], passes: bool
) -> None:
    problems = Gate(max_drop=0.01).problems(before, after, changes(), manifest(precision='int8'))
    assert (not problems) == passes


@pytest.mark.parametrize(('precision', 'found', 'said'), [
    ('int8', {'lost': 1, 'gained': 1}, ''),
    ('int8', {'lost': 2, 'gained': 1}, 'boxes: expected at most 10% lost or gained, got 3 of 20'),
    ('int8', {'mask_share': 0.06}, 'masks: expected at most 5.0%'),
    ('fp16', {'lost': 1}, 'boxes: expected at most 2%'),
    ('fp16', {'mask_share': 0.006}, 'masks: expected at most 0.5%'),
])
def test_what_nobody_measures_must_agree(
    precision: str, found: dict[str, Any], said: str
) -> None:
    problems = Gate().problems([], [], changes(**found), manifest(precision=precision))
    assert [problem[: len(said)] for problem in problems] == ([said] if said else [])


def test_labels_of_boxes_say_nothing_about_masks() -> None:
    info = manifest(precision='int8')
    found = changes(lost=20, mask_share=0.5)
    (problem,) = Gate().problems([boxes(0.5)], [boxes(0.5)], found, info)
    assert problem.startswith('masks')


def test_a_head_without_labels_must_agree_though_another_is_measured() -> None:
    ground = manifest().semantic['ground'].model_dump()
    info = manifest(precision='int8', detection=None, semantic={'ground': ground, 'lane': ground})
    (problem,) = Gate().problems([masks(0.5)], [masks(0.5)], changes(mask_share=0.5), info)
    assert problem.startswith('masks')
