"""A nuScenes key frame as MMDetection3D writes it down: six cameras, LiDAR, boxes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from perception_ros.bags.messages import Box3D
from perception_ros.core.errors import DatasetError
from perception_ros.core.poses import inverse, Matrix
from perception_ros.recording.base import BASE, optical_frame, Recorder, WORLD
from perception_ros.recording.kitti import read_points

LIDAR = 'LIDAR_TOP'
FILE = 'sample.json'
STORED = np.dtype([(name, '<f4') for name in ('x', 'y', 'z', 'intensity', 'ring')])
_POINT = np.dtype({
    'names': ['x', 'y', 'z', 'intensity', 'ring'],
    'formats': ['<f4', '<f4', '<f4', '<f4', '<u2'],
    'offsets': [0, 4, 8, 12, 16], 'itemsize': 20,
})


class SampleCamera(NamedTuple):
    """One of its images, and what is labelled in it."""

    name: str
    time_ns: int
    path: Path
    matrix: Matrix
    to_base: Matrix
    from_lidar: Matrix
    """From the LiDAR's coordinates at its own time: the vehicle's motion in between is in it."""
    boxes: NDArray[np.float64]
    names: list[str | None]
    places_m: NDArray[np.float64]
    """Middles of the objects, [N, 3] in the camera's frame."""


class Sample(NamedTuple):
    """A moment at which all sensors look."""

    time_ns: int
    """The LiDAR's."""
    base_to_world: Matrix
    lidar_to_base: Matrix
    points: Path
    boxes: list[Box3D]
    cameras: list[SampleCamera]
    """In the order of time."""


def record_nuscenes(path: Path, split: str, recorder: Recorder) -> None:
    """Record the samples of a `sample.json`, or of a folder with one.

    The vehicle moves between the moments at which its sensors look, so `/tf` has where it was at
    each of them; what is fixed to it is in `/tf_static`.

    :raises DatasetError: it is no such file.
    """
    samples, classes = read_samples(path / split if path.is_dir() else path)
    for index, sample in enumerate(recorder.limited(samples)):
        if index == 0:
            recorder.transforms(min(sample.time_ns, sample.cameras[0].time_ns), [
                (BASE, LIDAR, sample.lidar_to_base),
                *((BASE, optical_frame(item.name), item.to_base) for item in sample.cameras),
            ], is_static=True)
        _record(sample, classes, recorder)


def read_samples(path: Path) -> tuple[list[Sample], tuple[str, ...]]:
    """Return the samples of a `sample.json`, or of a folder with one, and their classes.

    :raises DatasetError: it is no such file.
    """
    file = path / FILE if path.is_dir() else path
    try:
        content = json.loads(file.read_text(encoding='utf-8'))
        numbers = content['metainfo']['categories']
        classes = tuple(sorted(numbers, key=numbers.__getitem__))
        return [_sample(item, classes, file.parent) for item in content['data_list']], classes
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DatasetError(f'{file}: expected a readable JSON file; {error}') from error
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise DatasetError(
            f'{file}: expected samples of nuScenes as MMDetection3D 1.1 writes them; '
            f'{type(error).__name__}: {error}'
        ) from error


def _record(sample: Sample, classes: tuple[str, ...], recorder: Recorder) -> None:
    for camera in sample.cameras:
        # where the vehicle was then: the LiDAR's points reach this camera by way of the world
        pose = (
            sample.base_to_world @ sample.lidar_to_base
            @ inverse(camera.from_lidar) @ inverse(camera.to_base)
        )
        recorder.transforms(camera.time_ns, [(WORLD, BASE, pose)])
        recorder.image_file(camera.name, camera.time_ns, camera.path, camera.matrix)
        recorder.boxes(
            camera.name, camera.time_ns, camera.boxes, camera.names, classes, camera.places_m
        )
    recorder.transforms(sample.time_ns, [(WORLD, BASE, sample.base_to_world)])
    stored = read_points(sample.points, STORED)
    points = np.zeros(len(stored), _POINT)
    for field in STORED.names or ():
        points[field] = stored[field]
    recorder.points(LIDAR, sample.time_ns, points)
    recorder.boxes_3d(LIDAR, sample.time_ns, sample.boxes)


def _sample(item: dict[str, Any], classes: tuple[str, ...], folder: Path) -> Sample:
    cameras = [
        _camera(name, about, item['cam_instances'][name], classes, folder)
        for name, about in item['images'].items()
    ]
    lidar = item['lidar_points']
    return Sample(
        _ns(item['timestamp']), _matrix(item['ego2global']), _matrix(lidar['lidar2ego']),
        folder / lidar['lidar_path'],
        [_box_3d(box, classes) for box in item['instances']],
        sorted(cameras, key=lambda camera: (camera.time_ns, camera.name)),
    )


def _camera(
    name: str, about: dict[str, Any], found: list[dict[str, Any]], classes: tuple[str, ...],
    folder: Path,
) -> SampleCamera:
    return SampleCamera(
        name, _ns(about['timestamp']), folder / about['img_path'],
        np.array(about['cam2img'], np.float64).reshape(3, 3), _matrix(about['cam2ego']),
        _matrix(about['lidar2cam']),
        np.array([box['bbox'] for box in found], np.float64).reshape(-1, 4),
        [_name(box['bbox_label'], classes) for box in found],
        np.array([box['bbox_3d'][:3] for box in found], np.float64).reshape(-1, 3),
    )


def _box_3d(item: dict[str, Any], classes: tuple[str, ...]) -> Box3D:
    x, y, z, length, width, height, yaw = item['bbox_3d']
    pose = np.eye(4)
    pose[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
    pose[:3, 3] = x, y, z
    return Box3D(_name(item['bbox_label_3d'], classes), pose, (length, width, height))


def _name(number: int, classes: tuple[str, ...]) -> str | None:
    """Return a class; objects of a kind that nuScenes does not ask for have none."""
    return classes[number] if number >= 0 else None


def _matrix(rows: Any) -> Matrix:
    matrix = np.array(rows, np.float64)
    if matrix.shape != (4, 4):
        raise ValueError(f'expected a matrix of 4x4, got {matrix.shape}')
    return matrix


def _ns(seconds: float) -> int:
    """Return a time in nanoseconds; the data have microseconds."""
    return round(seconds * 1e6) * 1000
