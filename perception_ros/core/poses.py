"""Where things are and how they are turned: rigid transforms, float64 [4, 4].

A matrix `a_from_b` takes the coordinates of frame b to those of frame a; as a pose it says where b
is in a. Quaternions are x, y, z, w, as in geometry_msgs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Matrix: TypeAlias = NDArray[np.float64]

ROTATION_TOLERANCE = 1e-3
"""How far R R^T may be from the identity: files round to three digits, and float32 is finer."""


def pose(place_m: Sequence[float], quaternion: Sequence[float]) -> Matrix:
    """Return a transform from a place and a turn; NaN where the quaternion is all zeros.

    :param quaternion: of any length but zero.
    """
    x, y, z, w = quaternion
    with np.errstate(all='ignore'):
        s = np.float64(2) / (x * x + y * y + z * z + w * w)
        matrix = np.eye(4)
        matrix[:3, :3] = [
            [1 - s * (y * y + z * z), s * (x * y - z * w), s * (x * z + y * w)],
            [s * (x * y + z * w), 1 - s * (x * x + z * z), s * (y * z - x * w)],
            [s * (x * z - y * w), s * (y * z + x * w), 1 - s * (x * x + y * y)],
        ]
    matrix[:3, 3] = place_m
    return matrix


def quaternion_of(rotation: Matrix) -> tuple[float, float, float, float]:
    """Return a rotation [3, 3] as a unit quaternion with w >= 0.

    It is the eigenvector of the largest eigenvalue of K, which also levels out a matrix that is
    rounded. Source: Bar-Itzhack, "New method for extracting the quaternion from a rotation
    matrix", 2000.
    """
    (xx, yx, zx), (xy, yy, zy), (xz, yz, zz) = rotation.T
    k = np.array([
        [xx - yy - zz, 0, 0, 0],
        [xy + yx, yy - xx - zz, 0, 0],
        [xz + zx, yz + zy, zz - xx - yy, 0],
        [zy - yz, xz - zx, yx - xy, xx + yy + zz],
    ]) / 3
    _, vectors = np.linalg.eigh(k)  # of the lower triangle
    x, y, z, w = (float(value) for value in vectors[:, -1])
    return (x, y, z, w) if w >= 0 else (-x, -y, -z, -w)


def quaternion_from_roll_pitch_yaw(
    roll: float, pitch: float, yaw: float
) -> tuple[float, float, float, float]:
    """Return the turn about the fixed axes x, then y, then z, in radians (REP-103, URDF)."""
    (sr, cr), (sp, cp), (sy, cy) = (
        (np.sin(angle / 2), np.cos(angle / 2)) for angle in (roll, pitch, yaw)
    )
    return (
        float(sr * cp * cy - cr * sp * sy), float(cr * sp * cy + sr * cp * sy),
        float(cr * cp * sy - sr * sp * cy), float(cr * cp * cy + sr * sp * sy),
    )


def inverse(matrix: Matrix) -> Matrix:
    """Return the way back."""
    return np.asarray(np.linalg.inv(matrix), np.float64)


def between(first: Matrix, second: Matrix, part: float) -> Matrix:
    """Return what lies between two poses: straight on, and turning evenly the shorter way.

    :param part: 0 = the first, 1 = the second.
    """
    *axis, w = quaternion_of(first[:3, :3].T @ second[:3, :3])
    half = np.arctan2(np.linalg.norm(axis), w) * part
    unit = np.array(axis) / max(float(np.linalg.norm(axis)), 1e-300)
    turned = pose((0, 0, 0), (*(unit * np.sin(half)).tolist(), float(np.cos(half))))
    matrix = np.array(first)
    matrix[:3, :3] = first[:3, :3] @ turned[:3, :3]
    matrix[:3, 3] += (second[:3, 3] - first[:3, 3]) * part
    return matrix


def difference(first: Matrix, second: Matrix) -> tuple[float, float]:
    """Return how far two poses are apart, in metres, and turned against each other, in radians."""
    *axis, w = quaternion_of(first[:3, :3].T @ second[:3, :3])
    return (
        float(np.linalg.norm(first[:3, 3] - second[:3, 3])),
        float(2 * np.arctan2(np.linalg.norm(axis), w)),
    )


def problem_of(matrix: Matrix) -> str:
    """Say why a matrix is no rigid transform; '' where it is one."""
    if matrix.shape != (4, 4):
        return f'got a matrix of shape {matrix.shape}'
    if not np.isfinite(matrix).all():
        return 'got what is not finite (or a quaternion of zeros)'
    turn = matrix[:3, :3]
    with np.errstate(all='ignore'):
        off = float(np.abs(turn @ turn.T - np.eye(3)).max())
    if not off <= ROTATION_TOLERANCE:
        return f'got what also stretches: R R^T is off the identity by {off:.2g}'
    if np.linalg.det(turn) < 0:
        return 'got what also mirrors'
    if matrix[3].tolist() != [0, 0, 0, 1]:
        return f'got {matrix[3].tolist()} as the last row'
    return ''
