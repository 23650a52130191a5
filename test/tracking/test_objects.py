"""Tracks in space keep their ids: through gaps, hand-overs, crossings, and clocks set back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
from numpy.typing import NDArray
import pytest

from perception_ros.fusion.types import Objects, Tracks
from perception_ros.tracking.objects import ObjectTracker
from perception_ros.tracking.track import LOST_AFTER_S

STEP_NS = 100_000_000
START_NS = 1_000_000_000_000
CLASSES = ('car', 'person', 'truck')
SIZES = {'car': (4.4, 1.8, 1.5), 'person': (0.6, 0.6, 1.7), 'truck': (8.0, 2.5, 3.0)}


class Thing(NamedTuple):
    """What one sweep shows of something."""

    x: float
    y: float
    name: str = 'car'
    ids: tuple[str, ...] = ()
    yaw: float = 0.0
    oriented: bool = True


def objects(step: float, things: Sequence[Thing], spread_m: float = 0.2) -> Objects:
    """Return what the fusion would have made of them, in the order given."""
    count = len(things)
    centres = np.array([[thing.x, thing.y, 0.8] for thing in things]).reshape(-1, 3)
    return Objects(
        stamp_ns=START_NS + round(step * STEP_NS), frame_id='base_link', centres=centres,
        sizes=np.array([SIZES[thing.name] for thing in things]).reshape(-1, 3),
        yaws=np.array([thing.yaw for thing in things], np.float64),
        oriented=np.array([thing.oriented for thing in things], np.bool_), surfaces=centres,
        covariances=np.tile(np.eye(3) * spread_m**2, (count, 1, 1)),
        points=np.full(count, 50, np.int32), scores=np.full(count, 0.8, np.float32),
        labels=np.array([CLASSES.index(thing.name) for thing in things], np.int32),
        by_camera=np.zeros(count, np.bool_), sources=((('front', 0),),) * count,
        members=(np.zeros(0, np.intp),) * count, class_names=CLASSES,
    )


def follow(
    tracker: ObjectTracker, step: float, *things: Thing, pose: NDArray[np.float64] | None = None
) -> Tracks:
    return tracker.update(
        objects(step, things), [thing.ids for thing in things], 'odom',
        np.eye(4) if pose is None else pose,
    )


def test_a_track_is_told_at_the_second_sight() -> None:
    """One sight may be a detector's fancy."""
    tracker = ObjectTracker()
    assert len(follow(tracker, 0, Thing(10, 0))) == 0
    assert follow(tracker, 1, Thing(10, 0)).ids.tolist() == [1]


@settings(max_examples=50, deadline=None)
@given(
    st.floats(-25, 25), st.floats(-25, 25), st.floats(-0.3, 0.3),
    st.lists(st.integers(1, 4), min_size=14, max_size=25), st.integers(0, 2**31),
)
def test_it_keeps_its_id_and_learns_its_velocity_whatever_is_lost(
    vx: float, vy: float, turn_rate: float, steps: list[int], seed: int
) -> None:
    """Once it is told, up to three sweeps in a row are missing; the vehicle drives a bend."""
    tracker, random, step = ObjectTracker(), np.random.default_rng(seed), 0
    found: list[Tracks] = []
    for size in [1, 1, *steps]:
        step += size
        second = step * STEP_NS / 1e9
        there = np.array([15 + vx * second, 5 + vy * second, 0.0]) + random.normal(0, 0.1, 3)
        pose = bend(turn_rate, second)
        here = pose[:3, :3].T @ (there - pose[:3, 3])
        found.append(follow(tracker, step, Thing(here[0], here[1]), pose=pose))
    ids = {number for tracks in found for number in tracks.ids.tolist()}
    assert ids == {1}
    assert np.allclose(found[-1].velocities[0], [vx, vy, 0], atol=1.5)
    assert np.allclose(found[-1].centres[0, :2], [15 + vx * second, 5 + vy * second], atol=0.5)


def bend(turn_rate: float, second: float) -> NDArray[np.float64]:
    """Return where a vehicle is that turns as it goes, in the frame of its odometry."""
    pose, yaw = np.eye(4), turn_rate * second
    pose[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
    pose[:2, 3] = 8 * second, 0.5 * yaw
    return pose


@pytest.mark.parametrize('speed_m_s', [-45.0, 45.0])
def test_a_car_on_a_motorway_is_one_car(speed_m_s: float) -> None:
    """Nothing but its places says that it is: no camera's tracker."""
    tracker = ObjectTracker()
    for step in range(6):
        found = follow(tracker, step, Thing(speed_m_s * step / 10, 3))
    assert found.ids.tolist() == [1]
    assert found.velocities[0, 0] == pytest.approx(speed_m_s, abs=2)


def turned(yaw: float) -> NDArray[np.float64]:
    """Return a vehicle that stands at the origin and is turned."""
    pose = np.eye(4)
    pose[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
    return pose


def test_a_box_is_turned_into_the_frame_of_the_tracks() -> None:
    """Also one of which nobody knows how it lies: its length means the line of sight."""
    tracker, yaw = ObjectTracker(), 0.9
    lorry = Thing(0, 15, 'truck', yaw=np.pi / 2, oriented=False)
    for step in range(3):
        found = follow(tracker, step, lorry, pose=turned(yaw))
    assert not found.oriented[0]
    line_of_sight = np.arctan2(found.centres[0, 1], found.centres[0, 0])
    assert found.yaws[0] == pytest.approx(line_of_sight)
    assert found.yaws[0] == pytest.approx(np.pi / 2 + yaw)


def test_how_a_thing_lies_is_kept_when_it_is_seen_no_more() -> None:
    """A parked lorry whose rear alone is left to see has not turned."""
    tracker = ObjectTracker()
    for step in range(3):
        follow(tracker, step, Thing(15, 5, 'truck', yaw=0.4))
    found = follow(tracker, 3, Thing(15, 5, 'truck', yaw=1.2, oriented=False))
    assert found.oriented[0]
    assert found.yaws[0] == pytest.approx(0.4)


def test_what_stands_is_not_turned_by_noise() -> None:
    """Parked cars of which nobody sees how they lie, placed by a camera to half a metre."""
    for seed in range(20):
        tracker, random = ObjectTracker(), np.random.default_rng(seed)
        for step in range(25):
            things = [Thing(20 + random.normal(0, 0.5), 3, oriented=False)]
            found = tracker.update(
                objects(step, things, spread_m=0.5), [()], 'odom', np.eye(4)
            )
            assert not found.oriented.any()


def test_a_size_that_points_have_shown_stays() -> None:
    """A camera alone guesses: how wide its box is says little of how long a lorry is."""
    tracker = ObjectTracker()
    for step in range(12):
        seen = objects(step, [Thing(20, 0, 'truck')])
        if step > 2:
            seen = replace(seen, by_camera=np.array([True]), sizes=seen.sizes * 2)
        found = tracker.update(seen, [()], 'odom', np.eye(4))
    assert found.by_camera.tolist() == [True]
    assert found.sizes[0] == pytest.approx(SIZES['truck'])


def test_a_class_keeps_its_number() -> None:
    """What the table says is named on another topic, which may come a moment later."""
    tracker = ObjectTracker()
    numbers = []
    for step in range(6):
        things = [Thing(20, 0, 'person')] + [Thing(30, 9, 'car')] * (step > 2)
        found = follow(tracker, step, *things)
        numbers += [
            int(label) for label, number in zip(found.labels, found.ids, strict=True)
            if number == 1
        ]
    assert found.class_names == ('person', 'car')
    assert set(numbers) == {0}


def test_what_moves_lies_as_it_goes() -> None:
    """Where the points do not say: nobody drives sideways."""
    tracker = ObjectTracker()
    for step in range(8):
        found = follow(tracker, step, Thing(20, -step, yaw=0.0, oriented=False))
    assert found.oriented[0]
    assert found.yaws[0] == pytest.approx(-np.pi / 2, abs=0.05)


def test_what_moves_does_not_go_sideways() -> None:
    """Of a car of which only the rear is seen, its points may say that it lies across."""
    tracker = ObjectTracker()
    for step in range(8):
        found = follow(tracker, step, Thing(20, -step, yaw=0.1 if step % 2 else np.pi / 2))
        assert step < 4 or found.yaws[0] == pytest.approx(-np.pi / 2, abs=0.1)


@pytest.mark.parametrize('spread_m', [0.1, 0.3, 1.0])
def test_front_and_back_are_told_apart_when_it_is_sure_where_a_thing_goes(
    spread_m: float
) -> None:
    """An oncoming car: its box may as well be that of one ahead. Its front then stays known."""
    tracker, known = ObjectTracker(), []
    for step in range(40):
        braked_s = float(np.clip(step / 10 - 1, 0, 2))
        x = 60 - 10 * min(step / 10, 3) + 2.5 * braked_s**2  # and then it stands
        found = tracker.update(
            objects(step, [Thing(x, 3, yaw=0.0)], spread_m), [()], 'odom', np.eye(4)
        )
        known += found.has_front.tolist()
        for has_front, yaw in zip(found.has_front, found.yaws, strict=True):
            assert not has_front or abs(yaw) == pytest.approx(np.pi, abs=0.01)
    assert known == sorted(known), 'once known it stays known'
    assert known[-1]
    parked = ObjectTracker()
    assert not any(follow(parked, step, Thing(20, 3)).has_front.any() for step in range(10))


def test_another_camera_takes_over_and_the_id_stays() -> None:
    """The new camera's tracker begins with a name of its own."""
    tracker = ObjectTracker()
    for step in range(5):
        follow(tracker, step, Thing(10, 5, ids=('left/7',)))
    found = follow(tracker, 5, Thing(10.1, 5, ids=('left/7', 'front/1')))
    assert found.ids.tolist() == [1]
    for step in range(6, 9):
        found = follow(tracker, step, Thing(10.1, 5, ids=('front/1',)))
    assert found.ids.tolist() == [1]


def test_two_cameras_with_one_end_each_see_one_thing() -> None:
    """At the seam of two images each has a part of a near car, and no point in common."""
    tracker = ObjectTracker()
    for step in range(4):
        follow(tracker, step, Thing(3, 5, ids=('left/7',)))
    for step in range(4, 8):
        found = follow(
            tracker, step, Thing(3.9, 5, ids=('front/1',)), Thing(2.2, 5, ids=('left/7',))
        )
        assert found.ids.tolist() == [1]
    for step in range(8, 12):
        found = follow(tracker, step, Thing(3.0, 5, ids=('front/1',)))
        assert found.ids.tolist() == [1]


def test_two_people_side_by_side_stay_two() -> None:
    """Nearer to one another than a car is long."""
    tracker = ObjectTracker()
    for step in range(10):
        found = follow(
            tracker, step, Thing(10 + 0.14 * step, 0, 'person'),
            Thing(10 + 0.14 * step, 0.8, 'person'),
        )
    assert found.ids.tolist() == [1, 2]


def test_a_camera_that_knows_it_again_bridges_a_turn() -> None:
    """Braking hard behind something that hides it, it is not where it would have been."""
    def last(ids: tuple[str, ...]) -> list[int]:
        tracker = ObjectTracker()
        for step in range(10):
            follow(tracker, step, Thing(10 + step, 0, ids=('front/3',)))
        for step in (17, 18):
            found = follow(tracker, step, Thing(21.5, 1.5, ids=ids))
        seen = found.objects >= 0
        return [int(number) for number in found.ids[seen]]

    assert last(('front/3',)) == [1]
    assert last(()) == [2], 'without its name it would be another: or the test shows nothing'


def test_crossing_people_keep_their_ids() -> None:
    tracker = ObjectTracker()
    for step in range(30):
        found = follow(
            tracker, step,
            Thing(10, -2 + 0.14 * step, 'person', ('front/1',)),
            Thing(10.4, 2 - 0.14 * step, 'person', ('front/2',)),
        )
    assert found.ids[np.argsort(found.centres[:, 1])].tolist() == [2, 1]


def test_a_person_is_not_taken_for_the_car_at_the_same_place() -> None:
    tracker = ObjectTracker()
    for step in range(3):
        follow(tracker, step, Thing(10, 0))
    for step in range(3, 6):
        found = follow(tracker, step, Thing(10, 0, 'person'))
    assert {found.class_names[label] for label in found.labels} == {'car', 'person'}


def test_a_detector_that_wavers_between_truck_and_car_changes_no_id() -> None:
    tracker = ObjectTracker()
    for step in range(12):
        name = 'car' if step % 3 == 2 else 'truck'
        found = follow(tracker, step, Thing(10 + step, 0, name))
    assert found.ids.tolist() == [1]
    assert found.class_names[found.labels[0]] == 'truck'


@pytest.mark.parametrize(('pause_s', 'kept'), [
    (LOST_AFTER_S - 0.2, True), (LOST_AFTER_S + 0.2, False),
])
def test_what_is_gone_for_too_long_comes_back_as_another(pause_s: float, kept: bool) -> None:
    """All the while the LiDAR turns and shows nothing there."""
    tracker = ObjectTracker()
    for step in range(10):
        follow(tracker, step, Thing(10, 0))
    pause = round(pause_s * 10)
    for step in range(10, 9 + pause):
        follow(tracker, step)
    for step in range(9 + pause, 12 + pause):
        found = follow(tracker, step, Thing(10, 0))
    assert found.ids.tolist() == ([1] if kept else [2])


def test_nothing_is_told_of_where_nobody_knows_it_is() -> None:
    """Seen twice and gone, a thing may be anywhere soon."""
    tracker = ObjectTracker()
    follow(tracker, 0, Thing(10, 0))
    follow(tracker, 1, Thing(10, 0))
    told = [len(follow(tracker, step)) for step in range(2, 10)]
    assert told[-1] == 0
    assert sorted(told, reverse=True) == told


@pytest.mark.parametrize('later_s', [-20.0, 30.0], ids=['set back', 'long silence'])
def test_a_clock_that_jumps_begins_anew_without_using_ids_again(later_s: float) -> None:
    """A bag that loops, a LiDAR that was off."""
    tracker = ObjectTracker()
    for step in range(5):
        follow(tracker, step, Thing(10, 0))
    for step in range(2):
        found = follow(tracker, 5 + later_s * 10 + step, Thing(10, 0))
    assert found.ids.tolist() == [2]
    assert found.ages[0] == pytest.approx(0.1)


def test_a_sweep_that_is_a_little_late_does_no_harm() -> None:
    tracker = ObjectTracker()
    for step in (0, 1, 2, 3, 2.5, 4, 5):
        found = follow(tracker, step, Thing(10 + step, 0))
    assert found.ids.tolist() == [1]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31))
def test_ids_are_told_once_and_the_same_input_gives_the_same_tracks(seed: int) -> None:
    """Clutter at random: no id twice in a sweep, none that comes back, and a replay agrees."""
    def run() -> list[tuple[list[int], list[float]]]:
        random, tracker, told = np.random.default_rng(seed), ObjectTracker(), []
        for step in range(20):
            things = [
                Thing(*random.uniform(0, 20, 2), CLASSES[random.integers(3)], ('front/1',)[index:])
                for index in range(random.integers(0, 8))
            ]
            found = follow(tracker, step, *things)
            assert np.isfinite(found.centres).all()
            assert np.isfinite(found.velocities).all()
            assert (np.linalg.eigvalsh(found.velocity_covariances[:, :2, :2]) > 0).all()
            told.append((found.ids.tolist(), found.centres.ravel().tolist()))
        return told

    told = run()
    assert told == run()
    for ids, _ in told:
        assert len(set(ids)) == len(ids)
