"""Rigid transforms, against OpenCV's rotation vectors and against themselves."""

from __future__ import annotations

import cv2
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from perception_ros.core import poses
from perception_ros.core.poses import Matrix

SMALL = st.floats(-3, 3)
VECTORS = st.tuples(SMALL, SMALL, SMALL)


def matrix_of(turn: tuple[float, ...], shift: tuple[float, ...]) -> Matrix:
    """Return a pose; `turn` is the axis times the angle."""
    matrix = np.eye(4)
    matrix[:3, :3] = cv2.Rodrigues(np.array(turn))[0]
    matrix[:3, 3] = shift
    return matrix


@given(VECTORS, VECTORS, st.floats(0.01, 100))
def test_quaternions_and_matrices_say_the_same(
    turn: tuple[float, ...], shift: tuple[float, ...], length: float
) -> None:
    """Whatever the length of the quaternion: bags hold some that are rounded."""
    matrix = matrix_of(turn, shift)
    quaternion = np.array(poses.quaternion_of(matrix[:3, :3]))
    assert np.linalg.norm(quaternion) == pytest.approx(1)
    assert quaternion[3] >= 0
    assert np.allclose(poses.pose(shift, (quaternion * length).tolist()), matrix, atol=1e-7)
    assert np.allclose(poses.inverse(matrix) @ matrix, np.eye(4), atol=1e-9)


@given(SMALL, SMALL, SMALL)
def test_roll_pitch_and_yaw_turn_about_fixed_axes(roll: float, pitch: float, yaw: float) -> None:
    about_x, about_y, about_z = (
        matrix_of(tuple(np.eye(3)[axis] * angle), (0, 0, 0))
        for axis, angle in enumerate((roll, pitch, yaw))
    )
    turned = poses.pose((0, 0, 0), poses.quaternion_from_roll_pitch_yaw(roll, pitch, yaw))
    assert np.allclose(turned, about_z @ about_y @ about_x, atol=1e-7)


@given(VECTORS, VECTORS, VECTORS, VECTORS, st.floats(0, 1))
@settings(deadline=None)
def test_between_two_poses_it_turns_evenly_the_shorter_way(
    turn: tuple[float, ...], shift: tuple[float, ...], more: tuple[float, ...],
    further: tuple[float, ...], part: float,
) -> None:
    """OpenCV gives the axis and the angle from the first to the second."""
    first = matrix_of(turn, shift)
    more = tuple(np.array(more) / 2)  # at half a turn either way is as short
    second = first @ matrix_of(more, (0, 0, 0))
    second[:3, 3] = further
    halfway = poses.between(first, second, part)
    expected = first @ matrix_of(tuple(np.array(more) * part), (0, 0, 0))
    assert np.allclose(halfway[:3, :3], expected[:3, :3], atol=1e-6)
    assert np.allclose(halfway[:3, 3], (1 - part) * np.array(shift) + part * np.array(further))
    metres, angle = poses.difference(first, second)
    assert metres == pytest.approx(float(np.linalg.norm(np.subtract(shift, further))), abs=1e-9)
    assert angle == pytest.approx(float(np.linalg.norm(more)), abs=1e-6)


@pytest.mark.parametrize(('matrix', 'said'), [
    (np.eye(3), 'of shape'),
    (np.full((4, 4), np.nan), 'not finite'),
    (poses.pose((0, 0, 0), (0, 0, 0, 0)), 'quaternion of zeros'),
    (np.diag([1.01, 1, 1, 1]), 'stretches: R R^T is off the identity by 0.02'),
    (np.diag([-1.0, 1, 1, 1]), 'mirrors'),
    (np.diag([1.0, 1, 1, 2]), 'last row'),
    (np.eye(4), ''),
], ids=lambda value: value if isinstance(value, str) else '')
def test_what_is_no_rigid_transform(matrix: Matrix, said: str) -> None:
    problem = poses.problem_of(matrix)
    assert said in problem
    assert bool(said) == bool(problem)
