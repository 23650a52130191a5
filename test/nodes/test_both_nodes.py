"""Both nodes over real DDS: a camera image and a sweep in, an object in metres out."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs rclpy')
pytest.importorskip('vision_msgs', reason='needs vision_msgs')
pytest.importorskip('tf2_msgs', reason='needs tf2_msgs')

from rclpy.lifecycle import TransitionCallbackReturn
from sensor_msgs.msg import Image, PointCloud2
from vision_msgs.msg import Detection3DArray

from perception_ros.ros.messages import to_header
from test.builders import COLOURS, picture, write_real_bundle
from test.nodes.bench import Bench, wait_until
from test.nodes.test_fusion_node import fields_of
from test.nodes.vehicle import CAR, car_box, LIDAR_M, scene_points, SIZE, Vehicle

pytestmark = pytest.mark.dds

S = 1_000_000_000
CLASSES = [
    {'name': name, 'color': colour}
    for name, colour in zip(('car', 'tree', 'sky'), COLOURS.values(), strict=True)
]


def car_image(stamp_ns: int) -> Image:
    """Return what the camera sees: the car is red, which the fake engine takes for a car."""
    x1, y1, x2, y2 = (round(value) for value in car_box())
    message = Image(header=to_header(stamp_ns, 'front_optical'), encoding='rgb8')
    message.width, message.height = SIZE
    message.step = 3 * SIZE[0]
    message.data = picture(*SIZE, red=(x1, y1, x2, y2)).tobytes()
    return message


def test_from_pixels_and_beams_to_a_car_in_metres(tmp_path: Path) -> None:
    """What one node publishes is what the other takes, without a word of configuration more."""
    bundle = write_real_bundle(
        tmp_path / 'means',
        detection={'classes': CLASSES, 'max_detections': 8, 'score_threshold': 0.3},
        semantic={'ground': {
            'stride': 1, 'classes': [*CLASSES, {'name': 'other', 'color': (9, 9, 9)}],
        }},
    )
    with (
        closing(Vehicle(cameras__front__semantic=['ground'])) as vehicle,
        closing(Bench(bundle.path, vehicle.domain)) as bench,
    ):
        assert vehicle.node.trigger_configure() is TransitionCallbackReturn.SUCCESS
        assert vehicle.node.trigger_activate() is TransitionCallbackReturn.SUCCESS
        bench.launch('front')
        bench.active()
        objects = vehicle.listen(Detection3DArray, '/perception/objects')
        painted = vehicle.listen(PointCloud2, '/perception/points/painted')
        camera = bench.camera('front')
        perception = bench.node
        wait_until(lambda: perception and all(
            perception.count_subscribers(f'/perception/front/{output}')
            for output in ('detections', 'semantic/ground')
        ))
        vehicle.frames()
        vehicle.lens()
        stamp_ns = 5 * S
        # Who has just been discovered may miss a message or two.
        while not (objects and objects[-1].detections and painted):
            assert stamp_ns < 60 * S, 'no car was found in any sweep'
            camera.publish(car_image(stamp_ns))
            vehicle.sweep(stamp_ns)
            heard = len(objects)
            wait_until(lambda heard=heard: len(objects) > heard)
            stamp_ns += S
        [car] = objects[-1].detections
        place = car.bbox.center.position
        np.testing.assert_allclose((place.x, place.y, place.z), CAR, atol=0.4)
        assert car.results[0].hypothesis.class_id == 'car'
        last = objects[-1].header.stamp.sec
        wait_until(lambda: painted[-1].header.stamp.sec == last)
        points = fields_of(painted[-1])
        is_car = scene_points()[:, 2] > 0.2 - LIDAR_M[2]
        assert (points['object'][is_car] == 1).mean() > 0.9
        assert (points['class_score'][is_car] > 0).mean() > 0.9
        assert len(set(points['class_id'][is_car].tolist())) == 1, 'all of it is of one class'
