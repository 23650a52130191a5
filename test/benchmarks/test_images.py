"""Pictures from all over what is there, as an engine takes them."""

from __future__ import annotations

from pathlib import Path

import cv2
from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from perception_ros.benchmarks.images import letterboxed, read_pictures, spread
from perception_ros.core.errors import ImageError
from test.builders import manifest


@given(length=st.integers(0, 500), count=st.integers(1, 20))
def test_a_spread_reaches_from_the_start_to_near_the_end(length: int, count: int) -> None:
    found = spread(range(length), count)
    assert len(found) == min(length, count)
    assert found == sorted(set(found))
    if length >= count:
        assert found[0] == 0
        assert max(np.diff([*found, length])) <= 4 * length / count + 1


def test_pictures_of_a_folder(tmp_path: Path) -> None:
    for value in range(10):
        cv2.imwrite(str(tmp_path / f'{value}.png'), np.full((48, 64, 3), value, np.uint8))
    assert [int(picture[0, 0, 0]) for picture in read_pictures(tmp_path, 5)] == [0, 2, 4, 6, 8]
    assert len(read_pictures(tmp_path, 99)) == 10


def test_no_pictures(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match='no pictures in'):
        read_pictures(tmp_path, 3)


def test_the_padding_is_told_apart_from_the_picture() -> None:
    """The input is 96x64: a wide picture has grey above and below it."""
    blue = np.full((20, 192, 3), (255, 0, 0), np.uint8)
    images, content = letterboxed([blue], manifest().input)
    assert images.shape == (1, 64, 96, 3)
    x1, y1, x2, y2 = content[0]
    assert (x1, y1, x2, y2) == (0, 27, 96, 37)
    assert (images[0, y1:y2, x1:x2] == (0, 0, 255)).all(), 'RGB'
    assert (images[0, :y1] == 114).all() and (images[0, y2:] == 114).all()
