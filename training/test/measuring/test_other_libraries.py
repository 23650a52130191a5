"""The runtime's scorers, by which models are judged, against libraries that they do not use."""

import contextlib
import io
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
import torch
from torchmetrics.classification import MulticlassJaccardIndex

from perception_ros.core.types import UNLABELLED
from perception_ros.evaluation.boxes import BoxScorer
from perception_ros.evaluation.classes import match_classes
from perception_ros.evaluation.masks import MaskScorer

CLASSES = ('car', 'person', 'bus')
SIZE = (320, 240)


def scene(random: np.random.Generator, truths: int, found: int) -> dict[str, Any]:
    """Draw true boxes, some of them crowds, and found ones, some of which are near true ones."""
    corners = random.uniform(0, 150, (truths, 2))
    true = np.hstack([corners, corners + random.uniform(4, 120, (truths, 2))])
    corners = random.uniform(0, 150, (found, 2))
    boxes = np.hstack([corners, corners + random.uniform(4, 120, (found, 2))])
    labels = random.integers(0, len(CLASSES), found)
    true_labels = random.integers(0, len(CLASSES), truths)
    if truths:
        for i in range(0, found, 2):
            near = int(random.integers(truths))
            boxes[i] = true[near] + random.normal(0, 4, 4)
            labels[i] = true_labels[near]
    return {
        'true': true, 'true_labels': true_labels, 'crowd': random.random(truths) < 0.2,
        'boxes': boxes, 'labels': labels, 'scores': random.random(found).round(2),
    }


def by_pycocotools(scenes: list[dict[str, Any]]) -> list[tuple[float | None, float | None]]:
    """Return AP50 and AP50-95 of each class, None where nothing is labelled."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth, found = [], []
    for number, item in enumerate(scenes, 1):
        for box, label, crowd in zip(item['true'], item['true_labels'], item['crowd'],
                                     strict=True):
            x1, y1, x2, y2 = box.tolist()
            truth.append({
                'id': len(truth) + 1, 'image_id': number, 'category_id': int(label) + 1,
                'bbox': [x1, y1, x2 - x1, y2 - y1], 'area': (x2 - x1) * (y2 - y1),
                'iscrowd': int(crowd)})
        for box, label, value in zip(item['boxes'], item['labels'], item['scores'], strict=True):
            x1, y1, x2, y2 = box.tolist()
            found.append({'image_id': number, 'category_id': int(label) + 1,
                          'bbox': [x1, y1, x2 - x1, y2 - y1], 'score': float(value)})
    with contextlib.redirect_stdout(io.StringIO()):
        known = COCO()
        known.dataset = {
            'info': {}, 'images': [{'id': i} for i in range(1, len(scenes) + 1)],
            'annotations': truth,
            'categories': [{'id': i, 'name': name} for i, name in enumerate(CLASSES, 1)]}
        known.createIndex()
        if not found:
            counts = [sum(not item['iscrowd'] and item['category_id'] == i for item in truth)
                      for i in range(1, len(CLASSES) + 1)]
            return [(0.0, 0.0) if count else (None, None) for count in counts]
        judge = COCOeval(known, known.loadRes(found), 'bbox')
        judge.evaluate()
        judge.accumulate()
    precision = judge.eval['precision'][:, :, :, 0, -1]
    return [
        (None, None) if (precision[:, :, i] == -1).all()
        else (float(precision[0, :, i].mean()), float(precision[:, :, i].mean()))
        for i in range(len(CLASSES))]


def ours(scenes: list[dict[str, Any]]) -> list[tuple[float | None, float | None]]:
    scorer = BoxScorer(CLASSES)
    for item in scenes:
        scorer.add(SIZE, item['true'], item['true_labels'], item['crowd'], item['boxes'],
                   item['labels'], item['scores'])
    result = scorer.result()
    return [(result.classes[name].ap50, result.classes[name].ap) for name in CLASSES]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1),
       st.lists(st.tuples(st.integers(0, 6), st.integers(0, 9)), min_size=1, max_size=4))
def test_average_precision_is_that_of_pycocotools(
        seed: int, sizes: list[tuple[int, int]]) -> None:
    """Crowds, empty images, nothing found and nothing labelled are among them."""
    random = np.random.default_rng(seed)
    scenes = [scene(random, *size) for size in sizes]
    for mine, theirs in zip(ours(scenes), by_pycocotools(scenes), strict=True):
        assert mine == pytest.approx(theirs, abs=1e-6)


@pytest.mark.parametrize(('crowd', 'found'), [(True, True), (False, False), (True, False)])
def test_of_crowds_alone_and_of_nothing_found(crowd: bool, found: bool) -> None:
    item = scene(np.random.default_rng(1), 3, 4)
    item['crowd'][:] = crowd
    if not found:
        item |= {'boxes': np.zeros((0, 4)), 'labels': np.zeros(0, int), 'scores': np.zeros(0)}
    for mine, theirs in zip(ours([item]), by_pycocotools([item]), strict=True):
        assert mine == pytest.approx(theirs, abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.floats(0, 1))
def test_intersection_over_union_is_that_of_torchmetrics(
        seed: int, images: int, known: float) -> None:
    """Unlabelled pixels count for neither; a class that is nowhere is left out of the mean."""
    random = np.random.default_rng(seed)
    names = (*CLASSES, 'sky')
    scorer = MaskScorer(match_classes(names, names))
    # What occurs nowhere has no figure here, and is left out there by hand.
    theirs = MulticlassJaccardIndex(len(names), average=None, ignore_index=UNLABELLED)
    labelled = np.zeros(len(names), bool)
    for _ in range(images):
        truth = random.integers(0, 3, (12, 16)).astype(np.uint8)
        found = np.where(random.random(truth.shape) < 0.6, truth,
                         random.integers(0, 3, truth.shape)).astype(np.uint8)
        truth[random.random(truth.shape) > known] = UNLABELLED
        scorer.add(truth, found)
        theirs.update(torch.from_numpy(found.astype(np.int64)),
                      torch.from_numpy(truth.astype(np.int64)))
        for ids in (truth, found[truth != UNLABELLED]):
            labelled[np.unique(ids[ids != UNLABELLED])] = True
    result = scorer.result()
    if not labelled.any():
        assert result.miou is None
        return
    values = theirs.compute().numpy()
    for i, name in enumerate(names):
        if labelled[i]:
            assert result.classes[name].iou == pytest.approx(float(values[i]), abs=1e-6)
        else:
            assert result.classes[name].iou is None
    assert result.miou == pytest.approx(float(values[labelled].mean()), abs=1e-6)
