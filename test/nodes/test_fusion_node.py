"""The fusion node over real DDS: sweeps in, painted points and objects out, whatever comes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
import os
from pathlib import Path
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
import pytest

pytest.importorskip('rclpy', reason='needs rclpy')
pytest.importorskip('vision_msgs', reason='needs vision_msgs')
pytest.importorskip('tf2_msgs', reason='needs tf2_msgs')

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.lifecycle import TransitionCallbackReturn
from sensor_msgs.msg import PointCloud2
from tf2_msgs.msg import TFMessage
from vision_msgs.msg import Detection3DArray

from perception_ros.ros import trust
from perception_ros.ros.sweeps import SweepSubscriptions
from test.nodes.bench import wait_until
from test.nodes.vehicle import CAR, cloud, LIDAR_M, scene_points, transform, Vehicle

pytestmark = pytest.mark.dds

S = 1_000_000_000
_FORMATS = {2: 'u1', 4: 'u2', 6: 'u4', 7: 'f4'}


@pytest.fixture
def vehicle() -> Iterator[Vehicle]:
    with closing(Vehicle().drive()) as made:
        made.frames()
        made.lens()
        yield made


def fields_of(message: PointCloud2) -> NDArray[Any]:
    """Read a cloud as a receiver would."""
    return np.frombuffer(bytes(message.data), np.dtype({
        'names': [field.name for field in message.fields],
        'formats': [_FORMATS[field.datatype] for field in message.fields],
        'offsets': [field.offset for field in message.fields], 'itemsize': message.point_step,
    }))


def fused(vehicle: Vehicle, heard: list[Any], stamp_ns: int) -> Any:
    """Publish a good sweep with what belongs to it, and return what came of it."""
    vehicle.look(stamp_ns)
    vehicle.sweep(stamp_ns)
    wait_until(lambda: heard and heard[-1].header.stamp.sec == stamp_ns // S)
    return heard[-1]


def said(vehicle: Vehicle, subject: str, *words: str) -> DiagnosticStatus:
    """Wait until `/diagnostics` says these words about a subject."""
    heard = vehicle.listen(DiagnosticArray, '/diagnostics')

    def found() -> list[DiagnosticStatus]:
        return [
            status for message in heard for status in message.status
            if status.name.endswith(subject) and all(word in status.message for word in words)
        ]

    wait_until(found)
    return found()[-1]


def test_a_car_gets_its_place_and_its_points(vehicle: Vehicle) -> None:
    """The promise of the node, from message to message."""
    objects = vehicle.listen(Detection3DArray, '/perception/objects')
    painted = vehicle.listen(PointCloud2, '/perception/points/painted')
    [car] = fused(vehicle, objects, 5 * S).detections
    place = car.bbox.center.position
    np.testing.assert_allclose((place.x, place.y, place.z), CAR, atol=0.3)
    assert car.results[0].hypothesis.class_id == 'car'
    assert objects[-1].header.frame_id == 'base_link'
    wait_until(lambda: painted)
    points = fields_of(painted[-1])
    given = scene_points()
    np.testing.assert_array_equal(points['x'], given[:, 0])
    np.testing.assert_array_equal(points['intensity'], np.arange(len(given)))
    is_car = given[:, 2] > 0.2 - LIDAR_M[2]
    assert (points['object'][is_car] == 1).mean() > 0.95
    assert not points['object'][~is_car].any()
    ahead = ~is_car & (given[:, 0] < 11) & (given[:, 0] > 6) & (np.abs(given[:, 1]) < 3)
    assert (points['class_id'][ahead] == 0).mean() > 0.95, 'the road before it'


def test_a_car_ahead_keeps_its_id_and_has_its_speed(vehicle: Vehicle) -> None:
    """It is seen ten times a second, once not at all, and drives away with 5 m/s."""
    objects = vehicle.listen(Detection3DArray, '/perception/objects')
    tracks = vehicle.listen(Detection3DArray, '/perception/tracks/boxes')
    table = vehicle.listen(PointCloud2, '/perception/tracks')
    for step in range(12):
        stamp_ns = 5 * S + step * S // 10
        vehicle.look(stamp_ns, ahead_m=0.5 * step, seen=step != 6)
        vehicle.sweep(stamp_ns, cloud(scene_points(0.5 * step), stamp_ns))
        wait_until(lambda: len(objects) > step)  # noqa: B023
    wait_until(lambda: len(tracks) == len(table) == 12)
    ids = [[item.id for item in message.detections] for message in tracks]
    assert ids[0] == [], 'one sight is not enough'
    assert ids[1:] == [['1']] * 11
    [row] = fields_of(table[-1])
    assert row['vx'] == pytest.approx(5.0, abs=1.0)
    assert abs(row['vy']) < 1
    assert objects[-1].detections[0].id == '1'


def without_z(stamp_ns: int) -> PointCloud2:
    message = cloud(scene_points(), stamp_ns)
    message.fields[2].name = 'height'
    return message


def cut_off(stamp_ns: int) -> PointCloud2:
    message = cloud(scene_points(), stamp_ns)
    message.data = message.data[:-100]
    return message


def without_frame(stamp_ns: int) -> PointCloud2:
    return cloud(scene_points(), stamp_ns, '')


@pytest.mark.parametrize(
    ('make', 'says'),
    [(without_z, 'got x, y, height'), (cut_off, 'bytes'), (without_frame, 'name no frame')],
)
def test_a_bad_cloud_is_told_and_costs_itself_alone(
    vehicle: Vehicle, make: Any, says: str
) -> None:
    objects = vehicle.listen(Detection3DArray, '/perception/objects')
    vehicle.sweep(4 * S, make(4 * S))
    assert says in said(vehicle, 'lidar', says).message
    assert len(fused(vehicle, objects, 5 * S).detections) == 1
    assert [message.header.stamp.sec for message in objects] == [5]


def with_nan(stamp_ns: int) -> PointCloud2:
    points = scene_points()
    points[::7] = np.nan
    points[3::7, 1] = np.inf
    return cloud(points, stamp_ns)


def with_zeros(stamp_ns: int) -> PointCloud2:
    """What `with_nan` has no numbers of, as other drivers say it."""
    points = scene_points()
    points[::7] = points[3::7] = 0
    return cloud(points, stamp_ns)


def big_endian(stamp_ns: int) -> PointCloud2:
    message = cloud(scene_points(), stamp_ns)
    message.data = np.frombuffer(bytes(message.data), '<f4').astype('>f4').tobytes()
    message.is_bigendian = True
    return message


def in_rows(stamp_ns: int) -> PointCloud2:
    points = scene_points()
    points = points[: len(points) // 8 * 8]
    message = cloud(points, stamp_ns)
    message.height, message.width = 8, len(points) // 8
    message.row_step = 16 * message.width
    return message


def empty(stamp_ns: int) -> PointCloud2:
    return cloud(scene_points()[:0], stamp_ns)


@pytest.mark.parametrize('make', [with_nan, with_zeros, big_endian, in_rows, empty])
def test_an_odd_cloud_is_fused_like_any(vehicle: Vehicle, make: Any) -> None:
    """Beams that meet nothing, the other byte order, a picture of points, and no point at all."""
    objects = vehicle.listen(Detection3DArray, '/perception/objects')
    painted = vehicle.listen(PointCloud2, '/perception/points/painted')
    vehicle.look(4 * S)
    vehicle.sweep(4 * S, make(4 * S))
    wait_until(lambda: objects and painted)
    [car] = objects[-1].detections
    place = car.bbox.center.position
    near = 3.0 if make is empty else 0.4  # without points the camera alone says where it is
    np.testing.assert_allclose((place.x, place.y), CAR[:2], atol=near)
    assert painted[-1].width * painted[-1].height == len(make(S).data) // 16
    assert len(fused(vehicle, objects, 5 * S).detections) == 1


@pytest.mark.parametrize('make', [with_nan, with_zeros])
def test_a_costmap_gets_what_stands_in_the_way_and_nothing_else(
    vehicle: Vehicle, make: Any
) -> None:
    """Neither the road nor a beam that met nothing: Nav2 would mark where it thinks they are."""
    obstacles = vehicle.listen(PointCloud2, '/perception/points/obstacles')
    vehicle.look(4 * S)
    vehicle.sweep(4 * S, make(4 * S))
    wait_until(lambda: obstacles)
    points = fields_of(obstacles[0])
    given = scene_points()
    is_whole = np.isfinite(fields_of(with_nan(S))['x']) & np.isfinite(fields_of(with_nan(S))['y'])
    of_car = np.flatnonzero(is_whole & (given[:, 2] > 0.2 - LIDAR_M[2]))
    found = points['intensity'].astype(int)
    assert set(of_car) <= set(found)
    where = given[found] + LIDAR_M
    assert (np.abs(where - CAR)[:, :2] < [3, 1.5]).all(), 'but for what touches its wheels'
    assert is_whole[found].all()


def test_an_image_of_another_size_than_its_lens(vehicle: Vehicle) -> None:
    """The camera has no part in the sweep, the node says why, and the sweep is not lost."""
    objects = vehicle.listen(Detection3DArray, '/perception/objects')
    vehicle.lens(size=(640, 200))
    assert not fused(vehicle, objects, 5 * S).detections
    said(vehicle, 'camera front in fusion', '640x200', '640x480')
    vehicle.lens()
    wait_until(lambda: bool(fused(vehicle, objects, objects[-1].header.stamp.sec * S + S)
                            .detections))


def test_a_frame_that_nobody_knows() -> None:
    with closing(Vehicle().drive()) as vehicle:
        vehicle.frames(without='front')
        vehicle.lens()
        objects = vehicle.listen(Detection3DArray, '/perception/objects')
        assert not fused(vehicle, objects, 5 * S).detections
        said(vehicle, 'camera front in fusion', "'front_optical'")
        vehicle.frames()
        wait_until(lambda: bool(fused(vehicle, objects, objects[-1].header.stamp.sec * S + S)
                                .detections))


def test_a_loop_of_frames_is_refused_and_told(vehicle: Vehicle) -> None:
    objects = vehicle.listen(Detection3DArray, '/perception/objects')
    assert len(fused(vehicle, objects, 5 * S).detections) == 1
    loop = TFMessage(transforms=[transform('lidar', 'base_link', np.zeros(3))])
    vehicle.publish('/tf_static', loop)
    said(vehicle, 'fusion', 'closes the loop')
    assert len(fused(vehicle, objects, 6 * S).detections) == 1


def test_results_of_another_time_are_no_part_of_a_sweep(vehicle: Vehicle) -> None:
    """Clocks that are minutes apart must not put yesterday's boxes on today's points."""
    objects = vehicle.listen(Detection3DArray, '/perception/objects')
    vehicle.look(400 * S)
    vehicle.sweep(5 * S)
    wait_until(lambda: objects)
    assert not objects[-1].detections
    said(vehicle, 'camera front in fusion', '+395.0 s', 'synchronise the clocks')


def event_counters() -> int:
    """Return how many eventfds this process has open."""
    files = (path for path in Path('/proc/self/fd').iterdir() if path.is_symlink())
    return sum('eventfd' in os.readlink(path) for path in files)


def test_a_failing_activate_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """The manager tries again, once a second: nothing may pile up."""
    original, calls = SweepSubscriptions._take, []

    def fail_once(self: Any, kind: Any, topic: str, qos: Any, on_message: Any) -> None:
        calls.append(topic)
        if len(calls) == 3:
            raise RuntimeError('no more sockets')
        original(self, kind, topic, qos, on_message)

    monkeypatch.setattr(SweepSubscriptions, '_take', fail_once)
    with closing(Vehicle()) as vehicle:
        assert vehicle.node.trigger_configure() is TransitionCallbackReturn.SUCCESS
        counters = event_counters()
        assert vehicle.node.trigger_activate() is TransitionCallbackReturn.FAILURE
        assert len(calls) == 3
        assert not any(vehicle.node.count_subscribers(topic) for topic in calls)
        assert event_counters() == counters
        assert vehicle.node.trigger_activate() is TransitionCallbackReturn.SUCCESS


@pytest.mark.parametrize(('name', 'value'), [
    ('lidar.topic', 'lidar points'), ('lidar.topic', ''), ('cameras.front.detections', '/a//b'),
    ('cameras.front.semantic', ['scene', 'a b']), ('cameras.front.camera_info', '/9'),
])
def test_what_can_be_no_topic_is_refused_at_configure(
    name: str, value: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    """And not by the middleware's own words at activate."""
    with closing(Vehicle(**{name: value})) as vehicle:
        assert vehicle.node.trigger_configure() is TransitionCallbackReturn.FAILURE
    said = capfd.readouterr().err
    assert name in said and 'expected' in said


def test_the_log_says_what_stays_wrong_and_that_it_is_good_again(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Who has no tool to read topics has the log alone; each cause is said once."""
    monkeypatch.setattr(trust, 'LOGGED_AFTER_S', 0.5)
    with closing(Vehicle().drive()) as vehicle:
        vehicle.frames()
        vehicle.lens()
        heard = ''

        def says(text: str) -> bool:
            nonlocal heard
            heard += capfd.readouterr().err
            return text in heard

        wait_until(lambda: says('lidar: no sweeps'))
        time.sleep(2.5)
        objects = vehicle.listen(Detection3DArray, '/perception/objects')
        for step in range(100):
            fused(vehicle, objects, (5 + step) * S)
            if says('lidar: good again'):
                break
        assert heard.count('lidar: no sweeps') == 1
        assert heard.count('lidar: good again') == 1


def test_sweeps_that_are_lost_on_the_way_are_told(vehicle: Vehicle) -> None:
    """The middleware does not say so, and the rest is fused as if nothing were."""
    objects = vehicle.listen(Detection3DArray, '/perception/objects')
    heard = vehicle.listen(DiagnosticArray, '/diagnostics')
    for count, step in enumerate(step for step in range(40) if step % 3):
        stamp_ns = 5 * S + step * S // 10
        vehicle.look(stamp_ns)
        vehicle.sweep(stamp_ns)
        wait_until(lambda: len(objects) > count)  # noqa: B023
    wait_until(lambda: any(
        'sweeps are missing after' in status.message and 'docs/transport.md' in status.message
        for message in heard for status in message.status
    ))


def test_odometry_that_is_behind_is_told() -> None:
    """The motion is guessed then, and is off by metres when the vehicle brakes."""
    with closing(Vehicle(fixed_frame='odom').drive()) as vehicle:
        vehicle.frames()
        vehicle.lens()
        moved = transform('odom', 'base_link', np.zeros(3))
        moved.header.stamp.sec = 5
        vehicle.publish('/tf', TFMessage(transforms=[moved]))
        with vehicle.node.known() as pipeline:
            tree = pipeline.tree
        wait_until(lambda: 'odom' in tree.frames)
        objects = vehicle.listen(Detection3DArray, '/perception/objects')
        fused(vehicle, objects, 5 * S + 700_000_000)
        status = said(vehicle, 'fusion', "'odom' is more than 200 ms behind")
        assert status.level == DiagnosticStatus.WARN


def test_a_camera_that_goes_and_comes_back() -> None:
    """What the others say is fused meanwhile, and the sweeps do not wait for it for long."""
    with closing(Vehicle('front', 'rear').drive()) as vehicle:
        vehicle.frames()
        vehicle.lens()
        vehicle.lens('rear')
        objects = vehicle.listen(Detection3DArray, '/perception/objects')
        heard = vehicle.listen(DiagnosticArray, '/diagnostics')

        def sweeps(what: str) -> int:
            values = [
                value for message in heard for status in message.status
                if status.name.endswith('camera rear in fusion') for value in status.values
            ]
            return sum(int(value.value) for value in values if value.key == what)

        wait_until(lambda: heard)  # else what is said first would be missed
        for second in range(1, 9):
            vehicle.look(second * S, 'rear' if second in (1, 7, 8) else 'front')
            assert len(fused(vehicle, objects, second * S).detections) == 1
        wait_until(lambda: sweeps('fused') + sweeps('missing') == 8)
        # 1 and 8; when it comes back, in 7, the sweep does not wait for it yet
        assert sweeps('fused') >= 2


def test_who_is_silent_is_told_with_what_can_be_seen_of_it() -> None:
    """A wrong topic looks like a dead sensor; only the node can tell them apart."""
    with closing(Vehicle('front', lidar__topic='/velodyne')) as vehicle:
        assert vehicle.node.trigger_configure() is TransitionCallbackReturn.SUCCESS
        assert vehicle.node.trigger_activate() is TransitionCallbackReturn.SUCCESS
        said(vehicle, 'lidar', 'no sweeps: nobody publishes /velodyne')
        vehicle.me.create_publisher(Detection3DArray, '/velodyne', 1)
        said(vehicle, 'lidar', 'Detection3DArray', 'expected sensor_msgs/msg/PointCloud2')


def test_without_a_sweep_no_camera_is_trusted() -> None:
    """What it does not show would otherwise be taken for a free road."""
    with closing(Vehicle('front').drive()) as vehicle:
        vehicle.frames()
        said(vehicle, 'camera front in fusion', 'no sweep')


def test_objects_in_another_frame_than_asked_for_are_told() -> None:
    """A planner that takes them for the vehicle's would be off by where the LiDAR is mounted."""
    with closing(Vehicle('front', output_frame='base_footprint').drive()) as vehicle:
        vehicle.frames()
        vehicle.lens()
        objects = vehicle.listen(Detection3DArray, '/perception/objects')
        assert fused(vehicle, objects, 5 * S).header.frame_id == 'lidar'
        said(vehicle, 'fusion', "in the LiDAR's frame", "'base_footprint'")
