"""Labelled LiDAR sweeps with what their cameras should find: what fusion is measured on.

As `nuscenes.py` and `kitti.py` record them into bags, here without a bag in between.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from perception_ros.core.errors import DatasetError
from perception_ros.core.poses import inverse
from perception_ros.core.types import Detections
from perception_ros.evaluation.datasets.kitti import CLASSES, labelled_images, read_objects
from perception_ros.fusion.camera import CameraModel
from perception_ros.fusion.types import FusionSet, Matrix, Sweep, View
from perception_ros.recording.kitti import box_3d, POINT, read_calibration, read_points
from perception_ros.recording.nuscenes import FILE, LIDAR, read_samples, STORED

_BORDER_PX = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class TrueObject:
    """A labelled object that a camera shows.

    camera, index: which view, and which of its detections; lidar_from_object: float64 [4, 4], x
    along its length, z up; size_m: length, width, height; is_cut: the image shows a part of it.
    """

    camera: str
    index: int
    name: str
    lidar_from_object: Matrix
    size_m: tuple[float, float, float]
    is_cut: bool

    def holds(self, points: NDArray[np.floating], margin_m: float = 0.0) -> NDArray[np.bool_]:
        """Say which points [N, 3] of the LiDAR's frame are in it, or so far outside."""
        off = points - self.lidar_from_object[:3, 3]
        own = np.abs(off @ self.lidar_from_object[:3, :3])
        return np.asarray((own <= np.array(self.size_m) / 2 + margin_m).all(axis=1))


@dataclass(frozen=True, slots=True, eq=False)
class LabelledSweep:
    """A sweep, views with the labelled 2D boxes as detections, and the objects in space.

    images: by camera; base_from_lidar: to a frame whose z points up; rings: [N], the beam that
    each point is of, None where the data do not say.
    """

    name: str
    fusion_set: FusionSet
    objects: tuple[TrueObject, ...]
    images: dict[str, Path]
    base_from_lidar: Matrix
    rings: NDArray[np.int64] | None = None


def labelled_sweeps(path: Path) -> Iterator[LabelledSweep]:
    """Yield the sweeps of a folder of KITTI's object data, or of a nuScenes `sample.json`.

    :raises DatasetError: it is neither, or damaged.
    """
    if (path / FILE).is_file() or path.name == FILE:
        yield from _of_nuscenes(path)
    elif (path / 'velodyne').is_dir():
        yield from _of_kitti(path)
    else:
        raise DatasetError(
            f"{path}: expected a folder of KITTI's object data, with image_2, velodyne, calib and "
            f'label_2, or one with a {FILE} of nuScenes; got neither, and no bag is read here'
        )


def _of_kitti(folder: Path) -> Iterator[LabelledSweep]:
    for image in labelled_images(folder):
        known = read_calibration(folder / 'calib' / f'{image.stem}.txt')
        items = [
            item for item in read_objects(folder / 'label_2' / f'{image.stem}.txt')
            if item.name in CLASSES
        ]
        points = read_points(folder / 'velodyne' / f'{image.stem}.bin', POINT)
        lens = CameraModel(*_size(image), known.matrix)
        lidar_from_camera = inverse(known.velodyne_to_camera)
        boxes = np.array([item.box for item in items], np.float64).reshape(-1, 4)
        view = _view('left', 0, lens, known.velodyne_to_camera, boxes, [i.name for i in items])
        spaces = [box_3d(item, known) for item in items]
        yield LabelledSweep(
            image.stem, FusionSet(_sweep(points, 0, 'velodyne'), (view,)),
            tuple(
                TrueObject('left', index, item.name, lidar_from_camera @ space.pose, space.size_m,
                           item.truncated > 0)
                for index, (item, space) in enumerate(zip(items, spaces, strict=True))
            ),
            {'left': image}, known.velodyne_to_imu,
        )


def _of_nuscenes(path: Path) -> Iterator[LabelledSweep]:
    samples, _ = read_samples(path)
    for sample in samples:
        views, objects, images = [], [], {}
        places = np.array([box.pose[:3, 3] for box in sample.boxes]).reshape(-1, 3)
        for camera in sample.cameras:
            lens = CameraModel(*_size(camera.path), camera.matrix)
            lidar_from_camera = inverse(camera.from_lidar)
            named = [index for index, name in enumerate(camera.names) if name is not None]
            boxes = camera.boxes[named]
            names = [camera.names[index] or '' for index in named]
            views.append(_view(
                camera.name, camera.time_ns, lens, camera.from_lidar, boxes, names
            ))
            images[camera.name] = camera.path
            for index, original in enumerate(named):
                place = lidar_from_camera @ np.append(camera.places_m[original], 1)
                nearest = int(np.argmin(np.linalg.norm(places - place[:3], axis=1)))
                box = sample.boxes[nearest]
                objects.append(TrueObject(
                    camera.name, index, names[index], box.pose, box.size_m,
                    _is_cut(boxes[index], lens),
                ))
        points = read_points(sample.points, STORED)
        sweep = _sweep(points, sample.time_ns, LIDAR)
        yield LabelledSweep(
            str(sample.time_ns), FusionSet(sweep, tuple(views)), tuple(objects), images,
            sample.lidar_to_base, points['ring'].astype(np.int64),
        )


def _view(
    camera: str, stamp_ns: int, lens: CameraModel, camera_from_lidar: Matrix,
    boxes: NDArray[np.float64], names: list[str],
) -> View:
    classes = tuple(sorted(set(names)))
    detections = Detections(
        boxes.astype(np.float32), np.ones(len(names), np.float32),
        np.array([classes.index(name) for name in names], np.int32), classes,
    )
    return View(camera, stamp_ns, lens, camera_from_lidar, detections, ('',) * len(names))


def _sweep(points: NDArray[np.void], stamp_ns: int, frame_id: str) -> Sweep:
    xyz = np.stack([points[axis] for axis in 'xyz'], axis=1).astype(np.float32)
    return Sweep(stamp_ns, 0, frame_id, xyz)


def _is_cut(box: NDArray[np.float64], lens: CameraModel) -> bool:
    return bool(
        box[:2].min() <= _BORDER_PX or box[2] >= lens.width - _BORDER_PX
        or box[3] >= lens.height - _BORDER_PX
    )


def _size(image: Path) -> tuple[int, int]:
    pixels = cv2.imread(str(image), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise DatasetError(f'{image}: expected an image that OpenCV can read')
    return pixels.shape[1], pixels.shape[0]
