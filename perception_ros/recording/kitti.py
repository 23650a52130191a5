"""KITTI's object data: left colour camera, Velodyne, boxes in image and space."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from perception_ros.bags.messages import Box3D
from perception_ros.core.errors import DatasetError
from perception_ros.core.poses import inverse, Matrix
from perception_ros.evaluation.datasets.kitti import (
    CLASSES,
    KittiObject,
    labelled_images,
    read_objects,
)
from perception_ros.recording.base import BASE, optical_frame, Recorder

VELODYNE = 'velodyne'
_RATE_HZ = 10.0
POINT = np.dtype([(name, '<f4') for name in ('x', 'y', 'z', 'intensity')])


class Calibration(NamedTuple):
    """Of one image: KITTI's frames are of many drives, each with its own."""

    matrix: Matrix
    """K of the left colour camera, float64 [3, 3]."""
    camera_offset_m: NDArray[np.float64]
    """From the coordinates of labels (rectified camera 0) to those of this camera: added."""
    velodyne_to_camera: Matrix
    velodyne_to_imu: Matrix


def record_kitti(root: Path, split: str, recorder: Recorder) -> None:
    """Record all images that have a label.

    KITTI names no base of its car: `base_link` lies where its IMU is.
    """
    folder = root / split
    camera = recorder.options.camera
    rate_hz = recorder.options.rate_hz or _RATE_HZ
    for index, image in enumerate(recorder.limited(labelled_images(folder))):
        time_ns, stem = recorder.time_ns(index, rate_hz), image.stem
        known = read_calibration(folder / 'calib' / f'{stem}.txt')
        objects = read_objects(folder / 'label_2' / f'{stem}.txt')
        recorder.transforms(time_ns, [
            (BASE, VELODYNE, known.velodyne_to_imu),
            (VELODYNE, optical_frame(camera), inverse(known.velodyne_to_camera)),
        ])
        recorder.image_file(camera, time_ns, image, known.matrix)
        scan = folder / 'velodyne' / f'{stem}.bin'
        if scan.is_file():
            recorder.points(VELODYNE, time_ns, read_points(scan, POINT))
        boxes = np.array([item.box for item in objects], np.float64).reshape(-1, 4)
        names = [item.name if item.name in CLASSES else None for item in objects]
        places_m = np.array([_middle(item, known) for item in objects]).reshape(-1, 3)
        recorder.boxes(camera, time_ns, boxes, names, CLASSES, places_m)
        recorder.boxes_3d(optical_frame(camera), time_ns, [
            box_3d(item, known) for item in objects if item.name in CLASSES
        ])


def read_calibration(path: Path) -> Calibration:
    """Read a file of `calib`.

    :raises DatasetError: it is none.
    """
    rows: dict[str, NDArray[np.float64]] = {}
    try:
        for line in path.read_text(encoding='utf-8').splitlines():
            name, colon, numbers = line.partition(':')
            if colon:
                rows[name] = np.array([float(number) for number in numbers.split()])
        projection = rows['P2'].reshape(3, 4)
        matrix = projection[:, :3]
        offset = np.asarray(np.linalg.solve(matrix, projection[:, 3]), np.float64)
        to_camera = _square(rows['R0_rect']) @ _square(rows['Tr_velo_to_cam'])
        velodyne_to_imu = inverse(_square(rows['Tr_imu_to_velo']))
    except (OSError, UnicodeDecodeError, ValueError, KeyError) as error:
        raise DatasetError(
            f'{path}: expected the calibration of a KITTI image with P2, R0_rect, Tr_velo_to_cam '
            f'and Tr_imu_to_velo; {type(error).__name__}: {error}'
        ) from error
    to_camera[:3, 3] += offset  # from camera 0
    return Calibration(matrix, offset, to_camera, velodyne_to_imu)


def box_3d(item: KittiObject, known: Calibration) -> Box3D:
    """Return a labelled object in the frame of the camera, x along its length and z up."""
    height, width, length = item.size_m
    pose = np.eye(4)
    cos, sin = np.cos(item.yaw_rad), np.sin(item.yaw_rad)
    # columns: where length, width (to the left) and height point; y of the camera points down
    pose[:3, :3] = np.array([[cos, 0, -sin], [sin, 0, cos], [0, -1, 0]]).T
    pose[:3, 3] = _middle(item, known)
    return Box3D(item.name, pose, (length, width, height))


def _middle(item: KittiObject, known: Calibration) -> NDArray[np.float64]:
    """Return where the middle of an object is for the camera; labels say where its bottom is."""
    return np.add(item.place_m, known.camera_offset_m) - [0, item.size_m[0] / 2, 0]


def read_points(path: Path, kind: np.dtype[np.void]) -> NDArray[np.void]:
    """Read a file of points that are written as `kind`.

    :raises DatasetError: it cannot be read, or ends within a point.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DatasetError(f'{path}: expected a file of points; {error.strerror}') from error
    if len(data) % kind.itemsize:
        raise DatasetError(
            f'{path}: expected points of {kind.itemsize} bytes, got {len(data)} bytes, which is '
            'no multiple of it'
        )
    return np.frombuffer(data, kind)


def _square(row: NDArray[np.float64]) -> Matrix:
    """Return a rotation [9] or a transform [12], row by row, as a matrix [4, 4]."""
    matrix = np.eye(4)
    part = row.reshape(3, -1)
    matrix[:3, : part.shape[1]] = part
    return matrix
