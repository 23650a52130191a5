"""Average precision of masks against cases by hand, and against the library's own summary."""

from __future__ import annotations

import contextlib
import io
from typing import Any

from faster_coco_eval import COCO, COCOeval_faster
import numpy as np
from numpy.typing import NDArray
import pytest

from perception_ros.evaluation.boxes import BoxAccuracy, ClassPrecision
from perception_ros.evaluation.instances import InstanceScorer

WIDTH, HEIGHT = 60, 40
Mask = NDArray[np.bool_]


def block(left: int, top: int, width: int, height: int) -> Mask:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[top:top + height, left:left + width] = True
    return mask


def ring() -> Mask:
    """Return a mask whose box is that of a full block, and whose pixels are half of it."""
    return block(10, 10, 20, 10) & ~block(15, 10, 10, 10)


class Image:
    """What is true of an image, and what was found in it."""

    def __init__(self, *truth: tuple[Mask, int], crowd: tuple[int, ...] = (),
                 found: tuple[tuple[Mask, int, float], ...] = ()) -> None:
        self.masks = stacked([mask for mask, _ in truth])
        self.labels = np.array([label for _, label in truth], np.int64)
        self.crowd = np.isin(np.arange(len(truth)), crowd)
        self.found = stacked([mask for mask, _, _ in found])
        self.found_labels = np.array([label for _, label, _ in found], np.int32)
        self.scores = np.array([score for _, _, score in found], np.float32)


def stacked(masks: list[Mask]) -> Mask:
    return np.array(masks, bool).reshape(-1, HEIGHT, WIDTH)


def score(*images: Image) -> BoxAccuracy:
    scorer = InstanceScorer(('car', 'person'))
    for image in images:
        scorer.add((WIDTH, HEIGHT), image.masks, image.labels, image.crowd,
                   image.found, image.found_labels, image.scores)
    return scorer.result()


def figures(item: ClassPrecision) -> tuple[int, float | None, float | None]:
    return item.count, item.ap50, item.ap


def test_true_masks_score_1_though_they_overlap() -> None:
    car, person = block(5, 5, 20, 10), block(20, 8, 5, 20)
    result = score(Image((car, 0), (person, 1), found=((person, 1, 0.3), (car, 0, 0.9))))
    assert {name: figures(item) for name, item in result.classes.items()} == {
        'car': (1, 1.0, 1.0), 'person': (1, 1.0, 1.0)}


def test_a_mask_is_judged_by_its_pixels_not_by_its_box() -> None:
    """Half of the pixels of the same box: an IoU of 0.5, reached at the first threshold alone."""
    result = score(Image((block(10, 10, 20, 10), 0), found=((ring(), 0, 0.9),)))
    assert result.classes['car'].ap50 == 1.0
    assert result.classes['car'].ap == pytest.approx(0.1)


def test_a_crowd_is_neither_to_be_found_nor_wrong() -> None:
    """What lies in a crowd's region does not count, however much of the region it leaves out."""
    image = Image((block(0, 0, 10, 10), 0), (block(20, 0, 40, 40), 0), crowd=(1,), found=(
        (block(25, 5, 8, 8), 0, 0.95), (block(0, 0, 10, 10), 0, 0.9)))
    assert figures(score(image).classes['car']) == (1, 1.0, 1.0)
    beside = Image((block(0, 0, 10, 10), 0), found=(
        (block(25, 5, 8, 8), 0, 0.95), (block(0, 0, 10, 10), 0, 0.9)))
    assert score(beside).classes['car'].ap50 == pytest.approx(0.5)


@pytest.mark.parametrize(('image', 'map50'), [
    pytest.param(Image(), None, id='nothing is there and nothing found'),
    pytest.param(Image(found=((ring(), 0, 0.9),)), None, id='nothing is there'),
    pytest.param(Image((ring(), 0)), 0.0, id='nothing found'),
    pytest.param(Image((ring(), 0), found=((block(0, 0, 0, 0), 0, 0.9),)), 0.0, id='empty mask'),
    pytest.param(Image((ring(), -1), found=((ring(), 0, 0.9),)), None, id='of no class'),
])
def test_what_is_empty_has_no_figure_or_0(image: Image, map50: float | None) -> None:
    assert score(image).map50 == map50


def test_compressed_masks_count_as_their_pixels() -> None:
    scorer = InstanceScorer(('car',))
    label, crowd = np.zeros(1, np.int64), np.zeros(1, bool)
    rles = scorer._rles(ring()[None])
    scorer.add((WIDTH, HEIGHT), rles, label, crowd, ring()[None], label, np.ones(1))
    assert scorer.result().map == 1.0


def test_it_may_be_measured_on_the_way() -> None:
    """The library writes into what it is given: boxes beside the masks, which it then prefers."""
    scorer = InstanceScorer(('car',))
    label, crowd = np.zeros(1, np.int64), np.zeros(1, bool)
    for found in (ring(), block(10, 10, 20, 10)):  # the second has the ring's box alone
        scorer.add((WIDTH, HEIGHT), ring()[None], label, crowd, found[None], label,
                   np.full(1, 0.5))
        first, again = scorer.result(), scorer.result()
        assert first.map == again.map
    assert first.map50 == 1.0 and first.map == pytest.approx(0.55, abs=0.01)


def test_it_is_what_the_library_says_itself() -> None:
    """Through its own files of annotations: uncompressed masks, crowds, images without any."""
    rng = np.random.default_rng(4)
    images = [blobs(rng) for _ in range(12)] + [Image(), Image(found=((ring(), 1, 0.4),))]
    mean, at_50 = summary(images)
    result = score(*images)
    assert 0.1 < at_50 < 0.9
    assert result.map == pytest.approx(mean, abs=1e-9)
    assert result.map50 == pytest.approx(at_50, abs=1e-9)


def blobs(rng: np.random.Generator) -> Image:
    truth, found = [], []
    for _ in range(int(rng.integers(1, 6))):
        x, y, w, h = rng.integers((0, 0, 3, 3), (40, 25, 21, 16))
        dx, dy = rng.integers(-2, 3, 2)
        truth.append((block(x, y, w, h), int(rng.integers(2))))
        shifted = block(max(x + dx, 0), max(y + dy, 0), w, h) & (rng.random((HEIGHT, WIDTH)) < 0.9)
        found.append((shifted, int(rng.integers(2)), float(rng.random())))
    return Image(*truth, crowd=(0,) if rng.random() < 0.4 else (), found=tuple(found))


def summary(images: list[Image]) -> tuple[float, float]:
    """Return AP50-95 and AP50 as the library sums them up."""
    truth: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for number, image in enumerate(images, 1):
        for mask, label, crowd in zip(image.masks, image.labels, image.crowd, strict=True):
            truth.append({
                'id': len(truth) + 1, 'image_id': number, 'category_id': int(label) + 1,
                'iscrowd': int(crowd), 'area': int(mask.sum()), 'segmentation': counted(mask)})
        for mask, label, value in zip(image.found, image.found_labels, image.scores, strict=True):
            found.append({'image_id': number, 'category_id': int(label) + 1,
                          'score': float(value), 'segmentation': counted(mask)})
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO({
            'images': [{'id': n, 'width': WIDTH, 'height': HEIGHT}
                       for n in range(1, len(images) + 1)],
            'annotations': truth,
            'categories': [{'id': 1, 'name': 'car'}, {'id': 2, 'name': 'person'}]})
        for item in found:
            item['segmentation'] = coco.annToRLE(item)
        judge = COCOeval_faster(coco, coco.loadRes(found), 'segm')
        judge.run()
    return float(judge.stats[0]), float(judge.stats[1])


def counted(mask: Mask) -> dict[str, Any]:
    """Return lengths of runs, column by column, beginning with what is not in the mask."""
    ends = np.flatnonzero(np.diff(np.concatenate(([False], mask.T.ravel()))))
    runs = np.diff(np.concatenate(([0], ends, [mask.size])))
    return {'size': [HEIGHT, WIDTH], 'counts': runs.tolist()}
