"""Markers: what people see in RViz is what the planner gets."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs rclpy')
pytest.importorskip('visualization_msgs', reason='needs visualization_msgs')

from visualization_msgs.msg import Marker

from perception_ros.ros import markers as made
from test.ros.seen import no_objects, objects, tracks

VELOCITIES = np.array([[0.0, 10.0, 0.0], [0.01, 0.0, 0.0]])
IDS = np.array([7, 8], np.int64)


def drawn() -> dict[str, list[Marker]]:
    """Return the markers of the usual objects by namespace, without the first."""
    message = made.to_markers(tracks(velocities=VELOCITIES, ids=IDS), IDS.tolist())
    found: dict[str, list[Marker]] = {}
    for marker in message.markers[1:]:
        found.setdefault(marker.ns, []).append(marker)
    return found


def test_old_markers_go_first_and_new_ones_do_not_outlive_the_fusion() -> None:
    first, *others = made.to_markers(objects()).markers
    assert first.action == Marker.DELETEALL
    assert all(marker.lifetime.sec == made.LIFETIME_S for marker in others)
    assert len({(marker.ns, marker.id) for marker in others}) == len(others)


def test_an_empty_road_clears_the_picture() -> None:
    [only] = made.to_markers(no_objects()).markers
    assert only.action == Marker.DELETEALL


def test_a_box_has_the_colour_of_its_class() -> None:
    car, person = drawn()['boxes']
    assert (car.type, car.scale.x, car.pose.position.x) == (Marker.CUBE, 4.2, 12.0)
    assert [round(255 * c) for c in (car.color.r, car.color.g, car.color.b)] == [255, 158, 0]
    assert [round(255 * c) for c in (person.color.r, person.color.g, person.color.b)] == [
        0, 209, 255
    ]


def test_what_a_camera_alone_says_is_nearly_transparent() -> None:
    car, person = drawn()['boxes']
    assert car.color.a > 2 * person.color.a > 0


def test_the_text_says_who_what_how_far_and_how_fast() -> None:
    car, person = drawn()['labels']
    assert car.text == '7 car 12 m 36 km/h'
    assert person.text == '8 person 30 m 0 km/h'
    assert made.to_markers(objects()).markers[2].text == 'car 12 m'


def test_a_range_is_that_from_the_vehicle() -> None:
    """Tracks lie in a frame whose origin is where the drive began."""
    texts = [m.text for m in made.to_markers(tracks(), [7, 8], np.array([12.0, 7.0, 0])).markers]
    assert '7 car 10 m 29 km/h' in texts


def test_an_arrow_is_as_long_as_the_way_of_one_second() -> None:
    [arrow] = drawn()['velocities']
    begin, end = arrow.points
    assert (end.x - begin.x, end.y - begin.y) == pytest.approx((0.0, 10.0))


def test_a_size_that_is_unknown_is_drawn_small() -> None:
    """RViz refuses a marker that holds a NaN, and all others of the message with it."""
    sizes = np.array([[np.nan, 1.8, 0.0], [0.6, 0.7, 1.8]])
    box = made.to_markers(objects(sizes=sizes)).markers[1]
    assert (box.scale.x, box.scale.y, box.scale.z) == pytest.approx((0.1, 1.8, 0.1))
