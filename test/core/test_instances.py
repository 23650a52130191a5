"""Masks relative to their boxes, in the pixels of an image."""

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np

from perception_ros.core.instances import paint_instances, paste, whole_masks


def test_instances_are_painted_best_on_top() -> None:
    """Values are index + 1, and where two overlap the better one wins."""
    boxes = np.array([[10, 10, 30, 30], [20, 20, 50, 40]], np.float32)
    indices = paint_instances(np.ones((2, 28, 28), np.float32), boxes, (60, 50)).indices
    assert indices.dtype == np.uint16
    assert indices.shape == (50, 60)
    truth = np.zeros((50, 60), np.uint16)
    truth[20:40, 20:50] = 2
    truth[10:30, 10:30] = 1
    np.testing.assert_array_equal(indices, truth)


def test_an_instance_mask_is_relative_to_its_box() -> None:
    """Left half of the box, wherever the box is and however large."""
    mask = np.zeros((1, 28, 28), np.float32)
    mask[:, :, :14] = 1
    for box in ([0, 0, 56, 40], [3.5, 7.25, 48.5, 33.75], [-10, 5, 46, 30]):
        indices = paint_instances(mask, np.array([box], np.float32), (60, 50)).indices
        columns = np.flatnonzero(indices.any(axis=0))
        assert abs(columns.max() + 1 - (box[0] + box[2]) / 2) <= 1
        assert abs(columns.min() - max(box[0], 0)) <= 1


def test_a_box_without_an_inside_shows_nothing() -> None:
    """Nor does one that lies beyond the image, however far."""
    boxes = np.array([[5, 5, 5, 9], [7, 9, 3, 12], [1e30, 1, 2e30, 9], [-9e9, 2, -8e9, 9]])
    painted = paint_instances(np.ones((4, 3, 3)), boxes.astype(np.float32), (60, 50))
    assert not painted.indices.any()


def test_whole_masks_keep_what_lies_behind() -> None:
    """Where painted ones hide each other, each is measured as it was said."""
    boxes = np.array([[10, 10, 30, 30], [20, 20, 50, 40]], np.float32)
    whole = whole_masks(np.ones((2, 28, 28), np.float32), boxes, (60, 50))
    assert whole.shape == (2, 50, 60)
    assert whole.sum((1, 2)).tolist() == [400, 600]


def test_instances_are_painted_where_they_are_sent_from() -> None:
    """Else each image is copied once more, behind its message's header."""
    painted = paint_instances(np.ones((1, 2, 2)), np.array([[1, 1, 3, 3]], np.float32), (5, 4))
    assert painted.canvas is not None
    assert np.shares_memory(painted.canvas.pixels, painted.indices)


side = st.floats(-80, 140, width=32)


@settings(max_examples=80, deadline=None)
@given(side, side, st.floats(0.5, 90, width=32), st.floats(0.5, 90, width=32))
def test_a_full_mask_fills_what_its_box_touches(
    x: float, y: float, width: float, height: float
) -> None:
    """Wherever the box lies, beyond the image too, and nothing outside of it."""
    box = np.array([x, y, x + width, y + height], np.float32)
    [(window, shown)] = paste(np.ones((1, 7, 5)), box[None], (60, 50))
    image = np.zeros((50, 60), bool)
    image[window] = shown
    columns, rows = np.arange(60), np.arange(50)
    touched = ((rows + 1 > box[1]) & (rows < box[3]))[:, None] & (
        (columns + 1 > box[0]) & (columns < box[2]))
    np.testing.assert_array_equal(image, touched)
