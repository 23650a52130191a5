"""Right, false, missed, called another: by hand, and against COCO's rule in plain Python."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from perception_ros.evaluation.boxes import BoxAccuracy, BoxScorer
from perception_ros.evaluation.matching import (
    FALSE,
    FoundSide,
    NEUTRAL,
    partners,
    TrueSide,
    Verdict,
)

CLASSES = ('car', 'person')
BOX, NEAR, FAR = (10.0, 10.0, 30.0, 30.0), (12.0, 10.0, 32.0, 30.0), (60.0, 60.0, 90.0, 90.0)
Box = tuple[float, float, float, float]
Truth = tuple[Box, int, bool]
Found = tuple[Box, int, float]
Image = tuple[list[Truth], list[Found]]


def sides(image: Image) -> tuple[TrueSide, FoundSide]:
    truth, found = image
    return (
        TrueSide(np.array([t[0] for t in truth], np.float64).reshape(-1, 4),
                 np.array([t[1] for t in truth], np.int64), np.array([t[2] for t in truth], bool)),
        FoundSide(np.array([f[0] for f in found], np.float64).reshape(-1, 4),
                  np.array([f[1] for f in found], np.int64),
                  np.array([f[2] for f in found], np.float64)))


def measured(images: list[Image], score: float = 0.3) -> tuple[BoxAccuracy, list[Verdict]]:
    scorer = BoxScorer(CLASSES, score)
    bad = []
    for image in images:
        true, found = sides(image)
        bad.append(scorer.add((200, 200), true.boxes, true.labels, true.crowd, found.boxes,
                              found.labels, found.scores))
    return scorer.result(), bad


@pytest.mark.parametrize(('truth', 'found', 'expected'), [
    ([(BOX, 0, False)], [(BOX, 0, 0.9), (NEAR, 0, 0.8)], [0, FALSE]),
    ([(BOX, 0, False)], [(NEAR, 0, 0.8), (BOX, 0, 0.9)], [FALSE, 0]),
    ([(BOX, 0, False)], [(BOX, 1, 0.9)], [FALSE]),
    ([(BOX, 0, True)], [(BOX, 0, 0.9), (NEAR, 0, 0.8), (BOX, 1, 0.7)], [NEUTRAL, NEUTRAL, FALSE]),
    ([(FAR, 0, True), (BOX, 0, False)], [(BOX, 0, 0.9), (FAR, 0, 0.8)], [1, NEUTRAL]),
    ([], [(BOX, 0, 0.9)], [FALSE]),
    ([(BOX, 0, False)], [], []),
    ([], [(FAR, 0, 0.9 - i / 1000) for i in range(102)], [FALSE] * 100 + [NEUTRAL] * 2),
], ids=['the second on one object is false', 'scores choose, not the order', 'of another class',
        'in a crowd', 'a crowd beside an object', 'nothing is true', 'nothing is found',
        'the hundred best of a class count'])
def test_partners(truth: list[Truth], found: list[Found], expected: list[int]) -> None:
    assert partners(*sides((truth, found))).tolist() == expected


@pytest.mark.parametrize(('truth', 'found', 'cells'), [
    ([(BOX, 0, False)], [(BOX, 0, 0.9)], {(0, 0): 1}),
    ([(BOX, 0, False)], [(NEAR, 1, 0.9)], {(0, 1): 1}),
    ([(BOX, 0, False)], [(BOX, 0, 0.2)], {(0, 2): 1}),
    ([(BOX, 0, False)], [(FAR, 0, 0.9)], {(0, 2): 1, (2, 0): 1}),
    ([(BOX, 0, False)], [(NEAR, 0, 0.5), (BOX, 1, 0.9)], {(0, 0): 1, (2, 1): 1}),
    ([(BOX, 0, True)], [(BOX, 0, 0.9)], {}),
    ([(BOX, 0, True)], [(BOX, 1, 0.9)], {(2, 1): 1}),
], ids=['right', 'called another', 'below the score', 'beside it', 'the right class comes first',
        'a crowd counts nowhere', "another class's crowd is no excuse"])
def test_confusion(truth: list[Truth], found: list[Found],
                   cells: dict[tuple[int, int], int]) -> None:
    result, _ = measured([(truth, found)])
    expected = np.zeros((3, 3), np.int64)
    for place, count in cells.items():
        expected[place] = count
    assert result.confusion.names == (*CLASSES, 'background')
    np.testing.assert_array_equal(result.confusion.counts, expected)


def test_how_bad_an_image_is() -> None:
    """A miss counts 1, a false box its score; what lies below the threshold nothing."""
    _, bad = measured([
        ([(BOX, 0, False), (FAR, 1, False)], [(BOX, 0, 0.9), (FAR, 0, 0.7), (NEAR, 1, 0.2)]),
        ([(BOX, 0, False)], [(BOX, 0, 0.31)])])
    assert bad == [Verdict(1, (0.7,)), Verdict(0, ())]
    assert [verdict.cost for verdict in bad] == [pytest.approx(1.7), 0.0]


def test_the_best_threshold_by_hand() -> None:
    """Right at 0.9 and 0.6, false at 0.8 and 0.3: from 0.6 on, 2 of 3 said and 2 of 2 found."""
    best = measured([(
        [(BOX, 0, False), (FAR, 0, False)],
        [(BOX, 0, 0.9), (NEAR, 0, 0.8), (FAR, 0, 0.6), ((0, 60, 9, 90), 0, 0.3)],
    )])[0].classes['car'].best
    assert best is not None
    assert (best.score, best.precision, best.recall, best.f1) == (
        0.6, pytest.approx(2 / 3), 1.0, pytest.approx(0.8))


def test_a_box_on_the_border_of_two_sizes_is_to_be_found_in_both() -> None:
    """COCO's ranges hold both of their ends; the library's precision is that of both."""
    border = (10.0, 10.0, 42.0, 42.0)
    sizes = measured([([(border, 0, False)], [(border, 0, 0.9)])])[0].classes['car'].sizes
    assert {name: (item.count, item.ap) for name, item in sizes.items()} == {
        'small': (1, 1.0), 'medium': (1, 1.0), 'large': (0, None)}


def test_without_labels_or_answers_there_is_no_best_threshold() -> None:
    result, _ = measured([([(BOX, 0, False)], [(BOX, 1, 0.9)])])
    assert [item.best for item in result.classes.values()] == [None, None]


coordinate = st.integers(0, 16).map(lambda value: value * 2.5)
side = st.integers(1, 12).map(lambda value: value * 10.0)
box = st.tuples(coordinate, coordinate, side, side).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3]))
label = st.integers(0, 1)
truths = st.lists(st.tuples(box, label, st.sampled_from([False, False, True])), max_size=4)


@st.composite
def images(draw: st.DrawFn) -> list[Image]:
    """Images with crowds, of all sizes, whose scores all differ."""
    drawn = draw(st.lists(st.tuples(truths, st.lists(st.tuples(box, label), max_size=6)),
                          min_size=1, max_size=3))
    total = sum(len(found) for _, found in drawn)
    scores = iter(draw(st.permutations([(i + 1) / (total + 1) for i in range(total)])))
    return [(true, [(b, c, next(scores)) for b, c in found]) for true, found in drawn]


@settings(max_examples=60, deadline=None)
@given(images())
def test_sizes_crowds_and_thresholds_are_the_definition(drawn: list[Image]) -> None:
    result, _ = measured(drawn)
    areas = {'small': (0, 32**2), 'medium': (32**2, 96**2), 'large': (96**2, 1e10)}
    for c, item in enumerate(result.classes.values()):
        count, ap50, operating = average_precision(drawn, c, 0.5, (0, 1e10))
        assert (item.count, item.ap50) == (count, pytest.approx(ap50, abs=1e-6))
        for size, found in item.sizes.items():
            count, ap50, _ = average_precision(drawn, c, 0.5, areas[size])
            assert (found.count, found.ap50) == (count, pytest.approx(ap50, abs=1e-6)), size
            steps = [average_precision(drawn, c, 0.5 + 0.05 * i, areas[size])[1]
                     for i in range(10)]
            mean = None if count == 0 else np.mean(steps)
            assert found.ap == pytest.approx(mean, abs=1e-6), size
        for score, right, said in operating:
            point = item.operating.at(score)
            assert point.precision == pytest.approx(right / said, abs=1e-6)
            if item.count:
                assert point.recall == pytest.approx(right / item.count, abs=1e-6)
                assert point.f1 == pytest.approx(2 * right / (said + item.count), abs=1e-6)
        if item.best:
            assert item.best.f1 == pytest.approx(
                max(2 * right / (said + item.count) for _, right, said in operating), abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(images())
def test_confusion_holds_every_box_once(drawn: list[Image]) -> None:
    result, _ = measured(drawn)
    counts = result.confusion.counts
    for c, item in enumerate(result.classes.values()):
        assert counts[c].sum() == item.count
        assert counts[c, c] == round(item.operating.at(0.3).recall * item.count)


def average_precision(
    drawn: list[Image], c: int, least: float, area: tuple[float, float]
) -> tuple[int, float | None, list[tuple[float, int, int]]]:
    """Give the number of true boxes, AP, and (score, right, said) down to each counted box."""
    rows = sorted(((score, i, b) for i, (_, found) in enumerate(drawn) for b, label, score in found
                   if label == c), reverse=True)
    true = [[(b, crowd or not area[0] <= size(b) <= area[1], crowd)
             for b, label, crowd in truth if label == c] for truth, _ in drawn]
    total = sum(not ignored for image in true for _, ignored, _ in image)
    taken: set[tuple[int, int]] = set()
    right = said = 0
    points, curve = [], []
    for score, i, b in rows:
        # Boxes that count are asked first; only what finds none may belong to one that does not.
        for wanted in (False, True):
            rivals = [(iou(b, t, crowd), j) for j, (t, ignored, crowd) in enumerate(true[i])
                      if ignored == wanted and (crowd or (i, j) not in taken)]
            share, j = max(rivals, default=(0.0, -1))
            if share >= min(least, 1 - 1e-10) - 1e-9:
                taken.add((i, j))
                break
        else:
            j, wanted = -1, not area[0] <= size(b) <= area[1]
        if wanted:
            continue
        right, said = right + (j >= 0), said + 1
        points.append((score, right, said))
        curve.append((right / total if total else 0.0, right / said))
    ap = np.mean([max((p for r, p in curve if r >= level - 1e-12), default=0.0)
                  for level in np.linspace(0, 1, 101)]) if total else None
    return total, ap, points


def size(b: Box) -> float:
    return (b[2] - b[0]) * (b[3] - b[1])


def iou(found: Box, true: Box, crowd: bool) -> float:
    width = max(0.0, min(found[2], true[2]) - max(found[0], true[0]))
    height = max(0.0, min(found[3], true[3]) - max(found[1], true[1]))
    both = width * height
    return both / (size(found) if crowd else size(found) + size(true) - both)
