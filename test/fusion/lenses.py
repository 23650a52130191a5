"""Random lenses, poses and points, and OpenCV's answer to where the points are."""

from __future__ import annotations

from typing import NamedTuple

import cv2
from hypothesis import strategies as st
import numpy as np
from numpy.typing import NDArray

from perception_ros.fusion.camera import CameraModel
from perception_ros.fusion.distortion import DistortionModel

Array = NDArray[np.float64]

SIZES: dict[DistortionModel, tuple[int, ...]] = {
    'none': (0,), 'plumb_bob': (4, 5), 'rational_polynomial': (8, 12, 14), 'equidistant': (4,),
}
RANGES: dict[DistortionModel, tuple[float, ...]] = {
    'plumb_bob': (0.5, 0.3, 0.005, 0.005, 0.1),
    'rational_polynomial': (
        1, 0.5, 0.005, 0.005, 0.1, 1, 0.5, 0.1, 0.01, 0.01, 0.01, 0.01, 0.1, 0.1,
    ),
    'equidistant': (0.1, 0.05, 0.02, 0.01),
}
"""How large coefficients become: what calibrations give, and a good deal more."""


@st.composite
def lenses(draw: st.DrawFn) -> CameraModel:
    width, height = draw(st.integers(64, 4000)), draw(st.integers(64, 3000))
    model = draw(st.sampled_from(sorted(SIZES)))
    count = draw(st.sampled_from(SIZES[model]))
    coefficients = [draw(st.floats(-1, 1)) * most for most in RANGES.get(model, ())[:count]]
    focal = width * draw(st.floats(0.25, 2))
    matrix = np.array([
        [focal, 0, width * draw(st.floats(0.3, 0.7))],
        [0, focal * draw(st.floats(0.8, 1.25)), height * draw(st.floats(0.3, 0.7))],
        [0, 0, 1],
    ])
    return CameraModel(width, height, matrix, model, np.array(coefficients))


class Pose(NamedTuple):
    """A place and a turn: as OpenCV takes them, and as a transform [4, 4]."""

    turn: Array
    shift: Array
    matrix: Array


@st.composite
def poses(draw: st.DrawFn) -> Pose:
    turn = np.array([draw(st.floats(-np.pi / 2, np.pi / 2)) for _ in range(3)])
    shift = np.array([draw(st.floats(-3, 3)) for _ in range(3)])
    matrix = np.eye(4)
    matrix[:3, :3] = cv2.Rodrigues(turn)[0]
    matrix[:3, 3] = shift
    return Pose(turn, shift, matrix)


@st.composite
def clouds(draw: st.DrawFn, count: int = 400) -> Array:
    """Draw points [N, 3], all around and from centimetres to 100 m away."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    points = random.normal(size=(count, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    return np.asarray(points * 10 ** random.uniform(-1.5, 2, (count, 1)))


def by_opencv(lens: CameraModel, points: Array, pose: Pose) -> Array:
    """Return where OpenCV puts points [N, 3], in our pixels [N, 2]."""
    if lens.distortion == 'equidistant':
        found, _ = cv2.fisheye.projectPoints(
            points[:, None], pose.turn, pose.shift, lens.matrix, lens.coefficients)
    else:
        coefficients = lens.coefficients if lens.distortion != 'none' else np.zeros(4)
        found, _ = cv2.projectPoints(
            points, pose.turn, pose.shift, lens.matrix, coefficients)
    return np.asarray(found.reshape(-1, 2) + 0.5)


HERE = Pose(np.zeros(3), np.zeros(3), np.eye(4))


def moved(points: Array, matrix: Array) -> Array:
    return np.asarray(points @ matrix[:3, :3].T + matrix[:3, 3])


def angles(points: Array) -> Array:
    """Return how far points [N, 3] of an optical frame are off its axis, in radians."""
    return np.asarray(np.arctan2(np.hypot(points[:, 0], points[:, 1]), points[:, 2]))
