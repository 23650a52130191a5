"""Boxes and masks must lie where the pixels lie, both ways, for every size."""

from __future__ import annotations

import cv2
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from perception_ros.core.letterbox import Letterbox, LetterboxPolicy
from test.builders import picture

sizes = st.tuples(st.integers(1, 2000), st.integers(1, 2000))
inputs = st.tuples(st.integers(8, 1300), st.integers(8, 1300))
policies = st.builds(
    LetterboxPolicy,
    anchor=st.sampled_from(['center', 'top_left']),
    pad_value=st.just(114),
    upscale=st.booleans(),
    rounding=st.sampled_from(['nearest', 'down']),
)


@given(source=sizes, target=inputs, policy=policies)
def test_the_image_fits_and_keeps_its_shape(
    source: tuple[int, int], target: tuple[int, int], policy: LetterboxPolicy
) -> None:
    letterbox = Letterbox.fit(source, target, policy)
    width, height = letterbox.scaled_size
    x, y = letterbox.offset
    assert 1 <= width <= target[0] - x
    assert 1 <= height <= target[1] - y
    ratio = min(target[0] / source[0], target[1] / source[1])
    if not policy.upscale:
        ratio = min(ratio, 1.0)
    for side, was in zip((width, height), source, strict=True):
        assert abs(side - was * ratio) <= 1.0
    if policy.upscale and policy.rounding == 'nearest':
        assert width == target[0] or height == target[1], 'one side fills the input'


@given(source=sizes, target=inputs, policy=policies, data=st.data())
def test_boxes_survive_the_way_there_and_back(
    source: tuple[int, int], target: tuple[int, int], policy: LetterboxPolicy, data: st.DataObject
) -> None:
    corners = [data.draw(st.floats(0, side, width=32)) for side in source * 2]
    boxes = np.array([corners], np.float32)
    letterbox = Letterbox.fit(source, target, policy)
    there = letterbox.boxes_to_input(boxes)
    back = letterbox.boxes_to_source(there)
    # float32 resolves an input coordinate to 1e-4 px; a source pixel may be many of them
    tolerance = 2e-4 / min(letterbox.scale)
    np.testing.assert_allclose(back, boxes, atol=tolerance)
    assert (there >= -1e-3).all()
    assert (there <= np.array(target * 2) + 1e-3).all()


def test_boxes_are_clipped_to_the_image() -> None:
    letterbox = Letterbox.fit((100, 50), (64, 64))
    boxes = letterbox.clip(letterbox.boxes_to_source(np.array([[-20, -20, 90, 90]], np.float32)))
    assert boxes.tolist() == [[0, 0, 100, 50]]
    assert boxes.dtype == np.float32


@settings(max_examples=40, deadline=None)
@given(
    source=st.tuples(st.integers(40, 700), st.integers(40, 700)),
    target=st.tuples(st.integers(64, 400), st.integers(64, 400)),
    policy=policies,
)
def test_pixels_land_where_the_geometry_says(
    source: tuple[int, int], target: tuple[int, int], policy: LetterboxPolicy
) -> None:
    """The formula against the real thing: a rectangle is drawn, resized by OpenCV, and found."""
    width, height = source
    box = (width // 4, height // 4, width - width // 4, height - height // 4)
    pixels = picture(width, height, red=box)
    out = np.zeros((target[1], target[0], 3), np.uint8)
    letterbox = Letterbox.fit(source, target, policy)
    letterbox.write(pixels, None, out)
    red = (out[..., 0] > 184) & (out[..., 1] < 57)
    expected = letterbox.boxes_to_input(np.array([box], np.float32))[0]
    if min(expected[2] - expected[0], expected[3] - expected[1]) < 2:
        return  # too small to have an inside after scaling
    rows, columns = np.nonzero(red)
    found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    # 'down' states the nominal ratio, which the cut-off part of a pixel belies at the far end.
    np.testing.assert_allclose(found, expected, atol=1.0 if policy.rounding == 'nearest' else 2.0)


def test_padding_is_rewritten_every_time() -> None:
    """Slots are reused: the last frame's edge must not shine through beside a smaller one."""
    out = np.full((64, 64, 3), 7, np.uint8)
    Letterbox.fit((64, 32), (64, 64)).write(np.full((32, 64, 3), 200, np.uint8), None, out)
    assert (out[:16] == 114).all()
    assert (out[48:] == 114).all()
    assert (out[16:48] == 200).all()


def test_colours_are_converted_after_resizing() -> None:
    out = np.zeros((20, 20, 3), np.uint8)
    bgr = np.zeros((40, 40, 3), np.uint8)
    bgr[..., 0] = 255
    Letterbox.fit((40, 40), (20, 20)).write(bgr, cv2.COLOR_BGR2RGB, out)
    assert (out == (0, 0, 255)).all()


@given(
    source=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    target=st.tuples(st.integers(2, 20), st.integers(2, 20)),
    stride=st.sampled_from([1, 2, 4]),
    policy=policies,
)
def test_each_mask_pixel_takes_the_cell_its_centre_falls_into(
    source: tuple[int, int], target: tuple[int, int], stride: int, policy: LetterboxPolicy
) -> None:
    """Against the definition, computed pixel by pixel."""
    target = (target[0] * stride, target[1] * stride)
    letterbox = Letterbox.fit(source, target, policy)
    cells = (target[1] // stride, target[0] // stride)
    mask = np.arange(cells[0] * cells[1], dtype=np.uint8).reshape(cells)
    restored = letterbox.mask_to_source(mask)
    assert restored.shape == (source[1], source[0])
    for x, y in {(0, 0), (source[0] - 1, source[1] - 1), (source[0] // 2, source[1] // 3)}:
        at_x = (x + 0.5) * letterbox.scale[0] + letterbox.offset[0]
        at_y = (y + 0.5) * letterbox.scale[1] + letterbox.offset[1]
        if max(abs(at_x / stride - round(at_x / stride)), 1e-9) < 1e-6:
            continue  # on the edge between two cells either is right
        if abs(at_y / stride - round(at_y / stride)) < 1e-6:
            continue
        assert restored[y, x] == mask[int(at_y / stride), int(at_x / stride)]


@pytest.mark.parametrize('size', [(0, 10), (10, 0), (-1, 5)])
def test_impossible_sizes_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match='must be positive'):
        Letterbox.fit(size, (64, 64))


def test_the_published_yolox_recipe() -> None:
    """1280x720 into 416x416, image at the top left, sizes rounded down: 416x234."""
    policy = LetterboxPolicy('top_left', 114, True, 'down')
    assert Letterbox.fit((1280, 720), (416, 416), policy).scaled_size == (416, 234)
    assert Letterbox.fit((1000, 333), (416, 416), policy).scaled_size == (416, 138)
    assert Letterbox.fit((1000, 333), (416, 416), policy).offset == (0, 0)
