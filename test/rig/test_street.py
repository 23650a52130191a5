"""The street of the rig: what its LiDAR and its cameras say of a car must be of the same car."""

from __future__ import annotations

import numpy as np

from perception_ros.core.poses import inverse, pose
from perception_ros.rig.street import CAR, LIDAR_M, NOTHING, ROAD, Street

STREET = Street(cameras=6, size=(640, 360), points=12_000)


def test_beams_that_meet_a_car_lie_in_its_box_and_its_mask() -> None:
    """Else the live measurement would fuse nothing, and look fast."""
    points = STREET.sweep()
    base_from_lidar = pose((0, 0, LIDAR_M), (0, 0, 0, 1))
    is_car = points[:, 2] > 0.1 - LIDAR_M
    assert is_car.sum() > 100
    on_cars = seen_on_cars = 0
    for index in range(STREET.cameras):
        camera_from_lidar = inverse(STREET.base_from_camera(index)) @ base_from_lidar
        seen = STREET.lens.see(points, camera_from_lidar)
        shown = STREET.mask(index)[tuple(seen.pixels.astype(int).T[::-1])]
        of_cars = is_car[seen.indices]
        on_cars += int(of_cars.sum())
        seen_on_cars += int((shown[of_cars] == CAR).sum())
        assert set(np.unique(STREET.mask(index))) <= {ROAD, CAR, NOTHING}
    assert on_cars > 100
    assert seen_on_cars / on_cars > 0.9, 'but for those that only part of the image shows'


def test_every_car_is_seen_by_some_camera() -> None:
    boxes = [STREET.boxes(index) for index in range(STREET.cameras)]
    assert sum(map(len, boxes)) >= STREET.cars / 2
    for found in boxes:
        assert (found[:, 2:] > found[:, :2]).all()
        assert (found >= 0).all() and (found <= [640, 360, 640, 360]).all()
