"""Bags of streets whose truth is exact, right or with a fault that is put in on purpose."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from perception_ros.bags.writer import BagWriter
from perception_ros.core.poses import inverse, Matrix
from perception_ros.evaluation.scenes import LENS, street
from perception_ros.recording import Recorder, RecordOptions
from perception_ros.recording.kitti import POINT

SMALL = LENS.for_image(640, 360)
SEEDS = (1, 2, 3)
FRAME = 'front_optical_frame'


@cache
def _seen(seed: int) -> tuple[NDArray[np.uint8], NDArray[np.float32], Matrix]:
    scene = street(seed)
    truth = scene.camera_from_base(0.0) @ scene.base_from_lidar
    points = scene.points
    return scene.picture(SMALL), points[np.isfinite(points).all(axis=1)], truth


def turn(roll: float = 0, pitch: float = 0, yaw: float = 0) -> Matrix:
    """Return `wrong_camera_from_camera` of a camera said to be turned, degrees, REP-103."""
    matrix = np.eye(4)
    matrix[:3, :3] = cv2.Rodrigues(np.radians([-pitch, -yaw, roll]))[0].T
    return matrix


@dataclass(frozen=True, eq=False)
class Street:
    """What a bag says: the truth, but for what is given here."""

    turned: Matrix = field(default_factory=lambda: np.eye(4))
    """Put before the true `camera_from_lidar`."""
    lidar_turned: Matrix = field(default_factory=lambda: np.eye(4))
    matrix: Matrix = field(default_factory=lambda: SMALL.matrix)
    with_tf: bool = True
    late_ns: int = 0
    """By which images come after their sweeps."""
    is_flipped: bool = False
    """Whether images are upside down."""
    seeds: tuple[int, ...] = SEEDS

    def lidar_from_camera(self, seed: int = 1) -> Matrix:
        """Return what the bag says."""
        return inverse(self.turned @ _seen(seed)[2] @ self.lidar_turned)

    def write(self, path: Path) -> Path:
        """Write it, one moment a second."""
        with BagWriter(path) as writer:
            recorder = Recorder(writer, RecordOptions(transport='raw'))
            for place, seed in enumerate(self.seeds):
                grey, points, _ = _seen(seed)
                time_ns = (place + 1) * 10**9
                if self.with_tf:
                    known = self.lidar_from_camera(seed)
                    for at in (time_ns, time_ns + self.late_ns):
                        recorder.transforms(at, [('lidar', FRAME, known)])
                rows = np.zeros(len(points), POINT)
                for column, axis in enumerate('xyz'):
                    rows[axis] = points[:, column]
                recorder.points('lidar', time_ns, rows)
                rgb = np.repeat((grey[::-1, ::-1] if self.is_flipped else grey)[..., None], 3, 2)
                recorder.pixels(
                    'front', time_ns + self.late_ns, np.ascontiguousarray(rgb), self.matrix)
        return path
