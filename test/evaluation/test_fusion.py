"""What an error of an object's place is: the definitions that figures are quoted by."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
import pytest

from perception_ros.evaluation.fusion import compare, figures, Found, Placed

EYE = np.array([1.0, 2.0, 1.8])


def at(x: float, y: float, z: float) -> NDArray[np.float64]:
    return np.asarray(EYE + np.array([x, y, z]))


CENTRE = at(20, 0, -1)
FACE = np.array([at(18, y, z) for y in np.linspace(-0.9, 0.9, 10) for z in (-1, -0.5)])
"""What is seen of a car that drives ahead: its rear."""


def found(
    surface: tuple[float, float] = (18, 0), centre: tuple[float, float] = (20, 0),
    yaw: float | None = None, deviation_m: float = 1.0,
) -> Found:
    return Found(
        at(*surface, -0.75), at(*centre, -1), np.eye(3) * deviation_m**2, yaw, False
    )


def compared(ours: Found | None, yaw: float = 0.0) -> Placed:
    return compare('car', FACE, CENTRE, yaw, ours, EYE)


def test_range_is_along_the_line_of_sight_and_across_is_to_its_left() -> None:
    item = compared(found(surface=(18.5, 0.2), centre=(19, -1)))
    assert item.surface == pytest.approx((0.5, 0.2), abs=0.02)
    assert item.centre == pytest.approx((-0.97, -1), abs=0.01)
    assert item.range_m == 20
    assert item.points == len(FACE)


@pytest.mark.parametrize(('surface', 'in_place'), [
    ((18, 0), True), ((18.65, 0.25), True), ((17.35, -0.25), True),
    ((18.75, 0), False), ((17.25, 0), False), ((18, 0.35), False), ((18, -0.35), False),
])
def test_in_place_is_within_both_bounds(surface: tuple[float, float], in_place: bool) -> None:
    assert compared(found(surface=surface)).in_place == in_place


def test_what_is_not_found_is_not_in_place() -> None:
    item = compared(None)
    assert not item.in_place
    assert (item.surface, item.centre, item.turn, item.deviations) == (None,) * 4


@pytest.mark.parametrize(('ours', 'true', 'turn'), [
    (0.1, 0.0, 0.1), (-0.1, 0.0, -0.1), (np.pi, 0.0, 0.0), (3.1, -0.05, 3.15 - np.pi),
    (np.pi / 2 - 0.01, 0.0, np.pi / 2 - 0.01), (np.pi / 2 + 0.01, 0.0, 0.01 - np.pi / 2),
])
def test_front_and_back_look_alike(ours: float, true: float, turn: float) -> None:
    assert compared(found(yaw=ours), true).turn == pytest.approx(turn)


def test_a_yaw_that_is_not_told_is_not_wrong() -> None:
    assert compared(found()).turn is None


def test_deviations_are_those_of_the_covariance() -> None:
    assert compared(found(centre=(22, 0), deviation_m=0.5)).deviations == pytest.approx(4)


def test_figures_are_by_class_and_of_all() -> None:
    near, far = compared(found(yaw=0.2)), compared(found((20, 0), (24, 0), deviation_m=1))
    person = Placed('person', 30, 10.0)
    rows = {row.name: row for row in figures([near, far, person])}
    assert list(rows) == ['car', 'person', 'all']
    car = rows['car']
    assert (car.objects, car.found, car.in_place, car.yaws, car.in_ellipse) == (2, 2, 1, 1, 1)
    assert car.surface_range_p50_m == pytest.approx(1, abs=0.02)
    assert car.centre_p90_m == pytest.approx(3.6, abs=0.01)
    assert car.yaw_p50_deg == pytest.approx(np.degrees(0.2))
    assert (rows['person'].found, rows['person'].centre_p90_m) == (0, None)
    assert (rows['all'].objects, rows['all'].found, rows['all'].in_place) == (3, 2, 1)


def test_of_nothing_there_is_one_row_of_nothing() -> None:
    every, = figures([])
    assert (every.name, every.objects, every.centre_p90_m) == ('all', 0, None)
