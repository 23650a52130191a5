"""Which points are what, held against streets in which that is known exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
import pytest

from perception_ros.core.errors import FusionError
from perception_ros.core.types import Detections, InstanceMasks, SemanticMask
from perception_ros.evaluation.scenes import HEIGHT, Scene, street, Thing, WIDTH
from perception_ros.evaluation.streets import (
    CLASSES,
    classes_of,
    masked,
    NO_CLASS,
    painted,
    seen_by,
    truth,
)
from perception_ros.fusion.ground import Terrain
from perception_ros.fusion.objects import see_all
from perception_ros.fusion.painting import paint

CAR = Thing('car', 7, 0, np.pi / 2, (4.4, 1.8, 1.55))
WALL = Thing('', 25, 0, np.pi / 2, (40, 1, 6))


@pytest.fixture(scope='module')
def streets() -> Sequence[Scene]:
    return [street(seed) for seed in range(40, 44)]


@pytest.mark.parametrize('boxes', [False, True], ids=['masks', 'masks-and-boxes'])
def test_what_a_camera_shows_is_painted_and_what_it_hides_is_not(
    streets: Sequence[Scene], boxes: bool
) -> None:
    """Both at once: a painter that leaves out all, or nothing, would do well at one of them."""
    right, wrong, hidden, in_sight = 0, 0, 0, 0
    for scene in streets:
        made, _ = painted(masked(scene, boxes=boxes), scene)
        indices, free = seen_by(scene, 0)
        classes, true = classes_of(made)[indices], truth(scene)[indices]
        in_sight += int(free.sum())
        right += int((classes == true)[free].sum())
        hidden += int((~free).sum())
        wrong += int(((classes != true) & (classes != NO_CLASS))[~free].sum())
    assert hidden > 200, 'the streets must have what lies behind edges'
    assert right > 0.98 * in_sight
    assert wrong < 0.08 * hidden


def test_the_road_far_away_is_painted_as_well_as_the_road_close_by(
    streets: Sequence[Scene],
) -> None:
    """Seen at a small angle, nearer road lies a few pixels below it and hides nothing."""
    right, count = 0, 0
    for scene in streets:
        made, _ = painted(masked(scene), scene)
        indices, free = seen_by(scene, 0)
        away = np.linalg.norm(scene.points[indices], axis=1)
        far = indices[free & (away > 25) & (truth(scene)[indices] == CLASSES.index('road'))]
        right += int((classes_of(made)[far] == CLASSES.index('road')).sum())
        count += len(far)
    assert count > 100
    assert right > 0.95 * count


def test_a_wall_seen_past_an_edge_does_not_become_a_car() -> None:
    """The LiDAR looks over the roof, the camera does not."""
    scene = Scene((CAR, WALL))
    fusion_set = masked(scene, boxes=True)
    indices, free = seen_by(scene, 0)
    behind = indices[~free & (scene.owners[indices] == 1)]
    seen = see_all(fusion_set)[0]
    pixels = seen.pixels[np.isin(seen.indices, behind)].astype(int)
    on_car = fusion_set.views[0].semantic['street'].class_ids[pixels[:, 1], pixels[:, 0]]
    assert np.count_nonzero(on_car == CLASSES.index('car')) > 20, 'there is something to get wrong'
    made, _ = painted(fusion_set, scene)
    assert not (classes_of(made)[behind] == CLASSES.index('car')).any()
    body = indices[free & (scene.owners[indices] == 0)]
    assert (classes_of(made)[body] == CLASSES.index('car')).mean() > 0.95


def test_without_masks_boxes_paint_their_own_points_alone() -> None:
    scene = Scene((CAR, WALL))
    made, objects = painted(scene.fusion_set, scene)
    assert made.class_names == ('car',)
    of_car = scene.owners == 0
    assert (made.classes[of_car & (made.cameras != NO_CLASS)] == 0).all()
    assert (made.classes == 0)[of_car].mean() > 0.9
    assert not (made.classes == 0)[scene.owners == 1].any()
    mine = made.classes == 0
    assert (made.objects[mine] == 1).all()
    assert (made.scores[mine] == objects.scores[0]).all()


def test_an_instance_mask_paints_as_a_box_does() -> None:
    """What lies in the box beside the mask, the wall, was never the object's."""
    scene = Scene((CAR, WALL))
    ids = masked(scene).views[0].semantic['street'].class_ids
    masks = InstanceMasks((ids == CLASSES.index('car')).astype(np.uint16))
    view = replace(scene.fusion_set.views[0], instances=masks)
    made, _ = painted(replace(scene.fusion_set, views=(view,)), scene)
    indices, free = seen_by(scene, 0)
    body = indices[free & (scene.owners[indices] == 0)]
    assert (classes_of(made)[body] == CLASSES.index('car')).mean() > 0.9
    assert not (made.classes != NO_CLASS)[scene.owners == 1].any()


def test_of_two_cameras_the_one_counts_that_sees_a_point_further_from_its_border() -> None:
    scene = Scene((), headings=(0.0, 0.7))
    one, other = scene.fusion_set.views
    road, wall = (
        SemanticMask(np.full((HEIGHT, WIDTH), number, np.uint8), CLASSES) for number in (0, 1)
    )
    views = replace(one, semantic={'street': road}), replace(other, semantic={'street': wall})
    fusion_set = replace(scene.fusion_set, views=views)
    made, _ = painted(fusion_set, scene)
    first, second = see_all(fusion_set)
    both = np.intersect1d(first.indices, second.indices)
    assert len(both) > 100

    def inset(view: int) -> NDArray[np.float64]:
        pixels = (first, second)[view].pixels[
            np.searchsorted((first, second)[view].indices, both)
        ].astype(np.float64) / (WIDTH / 2, HEIGHT / 2)
        return np.asarray(1 - np.abs(pixels - 1).max(axis=1))

    sure = np.abs(inset(0) - inset(1)) > 1e-3
    better = (inset(1) > inset(0)).astype(np.uint8)
    said = made.cameras[both]
    painted_at_all = sure & (said != NO_CLASS)
    assert painted_at_all.mean() > 0.9
    assert (said == better)[painted_at_all].all()
    # Road by the first, wall by the other.
    assert (made.classes[both] == said)[painted_at_all].all()


def test_a_score_says_how_much_of_the_neighbourhood_shows_the_same() -> None:
    scene = Scene(())
    halves = np.zeros((HEIGHT, WIDTH), np.uint8)
    halves[:, WIDTH // 2 :] = 1
    view = replace(scene.fusion_set.views[0], semantic={'street': SemanticMask(halves, CLASSES)})
    made, _ = painted(replace(scene.fusion_set, views=(view,)), scene)
    seen = see_all(scene.fusion_set)[0]
    beside = np.abs(seen.pixels[:, 0] - WIDTH / 2)
    scores = made.scores[seen.indices]
    assert np.allclose(scores[beside > 5], 1)
    edge = scores[beside < 2]
    assert len(edge) and np.allclose(edge, 0.6)


def test_permuted_points_are_painted_as_before() -> None:
    """Nothing may depend on the order in which a driver sends its points."""
    scene = street(3)
    fusion_set = masked(scene, boxes=True)
    straight, objects = painted(fusion_set, scene)
    order = np.random.default_rng(1).permutation(len(scene.points))
    places = np.argsort(order)
    turned = replace(fusion_set, sweep=replace(fusion_set.sweep, points=scene.points[order]))
    terrain = Terrain.of(fusion_set.sweep.points, scene.base_from_lidar)
    permuted = paint(
        turned, see_all(turned),
        replace(objects, members=tuple(places[members] for members in objects.members)),
        replace(terrain, points=terrain.points[order], heights=terrain.heights[order]),
    )
    for name in ('classes', 'cameras', 'scores', 'objects'):
        np.testing.assert_array_equal(
            getattr(permuted, name), getattr(straight, name)[order], err_msg=name
        )


def test_points_that_are_not_finite_and_those_that_nobody_sees_stay_bare() -> None:
    scene = street(4)
    fusion_set = masked(scene, boxes=True)
    points = scene.points.copy()
    points[::7] = np.nan
    points[::11, 1] = np.inf
    points[::13] = -np.inf
    broken = replace(fusion_set, sweep=replace(fusion_set.sweep, points=points))
    made, _ = painted(broken, scene)
    indices = see_all(broken)[0].indices
    bare = np.ones(len(points), np.bool_)
    bare[indices] = False
    assert bare[::7].all() and bare[::11].all() and bare[::13].all()
    assert (made.classes[bare] == NO_CLASS).all()
    assert (made.scores[bare] == 0).all()
    assert (made.objects[bare] == 0).all()
    assert (made.classes[~bare] != NO_CLASS).mean() > 0.5


def test_a_sweep_without_points_and_views_without_masks_are_painted_too() -> None:
    scene = street(5)
    sweep = replace(scene.fusion_set.sweep, points=scene.points[:0])
    empty = replace(masked(scene, boxes=True), sweep=sweep)
    assert len(painted(empty, scene)[0].classes) == 0
    blind = replace(scene.fusion_set, views=())
    assert (painted(blind, scene)[0].classes == NO_CLASS).all()


def test_names_come_from_masks_in_their_order_and_then_from_boxes() -> None:
    made, _ = painted(masked(street(6), boxes=True), street(6))
    assert made.class_names == CLASSES
    boxes_only, _ = painted(street(6).fusion_set, street(6))
    assert boxes_only.class_names == ('car', 'person', 'rider', 'truck')


def test_an_id_without_a_name_paints_nothing() -> None:
    """A network has more classes than its LabelInfo names: that costs these, not the sweep."""
    scene = Scene(())
    foreign = SemanticMask(np.full((HEIGHT, WIDTH), 17, np.uint8), CLASSES)
    view = replace(scene.fusion_set.views[0], semantic={'street': foreign})
    made, _ = painted(replace(scene.fusion_set, views=(view,)), scene)
    assert (made.classes == NO_CLASS).all()


def test_a_number_keeps_its_class_while_cameras_come_and_go() -> None:
    """Who listens learns the names once: they may grow, never turn."""
    scene = Scene((CAR, WALL))
    boxes, _ = painted(scene.fusion_set, scene)
    later, _ = painted(masked(scene, boxes=True), scene, boxes.class_names)
    assert later.class_names == ('car', 'road', 'wall', 'person', 'truck', 'rider')
    dark, _ = painted(replace(scene.fusion_set, views=()), scene, later.class_names)
    assert dark.class_names == later.class_names


def test_more_classes_than_a_byte_holds_are_refused() -> None:
    scene = Scene(())
    names = tuple(f'class {number}' for number in range(300))
    found = Detections(
        np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32), names
    )
    view = replace(scene.fusion_set.views[0], detections=found)
    with pytest.raises(FusionError, match='300 classes: expected up to 255'):
        painted(replace(scene.fusion_set, views=(view,)), scene)


def test_a_mask_smaller_than_the_image_is_looked_up_at_its_own_scale() -> None:
    scene = Scene((CAR, WALL))
    fusion_set = masked(scene)
    whole, _ = painted(fusion_set, scene)
    mask = fusion_set.views[0].semantic['street']
    small = SemanticMask(mask.class_ids[::4, ::4], CLASSES)
    view = replace(fusion_set.views[0], semantic={'street': small})
    made, _ = painted(replace(fusion_set, views=(view,)), scene)
    assert (made.classes == whole.classes).mean() > 0.98
