"""What a costmap marks: nothing that stands in the way may be left out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
import numpy as np

from perception_ros.fusion.obstacles import obstacle_mask
from perception_ros.fusion.types import Paint

NAMES = ('road', 'Car', 'building')
ROAD, CAR, BUILDING, NONE = 0, 1, 2, 255


def paint(*classes: int) -> Paint:
    count = len(classes)
    return Paint(
        np.array(classes, np.uint8),
        np.ones(count, np.float32),
        np.zeros(count, np.uint8),
        np.zeros(count, np.uint16),
        NAMES,
    )


def mask(classes: list[int], ground: list[bool]) -> list[bool]:
    return obstacle_mask(paint(*classes), np.array(ground, np.bool_)).tolist()


def test_a_low_road_user_is_no_ground() -> None:
    """Feet and wheels lie where a plane that is fitted to the road lies too."""
    assert mask([CAR, CAR], [True, False]) == [True, True]


def test_the_road_is_no_obstacle_where_the_plane_misses_it() -> None:
    assert mask([ROAD, ROAD], [True, False]) == [False, False]


def test_what_no_camera_knows_stays_in_the_way() -> None:
    assert mask([NONE, BUILDING, NONE], [False, False, True]) == [True, True, False]


@given(st.lists(st.tuples(st.sampled_from([ROAD, CAR, BUILDING, NONE]), st.booleans())))
def test_only_ground_and_surfaces_are_left_out(points: list[tuple[int, bool]]) -> None:
    kept = mask([c for c, _ in points], [g for _, g in points])
    assert len(kept) == len(points)
    for (shown, ground), keep in zip(points, kept, strict=True):
        assert keep or ground or shown == ROAD
        assert not keep or shown == CAR or not ground
