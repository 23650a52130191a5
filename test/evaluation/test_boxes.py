"""Average precision against cases by hand, and against its definition in plain Python."""

from __future__ import annotations

import sys

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
from numpy.typing import NDArray
import pytest

from perception_ros.core.errors import DatasetError
from perception_ros.evaluation.boxes import BoxAccuracy, BoxScorer

SIZE = (100, 100)
BOX = (10.0, 10.0, 30.0, 30.0)
FAR = (60.0, 60.0, 90.0, 90.0)
Found = tuple[tuple[float, ...], int, float]
Truth = tuple[tuple[float, ...], int]
Image = tuple[list[Truth], list[Found]]


def score(
    *images: Image, classes: tuple[str, ...] = ('car', 'person'), crowd: bool = False
) -> BoxAccuracy:
    scorer = BoxScorer(classes)
    for truth, found in images:
        scorer.add(
            SIZE,
            np.array([box for box, _ in truth], np.float64).reshape(-1, 4),
            np.array([label for _, label in truth], np.int64),
            np.full(len(truth), crowd),
            np.array([box for box, _, _ in found], np.float32).reshape(-1, 4),
            np.array([label for _, label, _ in found], np.int32),
            np.array([value for _, _, value in found], np.float32),
        )
    return scorer.result()


def figures(result: BoxAccuracy, name: str) -> tuple[int, float | None, float | None]:
    item = result.classes[name]
    return item.count, item.ap50, item.ap


def test_a_perfect_model_has_1() -> None:
    result = score(([(BOX, 0), (FAR, 1)], [(BOX, 0, 0.9), (FAR, 1, 0.2)]))
    assert figures(result, 'car') == (1, 1.0, 1.0)
    assert (result.map50, result.map) == (1.0, 1.0)


def test_a_box_at_iou_0_6_counts_at_three_of_ten_thresholds() -> None:
    """12 of 20 columns: IoU 0.6, reached at 0.5, 0.55 and 0.6."""
    result = score(([(BOX, 0)], [((10.0, 10.0, 22.0, 30.0), 0, 0.9)]))
    assert result.classes['car'].ap50 == 1.0
    assert result.classes['car'].ap == pytest.approx(0.3)


def test_a_better_scored_wrong_box_halves_precision() -> None:
    """One right of two, the wrong one first: precision 1/2 at every recall."""
    result = score(([(BOX, 0)], [(FAR, 0, 0.9), (BOX, 0, 0.5)]))
    assert result.classes['car'].ap50 == pytest.approx(0.5)


def test_half_of_the_boxes_found_fills_51_of_101_recalls() -> None:
    result = score(([(BOX, 0), (FAR, 0)], [(BOX, 0, 0.9)]))
    assert result.classes['car'].ap50 == pytest.approx(51 / 101)


def test_a_class_that_nothing_is_labelled_as_is_left_out_of_the_mean() -> None:
    result = score(([(BOX, 0)], [(BOX, 0, 0.9), (FAR, 1, 0.9)]))
    assert figures(result, 'person') == (0, None, None)
    assert result.map50 == 1.0


def test_a_class_that_is_labelled_and_never_found_counts_as_0() -> None:
    result = score(([(BOX, 0), (FAR, 1)], [(BOX, 0, 0.9)]))
    assert figures(result, 'person') == (1, 0.0, 0.0)
    assert result.map50 == 0.5


@pytest.mark.parametrize('found', [[], [(BOX, 0, 0.9)]], ids=['nothing found', 'a box found'])
def test_without_labels_there_is_no_figure(found: list[Found]) -> None:
    assert score(([], found)).map50 is None


def test_nothing_found_at_all_is_0() -> None:
    assert score(([(BOX, 0)], [])).map50 == 0.0


def test_boxes_of_other_classes_do_not_count() -> None:
    """-1 is what neither side calls one of the common classes."""
    result = score(([(BOX, 0), (FAR, -1)], [(BOX, 0, 0.5), (FAR, -1, 0.9)]))
    assert figures(result, 'car') == (1, 1.0, 1.0)


def test_a_crowd_is_neither_to_be_found_nor_wrong() -> None:
    result = score(([(FAR, 0)], [(FAR, 0, 0.9)]), crowd=True)
    assert figures(result, 'car') == (0, None, None)


def test_a_missing_library_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'faster_coco_eval', None)
    with pytest.raises(DatasetError, match=r'perception_ros\[evaluation\]'):
        BoxScorer(('car',))


coordinate = st.integers(0, 20).map(lambda value: value * 2.5)
box = st.tuples(coordinate, coordinate, st.integers(1, 8), st.integers(1, 8)).map(
    lambda b: (b[0], b[1], b[0] + 5.0 * b[2], b[1] + 5.0 * b[3])
)
truth = st.lists(st.tuples(box, st.just(0)), min_size=1, max_size=4)


@st.composite
def images(draw: st.DrawFn) -> list[Image]:
    """Images whose scores all differ: the order of equal ones is nobody's."""
    drawn = draw(st.lists(st.tuples(truth, st.lists(box, max_size=5)), min_size=1, max_size=3))
    total = sum(len(found) for _, found in drawn)
    scores = iter(draw(st.permutations([(i + 1) / (total + 1) for i in range(total)])))
    return [(true, [(b, 0, next(scores)) for b in found]) for true, found in drawn]


@settings(max_examples=60, deadline=None)
@given(images())
def test_it_is_the_definition(drawn: list[Image]) -> None:
    """Greedy matching by score, precision made monotonous, its mean at 101 recalls."""
    result = score(*drawn, classes=('car',)).classes['car']
    expected = [average_precision(drawn, 0.5 + 0.05 * step) for step in range(10)]
    assert result.ap50 == pytest.approx(expected[0], abs=1e-6)
    assert result.ap == pytest.approx(float(np.mean(expected)), abs=1e-6)


def average_precision(drawn: list[Image], threshold: float) -> float:
    rows = sorted(
        ((value, i, b) for i, (_, found) in enumerate(drawn) for b, _, value in found),
        reverse=True,
    )
    taken: set[tuple[int, int]] = set()
    right = []
    for _, i, b in rows:
        free = [
            (overlap(b, true), j) for j, (true, _) in enumerate(drawn[i][0]) if (i, j) not in taken
        ]
        # Of equal overlaps the later label is taken, as in COCO's own code.
        best, j = max(free, default=(0.0, -1))
        good = best >= min(threshold, 1 - 1e-10) - 1e-9
        if good:
            taken.add((i, j))
        right.append(good)
    total = sum(len(true) for true, _ in drawn)
    hits = np.cumsum(right)
    precision = hits / np.arange(1, len(hits) + 1)
    recall = hits / total
    return float(np.mean([
        max(precision[recall >= level - 1e-12], default=0.0) for level in np.linspace(0, 1, 101)
    ]))


def overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    areas: NDArray[np.float64] = np.array([(s[2] - s[0]) * (s[3] - s[1]) for s in (a, b)])
    return width * height / float(areas.sum() - width * height)
