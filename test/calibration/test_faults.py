"""What is plainly wrong with a lens or a place: found, and right ones left alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from perception_ros.bags import messages
from perception_ros.calibration.faults import (
    lens_faults,
    place_faults,
    time_faults,
    view_faults,
)
from perception_ros.fusion.camera_info import camera_model

MATRIX = np.array([[1266.0, 0, 816], [0, 1266, 491], [0, 0, 1]])
AHEAD = np.array([[0, -1, 0, 0], [0, 0, -1, -0.3], [1, 0, 0, -0.5], [0, 0, 0, 1]], np.float64)


def info(matrix: np.ndarray[Any, Any] = MATRIX) -> Any:
    return messages.camera_info(messages.header(0, 'front'), 1600, 900, matrix)


def of_lens(given: Any) -> str:
    found = lens_faults(given, camera_model(given), is_rectified=False)
    return ' | '.join(f'{fault.level}: {fault.text}' for fault in found)


def test_a_usual_lens_has_none() -> None:
    assert of_lens(info()) == ''


@pytest.mark.parametrize(('matrix', 'text'), [
    ([[126.6, 0, 800], [0, 126.6, 450], [0, 0, 1]], 'error: a focal length of 127 px'),
    ([[1266, 0, 800], [0, 712, 450], [0, 0, 1]], 'error: focal lengths of 1266 and 712 px'),
    ([[1266, 0, 400], [0, 1266, 450], [0, 0, 1]], 'warning: the principal point is at 400'),
], ids=['another size', 'another format', 'cut out'])
def test_an_implausible_matrix(matrix: list[list[float]], text: str) -> None:
    assert text in of_lens(info(np.array(matrix, np.float64)))


def test_a_projection_of_another_image() -> None:
    """A driver that scales K and forgets P, or the other way round."""
    given = info()
    given.p = np.hstack([MATRIX / 2, np.zeros((3, 1))]).reshape(12)
    assert 'K says a focal length of 1266 px and P of 633 px' in of_lens(given)


def test_a_projection_that_rectifies_may_differ() -> None:
    given = info()
    given.d = np.array([-0.3, 0.1, 0, 0, 0])
    given.p = np.hstack([np.diag([0.8, 0.8, 1]) @ MATRIX, np.zeros((3, 1))]).reshape(12)
    assert 'K says' not in of_lens(given)


def turned(*diagonal: float) -> np.ndarray[Any, Any]:
    return np.diag([*diagonal, 1.0]) @ AHEAD


@pytest.mark.parametrize(('place', 'level', 'text'), [
    (np.eye(4), 'error', 'an optical frame with z forward'),
    (turned(-1, -1, 1), 'warning', 'upside down'),
    (np.array([[0, 0, 1.0, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]]), 'warning', 'its side'),
    (AHEAD + np.array([[0, 0, 0, 1720], [0] * 4, [0] * 4, [0] * 4]), 'error', 'in metres'),
], ids=['body axes', 'upside down', 'on its side', 'millimetres'])
def test_an_odd_place(place: np.ndarray[Any, Any], level: str, text: str) -> None:
    (fault,) = place_faults(place, 'front', 'lidar')
    assert fault.level == level
    assert text in fault.text


def test_a_usual_place_has_none() -> None:
    assert place_faults(AHEAD, 'front', 'lidar') == []


@pytest.mark.parametrize(('offset_s', 'levels'), [
    (0.0, []), (-0.05, []), (0.1, ['warning']), (-0.1, ['warning']), (37.0, ['error']),
])
def test_time_between_image_and_sweep(offset_s: float, levels: list[str]) -> None:
    assert [fault.level for fault in time_faults(offset_s)] == levels


def test_points_that_are_nowhere_in_the_image() -> None:
    assert [fault.level for fault in view_faults(3, 30_000)] == ['error']
    assert view_faults(3_000, 30_000) == []
    assert view_faults(0, 0) == []
