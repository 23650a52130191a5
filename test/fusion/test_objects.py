"""Boxes in space, in streets where every place is known."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from perception_ros.core.types import Detections, InstanceMasks
from perception_ros.evaluation.fusion import figures
from perception_ros.evaluation.scenes import fused, HEIGHT, LENS, Scene, street, Thing, WIDTH
from perception_ros.evaluation.streets import compared, drawn, visible, without_points
from perception_ros.fusion.objects import ObjectSettings
from perception_ros.fusion.types import FusionSet, Objects, Sweep, View

CAR = Thing('car', 20, 0, 0.3, (4.4, 1.8, 1.55))
WALL = Thing('', 40, 0, 0, (1, 60, 5))
AROUND = tuple(np.radians(range(0, 360, 55)))
"""Six cameras whose images overlap by 9 degrees and more."""


@pytest.fixture(scope='module')
def streets() -> list[tuple[Scene, Objects]]:
    return [(scene, scene.objects()) for scene in map(street, range(25))]


def test_surfaces_are_in_place(streets: list[tuple[Scene, Objects]]) -> None:
    """Many things hide one another, poles stand before them and walls behind, on slopes."""
    rows = {
        row.name: row for row in figures(
            item for scene, objects in streets for item in compared(scene, objects)
        )
    }
    every = rows['all']
    assert every.objects > 100
    assert every.in_place >= 0.95 * every.objects
    for name in ('car', 'person', 'rider', 'truck'):
        assert rows[name].in_place >= 0.9 * rows[name].objects, name
    assert every.centre_p90_m is not None and every.centre_p90_m < 0.8
    assert rows['car'].yaw_p50_deg is not None and rows['car'].yaw_p50_deg < 3
    assert rows['person'].yaws == 0, 'nobody sees where a round thing faces'


def test_boxes_as_detectors_draw_them_are_good_enough() -> None:
    """Each edge a few per cent off, so that height and place on the ground contradict."""
    for boxes in (drawn, visible):
        found = [
            item for scene in map(street, range(25))
            for item in compared(scene, fused(boxes(scene), scene.base_from_lidar))
        ]
        assert np.mean([item.in_place for item in found]) > 0.92


def test_covariances_are_honest(streets: list[tuple[Scene, Objects]]) -> None:
    """A tracker weighs by them: about 95 of 100 centres lie in the ellipses that say so."""
    every = figures(
        item for scene, objects in streets for item in compared(scene, objects)
    )[-1]
    assert 0.88 < every.in_ellipse / every.objects < 0.99


def test_what_stands_before_a_thing_does_not_draw_it_near() -> None:
    """Without a box of its own, and with one."""
    pole = Thing('', 12, 0.1, 0, (0.15, 0.15, 5))
    person = Thing('person', 12, 0.3, 0, (0.6, 0.6, 1.75))
    for before in (pole, person):
        scene = Scene((CAR, WALL, before))
        assert all(item.in_place for item in compared(scene, scene.objects()))


def test_a_hedge_that_goes_on_behind_a_thing_is_not_of_it() -> None:
    """It has no gap in range by which it could be parted from who stands before it."""
    scene = Scene((Thing('person', 12, 0, 0, (0.6, 0.6, 1.75)),))
    back = np.arange(12, 20, 0.2)
    hedge = np.stack([back, 0.02 * back, np.full_like(back, -0.6)], axis=1)
    points = np.concatenate([scene.points, hedge.astype(np.float32)])
    given = replace(scene.fusion_set, sweep=Sweep(0, 0, 'lidar', points))
    found = fused(given, scene.base_from_lidar)
    assert found.sizes[0, :2].max() < 1.5
    assert found.centres[0, :2] == pytest.approx((12, 0), abs=0.5)


@settings(max_examples=25, deadline=None)
@given(
    yaw=st.floats(-np.pi, np.pi), x=st.floats(-1e7, 1e7), y=st.floats(-1e7, 1e7),
    z=st.floats(-100, 100), seed=st.integers(0, 20),
)
def test_a_frame_elsewhere_moves_what_is_found(
    yaw: float, x: float, y: float, z: float, seed: int
) -> None:
    """Objects may be wanted in a map's frame, whose origin is thousands of kilometres away."""
    scene = street(seed)
    there = np.eye(4)
    there[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
    there[:3, 3] = x, y, z
    here, moved = scene.objects(), fused(scene.fusion_set, there @ scene.base_from_lidar)
    same = [moved.by_source[sources[0]] for sources in here.sources]
    # The cells of the ground lie otherwise, so a few points are ground that were none.
    expected = here.centres @ there[:3, :3].T + there[:3, 3]
    off = np.linalg.norm(moved.centres[same] - expected, axis=1)
    assert np.median(off) < 0.03
    assert (off < 0.5).mean() > 0.8
    turned = (moved.yaws[same] - here.yaws - yaw + np.pi / 2) % np.pi - np.pi / 2
    assert np.median(np.abs(turned)) < 0.1
    assert sorted(here.scores) == sorted(moved.scores)


def test_a_frame_far_away_costs_no_centimetre() -> None:
    """In UTM a float32 knows half a metre."""
    scene = street(1)
    far = np.eye(4)
    far[:3, 3] = 500_000, 5_400_000, 300
    here, there = scene.objects(), fused(scene.fusion_set, far @ scene.base_from_lidar)
    np.testing.assert_allclose(there.centres - far[:3, 3], here.centres, atol=1e-6)
    np.testing.assert_allclose(there.surfaces - far[:3, 3], here.surfaces, atol=1e-6)
    np.testing.assert_array_equal(there.sizes, here.sizes)


@pytest.mark.parametrize('axis', [0, 1, 2])
def test_it_does_not_matter_how_the_lidar_is_screwed_on(axis: int) -> None:
    angle = 0.6
    tilt = np.roll(np.array([
        [1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]
    ]), (axis, axis), (0, 1))
    scene = street(3)
    straight, tilted = scene.objects(), replace(scene, tilt=tilt).objects()
    assert straight.sources == tilted.sources
    assert np.median(np.abs(straight.centres - tilted.centres)) < 1e-3


def test_what_two_cameras_see_is_one_object() -> None:
    """And what one camera sees twice is two, however close they walk."""
    scene = Scene((
        Thing('car', 14, 7.3, 1.5, (4.4, 1.8, 1.55)),
        Thing('person', 15, 0, 0, (0.6, 0.6, 1.75)), Thing('person', 15, 0.8, 0, (0.6, 0.6, 1.7)),
        WALL,
    ), headings=AROUND)
    counts = [[thing.name for thing in things] for _, things, _ in scene.shown]
    assert sum(names.count('car') for names in counts) == 2, 'the scene shows it twice'
    objects = scene.objects()
    names = [objects.class_names[label] for label in objects.labels]
    assert sorted(names) == ['car', 'person', 'person']
    sources = objects.sources[names.index('car')]
    assert len({camera for camera, _ in sources}) == 2
    told = {(camera, i) for camera, things, _ in scene.shown for i in range(len(things))}
    assert {source for found in objects.sources for source in found} == told


@pytest.mark.parametrize(('score', 'count'), [(0.3, 1), (0.85, 2)])
def test_a_less_sure_half_of_a_thing_is_no_thing_of_its_own(score: float, count: int) -> None:
    """Detectors find a car and its rear; the points must not be shared out between both."""
    scene = Scene((CAR, WALL))
    view = scene.fusion_set.views[0]
    assert view.detections is not None
    box = view.detections.boxes[0]
    half = box.copy()
    half[0] = (box[0] + box[2]) / 2
    twice = Detections(
        np.stack([box, half]), np.array([0.9, score], np.float32), np.zeros(2, np.int32), ('car',)
    )
    fusion_set = replace(scene.fusion_set, views=(replace(view, detections=twice),))
    found = fused(fusion_set, scene.base_from_lidar)
    assert len(found) == count
    if count == 1:
        assert sorted(found.sources[0]) == [('camera0', 0), ('camera0', 1)]
        assert found.points.tolist() == scene.objects().points.tolist()


def test_without_points_the_camera_says_where(streets: list[tuple[Scene, Objects]]) -> None:
    """By the ground and by the usual height, marked, and with an honest doubt."""
    misses, ranges = [], []
    for scene, _ in streets:
        objects = fused(without_points(scene), scene.base_from_lidar)
        assert objects.by_camera.all()
        assert not objects.oriented.any()
        assert not objects.points.any()
        for camera, things, boxes in scene.shown:
            for number, thing in enumerate(things):
                if boxes[number][3] >= HEIGHT - 1 or not 0 < boxes[number][0] < WIDTH - 300:
                    continue
                i = objects.by_source[camera, number]
                off = objects.centres[i][:2] - (thing.x, thing.y)
                away = np.hypot(thing.x, thing.y)
                ranges.append(abs(np.hypot(*objects.centres[i][:2]) - away) / away)
                misses.append(off @ np.linalg.solve(objects.covariances[i][:2, :2], off) > 5.99)
    assert np.median(ranges) < 0.12
    assert np.mean(misses) < 0.2


@pytest.mark.parametrize(('range_m', 'by_camera'), [(20.3, False), (9.0, True), (34.0, True)])
def test_one_point_is_enough_where_the_image_has_the_thing(
    range_m: float, by_camera: bool
) -> None:
    """A LiDAR's beams are a metre apart at 100 m; a leaf on the way is one point too."""
    person = Thing('person', 20, 0, 0, (0.6, 0.6, 1.73))
    scene = Scene((person, WALL))
    points = scene.points[:]
    points[np.abs(points[:, 1]) < 0.15 * points[:, 0].clip(0)] = np.nan
    points[0] = range_m, 0, -0.5 * range_m / 20
    given = replace(scene.fusion_set, sweep=Sweep(0, 0, 'lidar', points))
    found = fused(given, scene.base_from_lidar)
    assert found.by_camera.tolist() == [by_camera]
    if not by_camera:
        assert found.surfaces[0, 0] == pytest.approx(range_m, abs=0.01)


def test_camera_only_objects_can_be_left_out() -> None:
    scene = Scene((CAR, WALL))
    empty = replace(scene.fusion_set, sweep=Sweep(0, 0, 'lidar', np.zeros((0, 3), np.float32)))
    found = fused(empty, scene.base_from_lidar)
    assert found.by_camera.tolist() == [True]
    none = fused(empty, scene.base_from_lidar, ObjectSettings(camera_only=False))
    assert len(none) == 0


def test_without_detections_there_is_nothing() -> None:
    scene = Scene((replace(CAR, name=''), WALL))
    views = (*scene.fusion_set.views, replace(scene.fusion_set.views[0], detections=None))
    objects = fused(FusionSet(scene.fusion_set.sweep, views), scene.base_from_lidar)
    shapes = [objects.centres, objects.sizes, objects.yaws, objects.surfaces, objects.covariances]
    assert [item.shape for item in shapes] == [(0, 3), (0, 3), (0,), (0, 3), (0, 3, 3)]
    assert len(objects) == 0


@settings(max_examples=20, deadline=None)
@given(
    at=st.lists(st.integers(0, 30_000), max_size=40),
    bad=st.sampled_from([np.nan, np.inf, -np.inf, 3e38]),
)
def test_rows_that_are_no_points_change_nothing(at: list[int], bad: float) -> None:
    """A beam that met nothing is a row all the same: members still are indices of rows."""
    scene = STREET
    points = np.insert(scene.points, sorted(at), np.float32(bad), axis=0)
    given = replace(scene.fusion_set, sweep=Sweep(0, 0, 'lidar', points))
    with np.errstate(all='ignore'):
        found = fused(given, scene.base_from_lidar)
    assert found.sources == PLAIN.sources
    assert np.allclose(found.centres, PLAIN.centres, atol=0.2)
    for mine, plain in zip(found.members, PLAIN.members, strict=True):
        assert np.isfinite(points[mine]).all()
        assert abs(len(mine) - len(plain)) <= 3


STREET = street(5)
PLAIN = STREET.objects()


def test_a_box_of_which_nobody_knows_how_it_lies_is_where_it_is_drawn(
    streets: list[tuple[Scene, Objects]],
) -> None:
    """Its near side, as length and yaw say where that is, is at the surface that was seen."""
    off, turned = [], []
    for scene, objects in streets:
        eye = scene.base_from_lidar[:2, 3]
        for i in np.flatnonzero(~objects.oriented & ~objects.by_camera):
            ahead = np.array([np.cos(objects.yaws[i]), np.sin(objects.yaws[i])])
            near = objects.centres[i, :2] - objects.sizes[i, 0] / 2 * ahead - eye
            surface = objects.surfaces[i, :2] - eye
            off.append(near @ ahead - surface @ ahead)
            turned.append(np.cross([*ahead, 0], [*surface, 0])[2] / np.hypot(*surface))
    assert len(off) > 20
    assert np.abs(off).max() < 0.3
    assert np.abs(turned).max() < 1e-6, 'the length lies along the line of sight'


def test_the_contract(streets: list[tuple[Scene, Objects]]) -> None:
    """Who takes objects further relies on kinds, on the order and on whose points are whose."""
    for scene, objects in streets[:5]:
        count = len(objects)
        assert (np.diff(objects.scores) <= 0).all()
        assert [len(item) for item in objects.members] == objects.points.tolist()
        members = np.concatenate(objects.members)
        assert len(np.unique(members)) == len(members), 'one camera: no point in two things'
        assert members.max() < len(scene.points)
        assert (objects.sizes > 0).all()
        assert (np.linalg.eigvalsh(objects.covariances) > 0).all()
        assert np.isfinite(objects.surfaces).all() and objects.yaws.shape == (count,)
        dtypes = [objects.points.dtype, objects.scores.dtype, objects.labels.dtype]
        assert dtypes == [np.dtype(np.int32), np.dtype(np.float32), np.dtype(np.int32)]


@pytest.mark.parametrize('behind_m', [0.5, 2.0, 4.0, 8.0])
def test_a_camera_far_from_the_lidar_finds_its_points(behind_m: float) -> None:
    """At the back of a bus: what the image guesses is from there, what the points say is not."""
    person = Thing('person', -6 - behind_m, 0, 0, (0.6, 0.6, 1.75))
    pole = Thing('', -2.2 - behind_m, 0.05, 0, (0.1, 0.1, 5))
    scene = Scene((person, pole), headings=(np.pi,))
    there = scene.camera_from_base(np.pi)
    there[:3, 3] -= there[:3, :3] @ np.array([0.5 - behind_m, 0, 0])
    corners = person.corners(scene.ground) @ there[:3, :3].T + there[:3, 3]
    pixels = LENS.project(corners)
    box = np.concatenate([pixels.min(axis=0), pixels.max(axis=0)])[None].astype(np.float32)
    found = Detections(box, np.ones(1, np.float32), np.zeros(1, np.int32), ('person',))
    view = View('rear', 0, LENS, there @ scene.base_from_lidar, found, ('',))
    objects = fused(FusionSet(Sweep(0, 0, 'lidar', scene.points), (view,)), scene.base_from_lidar)
    assert objects.by_camera.tolist() == [False]
    assert objects.centres[0, 0] == pytest.approx(person.x, abs=0.3)


def test_two_people_of_two_cameras_stay_two() -> None:
    """One has no points: how far away it is nobody knows well, in which direction all do."""
    people = [Thing('person', 30, side, 0, (0.6, 0.6, 1.75)) for side in (1.2, -1.8)]
    scene = Scene(tuple(people), headings=(0.0, 0.0))
    points = scene.points.copy()
    points[scene.owners == 1] = np.nan
    views = []
    for number, view in enumerate(scene.fusion_set.views):
        given = view.detections
        assert given is not None
        kept = slice(number, number + 1)
        views.append(replace(view, detections=replace(
            given, boxes=given.boxes[kept], scores=given.scores[kept], labels=given.labels[kept],
        )))
    objects = fused(
        FusionSet(Sweep(0, 0, 'lidar', points), tuple(views)), scene.base_from_lidar
    )
    assert sorted(objects.by_camera.tolist()) == [False, True]


def test_without_any_ground_things_stand_where_the_frame_does() -> None:
    """A LiDAR that is blind must not lift what the cameras alone still see by its own height."""
    scene = Scene((CAR,))
    given = scene.fusion_set
    blind = replace(given.sweep, points=np.full_like(given.sweep.points, np.nan))
    objects = fused(replace(given, sweep=blind), scene.base_from_lidar)
    assert objects.by_camera.tolist() == [True]
    assert objects.centres[0, 2] == pytest.approx(CAR.size[2] / 2, abs=0.2)


def test_a_mask_says_more_than_a_box() -> None:
    """Of a thing of no known kind behind a fence, of which most points in its box are."""
    near = Thing('thing', 12, 0, 0, (0.1, 3, 1.6))
    far = Thing('thing', 25, 0, 0, (3, 3, 3))
    scene = Scene((near, far))
    view = scene.fusion_set.views[0]
    assert view.detections is not None
    only = Detections(
        view.detections.boxes[1:], view.detections.scores[1:], view.detections.labels[1:],
        view.detections.class_names,
    )
    indices = np.zeros((HEIGHT, WIDTH), np.uint16)
    for number, box in ((1, only.boxes[0]), (0, view.detections.boxes[0])):
        x1, y1, x2, y2 = box.astype(int)
        indices[y1:y2, x1:x2] = number
    masked = replace(view, detections=only, instances=InstanceMasks(indices))
    found = fused(FusionSet(scene.fusion_set.sweep, (masked,)), scene.base_from_lidar)
    assert np.hypot(*found.surfaces[0][:2]) == pytest.approx(23.5, abs=0.3)
