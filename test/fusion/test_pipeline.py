"""The way of a sweep without ROS: how cameras look at it, and what an error costs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
import pytest

from perception_ros.core.poses import pose
from perception_ros.core.types import Detections, InstanceMasks, SemanticMask
from perception_ros.fusion.config import FusionCameraConfig, FusionConfig
from perception_ros.fusion.matcher import MatchedImage, MatchedSweep
from perception_ros.fusion.pipeline import ImageOutputs, PlacedSweep, SweepPipeline
from perception_ros.fusion.types import Sweep
from test.builders import MS

S = 1_000_000_000
SPEED_M_S = 20.0
STILL = (0.0, 0.0, 0.0, 1.0)
OPTICAL = (-0.5, 0.5, -0.5, 0.5)
POINTS = np.array([[10, 0, -1.8], [np.nan, 0, 0]], np.float32)


class Info:
    """A CameraInfo of 640x480 without distortion."""

    def __init__(self, width: int = 640, height: int = 480) -> None:
        self.width, self.height = width, height
        self.distortion_model, self.d = 'plumb_bob', [0.0] * 5
        self.k = [400.0, 0, 319.5, 0, 400, 239.5, 0, 0, 1]
        self.r = np.eye(3).reshape(9)
        self.p = [400.0, 0, 319.5, 0, 0, 400, 239.5, 0, 0, 0, 1, 0]
        self.binning_x = self.binning_y = 0
        self.roi = Region()


class Region:
    """All of the image."""

    x_offset = y_offset = width = height = 0
    do_rectify = False


def pipeline(*, odometry: bool = True, **changes: Any) -> SweepPipeline:
    """Return one of a vehicle that drives ahead, and whose camera is 1 m before its LiDAR."""
    cameras = {'front': FusionCameraConfig(), 'rear': FusionCameraConfig()}
    made = SweepPipeline(FusionConfig(cameras=cameras, **changes))
    made.transform('base_link', 'lidar', 0, pose((0, 0, 1.8), STILL), is_static=True)
    made.transform('base_link', 'front', 0, pose((1, 0, 1.8), OPTICAL), is_static=True)
    for step in range(20 * odometry):
        stamp_ns = S + 20 * step * MS
        away_m = SPEED_M_S * stamp_ns / S
        made.transform('odom', 'base_link', stamp_ns, pose((away_m, 0, 0), STILL), is_static=False)
    made.camera_info('front', Info())
    return made


def matched(sweep_ns: int, image_ns: int, *cameras: str) -> MatchedSweep:
    images = {name: MatchedImage(image_ns, {}) for name in cameras or ('front',)}
    missing = tuple({'front', 'rear'} - {*images})
    return MatchedSweep(Sweep(sweep_ns, 0, 'lidar', POINTS), images, missing)


def outputs(frame_id: str = 'front', **changes: Any) -> ImageOutputs:
    found = Detections(
        np.array([[300, 200, 340, 400]], np.float32), np.ones(1, np.float32),
        np.zeros(1, np.int32), ('car',),
    )
    return ImageOutputs(frame_id, **{'detections': found, **changes})


def front_of(placed: PlacedSweep) -> NDArray[np.float64]:
    """Return where the LiDAR's point is for the camera."""
    [view] = placed.fusion_set.views
    return np.asarray((view.camera_from_lidar @ [10, 0, -1.8, 1])[:3])


@pytest.mark.parametrize('image_ms', [1060, 1100, 1137])
def test_the_motion_between_sweep_and_image_is_taken_out(image_ms: int) -> None:
    """Later by 37 ms at 20 m/s the camera is 0.74 m nearer to what the beam has met."""
    made = pipeline()
    placed = made.place(matched(1100 * MS, image_ms * MS), {'front': outputs()})
    nearer_m = SPEED_M_S * (image_ms - 1100) / 1000
    np.testing.assert_allclose(front_of(placed), [0, 1.8, 9 - nearer_m], atol=1e-9)
    assert placed.is_compensated
    assert (placed.frame_id, placed.fixed_frame_id) == ('base_link', 'odom')
    assert placed.fixed_from_output[0, 3] == pytest.approx(SPEED_M_S * 1.1)


def test_without_odometry_both_are_of_one_moment_and_that_is_said() -> None:
    placed = pipeline(odometry=False).place(matched(1100 * MS, 1137 * MS), {'front': outputs()})
    np.testing.assert_allclose(front_of(placed), [0, 1.8, 9], atol=1e-9)
    assert not placed.is_compensated
    assert placed.fixed_frame_id == 'base_link', 'tracks live where the objects do'


def test_nobody_wants_the_motion_out_where_there_is_no_fixed_frame() -> None:
    made = pipeline(odometry=False, fixed_frame='')
    placed = made.place(matched(1100 * MS, 1137 * MS), {'front': outputs()})
    assert placed.is_compensated


@pytest.mark.parametrize(('sweep_ms', 'image_ms'), [(1360, 1400), (1400, 1437), (2300, 2337)],
                         ids=['behind the image', 'behind both', 'silent'])
def test_odometry_that_is_behind_is_carried_on(sweep_ms: int, image_ms: int) -> None:
    """It is known up to 1.38 s. No sweep waits for it, and no track changes its frame for it."""
    placed = pipeline().place(matched(sweep_ms * MS, image_ms * MS), {'front': outputs()})
    nearer_m = SPEED_M_S * (image_ms - sweep_ms) / 1000
    np.testing.assert_allclose(front_of(placed), [0, 1.8, 9 - nearer_m], atol=1e-9)
    assert placed.is_compensated
    assert placed.fixed_frame_id == 'odom'
    assert placed.fixed_from_output[0, 3] == pytest.approx(SPEED_M_S * sweep_ms / 1000)
    assert placed.behind_ns == (image_ms - 1380) * MS


def test_where_a_blind_lidar_is_in_a_map_things_stand_where_the_vehicle_does() -> None:
    """The map's origin is 119 m further down; the ground that was seen, 2 cm lower, counts."""
    found = []
    for seen in (False, True):
        made = pipeline(output_frame='map')
        made.transform('map', 'odom', S, pose((0, 0, 119), STILL), is_static=True)
        if seen:
            x, y = np.meshgrid(np.arange(4, 40, 0.5), np.arange(-20, 20, 0.5))
            road = np.stack([x, y, np.full_like(x, -1.82)], axis=-1).reshape(-1, 3)
            sweep = Sweep(1100 * MS, 0, 'lidar', road.astype(np.float32))
            made.fuse(made.place(MatchedSweep(sweep, {}, ('front', 'rear')), {}))
        blind = Sweep(1200 * MS, 0, 'lidar', np.full((9, 3), np.nan, np.float32))
        item = MatchedSweep(blind, {'front': MatchedImage(1200 * MS, {})}, ('rear',))
        objects = made.fuse(made.place(item, {'front': outputs()})).objects
        assert objects.by_camera.tolist() == [True]
        found.append(float(objects.centres[0, 2] - objects.sizes[0, 2] / 2))
    assert found == pytest.approx([119.0, 118.98], abs=0.005)


def test_odometry_that_has_gone_is_not_made_up() -> None:
    placed = pipeline().place(matched(2400 * MS, 2437 * MS), {'front': outputs()})
    np.testing.assert_allclose(front_of(placed), [0, 1.8, 9], atol=1e-9)
    assert not placed.is_compensated
    assert (placed.frame_id, placed.fixed_frame_id) == ('base_link', 'base_link')


def of_another_size() -> ImageOutputs:
    mask = SemanticMask(np.zeros((200, 640), np.uint8), ('road',))
    return outputs(semantic={'scene': mask})


@pytest.mark.parametrize(('said', 'why'), [
    pytest.param(outputs('nowhere'), "'nowhere'", id='frame'),
    pytest.param(outputs(''), 'name no frame', id='no frame'),
    pytest.param(of_another_size(), '640x200', id='size'),
    pytest.param(ImageOutputs('front', problems=('it is cut off',)), 'cut off', id='damaged'),
])
def test_what_is_wrong_with_a_camera_costs_its_part_alone(said: ImageOutputs, why: str) -> None:
    made = pipeline()
    placed = made.place(matched(1100 * MS, 1100 * MS), {'front': said})
    assert why in placed.problems['front']
    assert placed.fusion_set.missing == ('front', 'rear')
    fused = made.fuse(placed)
    assert len(fused.objects) == 0
    assert fused.paint is not None and len(fused.paint.classes) == len(POINTS)
    good = made.place(matched(1100 * MS, 1100 * MS), {'front': outputs()})
    assert not good.problems and good.fusion_set.missing == ('rear',)


@pytest.mark.parametrize('coarse', ['instances', 'semantic'])
def test_masks_of_two_sizes_are_of_one_image(coarse: str) -> None:
    """Another model's may be a quarter of it; the larger one says how large the image is."""
    semantic, instances = np.zeros((480, 640), np.uint8), np.zeros((480, 640), np.uint16)
    instances[200:400, 300:340] = 1
    if coarse == 'instances':
        instances = instances[::4, ::4]
    else:
        semantic = semantic[::4, ::4]
    made = pipeline()
    placed = made.place(matched(1100 * MS, 1100 * MS), {'front': outputs(
        semantic={'scene': SemanticMask(semantic, ('road',))}, instances=InstanceMasks(instances)
    )})
    assert not placed.problems
    beams = [[9.9, side, up] for side in (-0.1, 0, 0.1) for up in (-0.8, -0.5, -0.2)]
    sweep = replace(placed.fusion_set.sweep, points=np.array([*POINTS, *beams], np.float32))
    fused = made.fuse(replace(placed, fusion_set=replace(placed.fusion_set, sweep=sweep)))
    assert fused.objects.points.tolist() == [9]
    assert fused.paint is not None and (fused.paint.objects[2:] == 1).all()


def test_a_mask_that_cannot_be_used_leaves_the_boxes() -> None:
    said = outputs(problems=('semantic/scene: nobody has said what its ids mean',))
    placed = pipeline().place(matched(1100 * MS, 1100 * MS), {'front': said})
    assert 'ids mean' in placed.problems['front']
    [view] = placed.fusion_set.views
    assert view.detections is not None and not view.semantic


def test_a_lens_that_nobody_knows_is_asked_for_by_its_topic() -> None:
    placed = pipeline().place(
        matched(1100 * MS, 1100 * MS, 'front', 'rear'), {'front': outputs(), 'rear': outputs()}
    )
    assert '/rear/camera_info' in placed.problems['rear']
    assert [view.camera for view in placed.fusion_set.views] == ['front']


def test_clocks_that_are_apart_are_told_from_results_that_are_late() -> None:
    here = matched(1100 * MS, 1100 * MS)
    apart = MatchedSweep(here.sweep, {}, ('front', 'rear'), {'front': 395 * S, 'rear': 80 * MS})
    placed = pipeline().place(apart, {})
    assert list(placed.problems) == ['front']
    assert '+395.0 s' in placed.problems['front']
    assert 'PTP' in placed.problems['front']


def test_masks_of_too_many_classes_cost_the_painted_points_alone() -> None:
    """Or whoever looked at the points in RViz would take the objects from the planner."""
    names = tuple(f'class {number}' for number in range(300))
    mask = SemanticMask(np.zeros((480, 640), np.uint8), names)
    made = pipeline()
    placed = made.place(
        matched(1100 * MS, 1100 * MS), {'front': outputs(semantic={'scene': mask})}
    )
    fused = made.fuse(placed)
    assert len(fused.objects) == 1
    assert fused.paint is None
    assert '255' in fused.unpainted
