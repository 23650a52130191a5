"""Intersection over union against cases by hand, and against sets of pixels."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
import numpy as np
from numpy.typing import NDArray
import pytest

from perception_ros.evaluation.classes import match_classes
from perception_ros.evaluation.masks import ClassOverlap, MaskAccuracy, MaskScorer

NAMES = ('road', 'car', 'sky')


def score(
    *pairs: tuple[list[list[int]], list[list[int]]],
    data: tuple[str, ...] = NAMES,
    model: tuple[str, ...] = NAMES,
) -> MaskAccuracy:
    scorer = MaskScorer(match_classes(data, model))
    for truth, found in pairs:
        scorer.add(np.array(truth, np.uint8), np.array(found, np.uint8))
    return scorer.result()


def test_by_hand() -> None:
    """Road: 2 of 3; car: 1 of 2; sky neither labelled nor found."""
    result = score(([[0, 0, 0, 1]], [[0, 0, 1, 1]]))
    assert result.classes == {
        'road': ClassOverlap(3, pytest.approx(2 / 3), 1.0, pytest.approx(2 / 3)),
        'car': ClassOverlap(1, 0.5, 0.5, 1.0),
        'sky': ClassOverlap(0, None, None, None),
    }
    assert [item.f1 for item in result.classes.values()] == [
        pytest.approx(4 / 5), pytest.approx(2 / 3), None]
    assert result.miou == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert result.pixel_accuracy == 0.75


def test_images_are_counted_together_not_averaged() -> None:
    result = score(([[0]], [[0]]), ([[0, 0, 0]], [[1, 1, 1]]))
    assert result.classes['road'].iou == 0.25


def test_what_nobody_labelled_does_not_count() -> None:
    assert score(([[0, 255]], [[0, 1]])).miou == 1.0


def test_a_pixel_without_an_answer_is_wrong_for_its_class_alone() -> None:
    result = score(([[0, 0]], [[0, 255]]))
    assert result.classes['road'].iou == 0.5
    assert result.classes['car'].iou is None


def test_ids_are_matched_by_name_whatever_their_order() -> None:
    result = score(([[0, 1, 2]], [[2, 0, 1]]), model=('car', 'sky', 'road'))
    assert result.miou == 1.0


def test_a_class_that_the_model_lacks_is_wrong_if_called_another() -> None:
    """Drivable found on the pavement is a false one; background is nobody's class."""
    result = score(
        ([[0, 0, 1, 1]], [[1, 1, 1, 0]]), data=('drivable', 'pavement'),
        model=('background', 'drivable'),
    )
    assert result.classes == {
        'drivable': ClassOverlap(2, pytest.approx(2 / 3), pytest.approx(2 / 3), 1.0)}


def test_two_classes_of_the_data_may_be_one_of_the_model() -> None:
    result = score(([[0, 1]], [[0, 0]]), data=('car', 'car'), model=('car',))
    assert result.classes == {'car': ClassOverlap(2, 1.0, 1.0, 1.0)}


def test_no_labelled_pixel_gives_no_figure() -> None:
    result = score(([[255]], [[0]]))
    assert (result.miou, result.pixel_accuracy) == (None, None)


masks = arrays(np.uint8, (5, 7), elements=st.sampled_from([0, 1, 2, 255]))


@given(masks, masks)
def test_it_is_the_definition_on_sets(
    truth: NDArray[np.uint8], found: NDArray[np.uint8]
) -> None:
    result = score((truth.tolist(), found.tolist()))
    known = truth != 255
    for i, name in enumerate(NAMES):
        true, said = known & (truth == i), known & (found == i)
        both, union = int((true & said).sum()), int((true | said).sum())
        item = result.classes[name]
        assert item.iou == (both / union if union else None)
        assert item.precision == (both / int(said.sum()) if said.any() else None)
        assert item.recall == (both / int(true.sum()) if true.any() else None)
        total = int(true.sum() + said.sum())
        assert item.f1 == (pytest.approx(2 * both / total, abs=1e-6) if total else None)
        for j, other in enumerate(NAMES):
            assert result.confusion.counts[i, j] == (true & (found == j)).sum(), (name, other)
