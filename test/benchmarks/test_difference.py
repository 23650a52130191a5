"""How far two answers lie apart, by answers that were made by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from perception_ros.benchmarks.difference import difference
from perception_ros.benchmarks.report import Difference
from test.builders import manifest

CONTENT = np.array([[0, 8, 96, 56]])
"""The 96x64 input has eight rows of padding at the top and at the bottom."""


def answers(*boxes: tuple[float, ...], mask: Any = 0) -> dict[str, np.ndarray]:
    """Return the answers to one image; a box is (x1, y1, x2, y2, score, label)."""
    padded = np.zeros((1, 8, 6), np.float32)
    padded[0, : len(boxes)] = np.reshape(np.array(boxes, np.float32), (-1, 6))
    cells = np.zeros((1, 64, 96), np.uint8)
    cells[0] = mask
    return {
        'boxes': padded[..., :4],
        'scores': padded[..., 4],
        'labels': padded[..., 5].astype(np.int32),
        'semantic_ground': cells,
    }


def compare(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> Difference:
    return difference(left, right, manifest(), CONTENT)


CAR = (10.0, 10.0, 30.0, 30.0, 0.9, 0.0)
WEAK = (50.0, 10.0, 70.0, 30.0, 0.02, 1.0)


def test_the_same_is_no_difference() -> None:
    found = compare(answers(CAR, WEAK), answers(CAR, WEAK))
    assert found == Difference(
        images=1, box_px=0, score=0, boxes=1, lost=0, gained=0, mask_share=0
    )


def test_the_order_of_boxes_does_not_matter() -> None:
    found = compare(answers(CAR, WEAK), answers(WEAK, CAR))
    assert (found.box_px, found.score, found.lost) == (0, 0, 0)


def test_the_largest_side_and_score_count() -> None:
    moved = (10.5, 10.0, 30.0, 28.0, 0.7, 0.0)
    found = compare(answers(CAR, WEAK), answers(moved, WEAK))
    assert found.box_px == 2.0 and found.score == pytest.approx(0.2)


@pytest.mark.parametrize(
    ('came', 'lost', 'gained'),
    [
        pytest.param((CAR,), 0, 0, id='a weak one may be missing'),
        pytest.param((WEAK,), 1, 0, id='a strong one not'),
        pytest.param(((*CAR[:5], 1.0), WEAK), 1, 1, id='another class is another box'),
        pytest.param(((60.0, 30.0, 80.0, 50.0, 0.9, 0.0), WEAK), 1, 1, id='another place too'),
        pytest.param((CAR, WEAK, (60.0, 30.0, 80.0, 50.0, 0.5, 0.0)), 0, 1, id='one more'),
        pytest.param(((*CAR[:4], 0.1, 0.0), WEAK), 0, 0, id='a partner below the threshold'),
    ],
)
def test_boxes_without_a_partner(
    came: tuple[tuple[float, ...], ...], lost: int, gained: int
) -> None:
    found = compare(answers(CAR, WEAK), answers(*came))
    assert (found.boxes, found.lost, found.gained) == (1, lost, gained)


def test_equal_scores_and_the_padding_are_never_compared() -> None:
    """There runtimes order by rounding, and no one is wrong."""
    noise = [(0.0, y, 20.0, y + 4, score, 0.0) for y, score in ((1.0, 0.9), (20.0, 0.009))]
    found = compare(answers(CAR, *noise), answers(CAR))
    assert (found.boxes, found.lost) == (1, 0)


def test_mask_pixels_within_the_image() -> None:
    mask = np.zeros((64, 96), np.uint8)
    mask[:8] = 3  # padding
    mask[8, :48] = 2
    share = compare(answers(CAR), answers(CAR, mask=mask)).mask_share
    assert share == pytest.approx(48 / (48 * 96))


def test_a_model_without_boxes_has_none() -> None:
    masks = manifest(detection=None)
    found = difference(answers(), answers(mask=1), masks, CONTENT)
    assert (found.box_px, found.score, found.mask_share) == (None, None, 1.0)


def test_nothing_found_is_no_difference() -> None:
    assert compare(answers(), answers()).box_px == 0
