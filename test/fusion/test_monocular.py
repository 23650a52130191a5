"""Where a box is by the image alone, with cameras whose every ray is known."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
from numpy.typing import NDArray
import pytest

from perception_ros.core.poses import inverse
from perception_ros.evaluation.scenes import HEIGHT, LENS, Scene, Thing, WIDTH
from perception_ros.fusion.class_sizes import class_key, class_sizes
from perception_ros.fusion.monocular import Guess, Sight


def sight(scene: Scene, *boxes: tuple[float, float, float, float]) -> Sight:
    frame_from_camera = inverse(scene.camera_from_base(scene.headings[0]))
    return Sight.of(LENS, frame_from_camera, np.array(boxes, np.float32).reshape(-1, 4))


def guess(scene: Scene, name: str, *boxes: tuple[float, float, float, float]) -> Guess:
    return sight(scene, *boxes).guess(class_sizes([name] * len(boxes)), scene.ground)


def upright(
    scene: Scene, x: float, y: float, height: float, width: float = 0.5
) -> tuple[float, float, float, float]:
    """Return the box around something flat that stands on the ground and faces the camera."""
    bottom = float(scene.ground @ [x, y, 1])
    corners = np.array([
        [x, y + side, bottom + up] for side in (-width / 2, width / 2) for up in (0, height)
    ])
    pose = scene.camera_from_base(scene.headings[0])
    pixels = LENS.project(corners @ pose[:3, :3].T + pose[:3, 3])
    (x1, y1), (x2, y2) = pixels.min(axis=0), pixels.max(axis=0)
    return x1, y1, x2, y2


def range_m(scene: Scene, x: float, y: float) -> float:
    eye = inverse(scene.camera_from_base(scene.headings[0]))[:2, 3]
    return float(np.hypot(*(np.array([x, y]) - eye)))


@given(
    x=st.floats(8, 60), y=st.floats(-3, 3), along=st.floats(-0.05, 0.05),
    up=st.floats(-100, 100),
)
def test_the_ground_says_how_far_away_what_stands_on_it_is(
    x: float, y: float, along: float, up: float
) -> None:
    """Whatever it is; on slopes too, and wherever zero is."""
    scene = Scene((), np.array([along, 0, up]))
    box = upright(scene, x, y, 1.2)
    if not 2 < box[3] < HEIGHT - 2:
        return
    (near,), (doubt,) = guess(scene, 'nobody knows', box)
    assert near == pytest.approx(range_m(scene, x, y), rel=1e-3)
    assert doubt > 0.2


@given(x=st.floats(8, 60), y=st.floats(-3, 3))
def test_a_usual_height_says_the_same_and_makes_it_surer(x: float, y: float) -> None:
    scene = Scene(())
    usual = class_sizes(['person'])[0, 2]
    box = upright(scene, x, y, usual)
    by_both, by_ground = guess(scene, 'person', box), guess(scene, 'nobody knows', box)
    assert by_both.ranges[0] == pytest.approx(range_m(scene, x, y), rel=1e-3)
    assert by_both.deviations[0] < by_ground.deviations[0]


def test_the_doubt_grows_with_the_distance() -> None:
    scene = Scene(())
    boxes = [upright(scene, x, 0, 1.7) for x in (10, 20, 40, 60)]
    _, doubts = guess(scene, 'person', *boxes)
    assert (np.diff(doubts) > 0).all()
    assert 0.05 * 40 < doubts[2] < 0.2 * 40


@pytest.mark.parametrize('box', [
    pytest.param((700, 300, 760, 449), id='ends above the horizon'),
    pytest.param((700, 500, 760, HEIGHT), id='ends at the border'),
    pytest.param((700, 400, 760, 451), id='ends at the horizon, nearly'),
])
def test_a_box_that_says_nothing_places_nothing(box: tuple[float, float, float, float]) -> None:
    """What hangs has no foot on the ground; what is cut off hides it."""
    scene = Scene(())
    (near,), _ = guess(scene, 'nobody knows', box)
    assert np.isnan(near) or near > 500


def test_a_box_at_the_upper_border_says_no_height() -> None:
    scene = Scene(())
    whole = upright(scene, 10, 0, 1.73)
    cut = (whole[0], 0.0, whole[2], whole[3])
    assert np.allclose(guess(scene, 'person', cut), guess(scene, 'nobody knows', cut))
    assert not np.allclose(guess(scene, 'person', whole), guess(scene, 'nobody knows', whole))


def test_what_is_located_stands_on_the_ground_behind_its_surface() -> None:
    scene = Scene((), np.array([0.03, -0.02, 5.0]))
    x, y = 25.0, 2.0
    usual = class_sizes(['car'])
    looks = sight(scene, upright(scene, x, y, usual[0, 2], 1.8))
    shapes = looks.locate(looks.guess(usual, scene.ground), usual, scene.ground)
    surface, centre = shapes.surfaces[0], shapes.centres[0]
    assert surface[:2] == pytest.approx((x, y), abs=0.05)
    eye = looks.eyes[0, :2]
    assert np.hypot(*(centre[:2] - eye)) > np.hypot(*(surface[:2] - eye)) + 0.5
    ground = float(scene.ground @ [x, y, 1])
    assert surface[2] == pytest.approx(ground + usual[0, 2] / 2, abs=0.05)
    assert not shapes.oriented[0]
    ahead = np.array([np.cos(shapes.yaws[0]), np.sin(shapes.yaws[0])])
    near = centre[:2] - shapes.sizes[0, 0] / 2 * ahead
    assert near == pytest.approx(surface[:2], abs=1e-6), 'the box begins where the thing does'
    assert shapes.sizes[0].tolist() == usual[0, :3].tolist()
    along, across = _spread(shapes.covariances[0], centre[:2] - eye)
    assert along > 4 * across


def _spread(covariance: NDArray[np.float64], way: NDArray[np.float64]) -> tuple[float, float]:
    way = way / np.hypot(*way)
    left = np.array([-way[1], way[0]])
    flat = covariance[:2, :2]
    return float(way @ flat @ way) ** 0.5, float(left @ flat @ left) ** 0.5


def test_boxes_all_over_the_image_are_no_error() -> None:
    random = np.random.default_rng(0)
    corners = random.uniform(-50, 1700, (500, 2, 2))
    boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
    boxes = np.clip(boxes, 0, [WIDTH, HEIGHT, WIDTH, HEIGHT])
    usual = class_sizes(['car'] * len(boxes))
    scene = Scene(())
    looks = Sight.of(
        LENS, inverse(scene.camera_from_base(0.0)), boxes.astype(np.float32)
    )
    near, doubt = looks.guess(usual, scene.ground)
    known = np.isfinite(near)
    assert known.sum() > 100
    assert (near[known] > 0).all() and (doubt[known] > 0).all()


@pytest.mark.parametrize(('name', 'key'), [
    ('Pedestrian', 'person'), ('Person_sitting', 'person'), ('traffic cone', 'cone'),
    ('Construction Vehicle', 'construction_vehicle'), ('Car', 'car'), ('MOTORBIKE', 'motorcycle'),
    ('fox', 'fox'),
])
def test_data_sets_and_models_call_things_differently(name: str, key: str) -> None:
    assert class_key(name) == key
    assert np.isnan(class_sizes([name])).all() == (key == 'fox')
    assert np.array_equal(class_sizes([name]), class_sizes([key]), equal_nan=True)


def test_of_no_class_there_is_no_size() -> None:
    assert class_sizes([]).shape == (0, 4)


def test_a_thing_of_a_scene_is_where_its_box_says() -> None:
    """The scene's own boxes, which other tests rely on, lead back to what stands there."""
    scene = Scene((Thing('person', 15, 1, 0, (0.6, 0.6, 1.73)),))
    (_, _, boxes), = scene.shown
    (near,), _ = guess(scene, 'person', tuple(boxes[0]))
    assert near == pytest.approx(range_m(scene, 15, 1) - 0.3, abs=0.4)
