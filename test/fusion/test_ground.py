"""Where the ground is, on slopes, under lorries and where nothing is seen of it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from perception_ros.core.poses import pose
from perception_ros.evaluation.scenes import Array, LIDAR_M, Scene, street, Thing
from perception_ros.fusion.ground import Terrain

SLOPES = st.floats(-0.1, 0.1)


def true_heights(scene: Scene, terrain: Terrain) -> Array:
    """Return how far the points of a scene are above its ground; NaN for those further away.

    Fewer beams end there than say how the ground bends.
    """
    points = terrain.points + terrain.origin
    heights = points[:, 2] - points[:, :2] @ scene.ground[:2] - scene.ground[2]
    heights[np.hypot(points[:, 0], points[:, 1]) > 40] = np.nan
    return np.asarray(heights)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1000), along=SLOPES, across=SLOPES, up=st.floats(-50, 50))
def test_the_ground_is_found_on_slopes(seed: int, along: float, across: float, up: float) -> None:
    """A vehicle that drives up a ramp must not take the road for things, nor things for road."""
    scene = Scene(street(seed).things, np.array([along, across, up]), seed=seed)
    terrain = Terrain.of(scene.points, scene.base_from_lidar)
    truth = true_heights(scene, terrain)
    assert np.percentile(np.abs(terrain.heights - truth)[truth < 0.05], 99) < 0.2
    assert (terrain.heights[truth < 0.05] < 0.25).mean() > 0.99
    assert (terrain.heights[truth > 0.5] > 0.25).mean() > 0.99
    a, b, c = terrain.plane
    plane = a, b, c + terrain.origin[2]
    assert np.abs(plane - scene.ground).max() < 0.1


@pytest.mark.parametrize('degrees', [0, 2, 4])
def test_a_frame_that_is_not_quite_level_is_a_slope(degrees: float) -> None:
    """Without a transform the LiDAR's own frame serves; nobody screws it on exactly upright."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    scene = Scene(street(1).things, tilt=np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]]))
    terrain = Terrain.of(scene.points, np.eye(4))
    level = scene.points @ scene.tilt.T
    near = np.hypot(level[:, 0], level[:, 1]) < 40
    off = np.abs(terrain.heights - (level[:, 2] + LIDAR_M))[near]
    assert np.nanpercentile(off, 95) < 0.2


def test_a_lorry_beside_the_vehicle_is_not_the_ground() -> None:
    """It covers a quarter of all that is near; its side is the lowest that is seen there."""
    lorry = Thing('truck', 4, 4, 0, (18, 2.5, 4))
    scene = Scene((lorry,))
    terrain = Terrain.of(scene.points, scene.base_from_lidar)
    truth = true_heights(scene, terrain)
    assert (terrain.heights[truth > 0.5] > 0.25).mean() > 0.97
    a, b, c = terrain.plane
    assert np.abs([a, b, c + terrain.origin[2]]).max() < 0.05


@pytest.mark.parametrize('points', [
    pytest.param(np.zeros((0, 3)), id='empty sweep'),
    pytest.param(np.full((100, 3), np.nan), id='nothing met'),
    pytest.param(np.zeros((50, 3)), id='all at the LiDAR'),
    pytest.param(np.full((50, 3), np.inf), id='infinite'),
    pytest.param(np.array([[10.0, 0, -1.8]]), id='one point'),
    pytest.param(np.array([[1e30, 0, 0], [0, -1e30, 1e30]]), id='absurd'),
])
def test_few_points_are_no_error(points: Array) -> None:
    with np.errstate(all='ignore'):
        terrain = Terrain.of(points.astype(np.float32), np.eye(4))
    assert terrain.heights.shape == (len(points),)
    assert np.isfinite(terrain.plane).all()


def test_a_point_that_is_none_has_no_height() -> None:
    scene = street(2)
    terrain = Terrain.of(scene.points, scene.base_from_lidar)
    none = np.isnan(scene.points).any(axis=1)
    assert none.any()
    assert np.isnan(terrain.heights[none]).all()
    assert np.isfinite(terrain.heights[~none]).all()


@pytest.mark.parametrize('tilt', [0.0, 0.2, -0.4])
def test_where_no_point_says_the_ground_is_where_it_was(tilt: float) -> None:
    """A LiDAR that fell blind in a map whose origin is far below: the vehicle stands as before."""
    scene = Scene(street(1).things, np.array([0.03, -0.02, 0.0]))
    seen = Terrain.of(scene.points, scene.base_from_lidar)
    map_from_base = pose((500, 300, 119), (np.sin(tilt / 2), 0, 0, np.cos(tilt / 2)))
    blind = Terrain.of(
        np.full((10, 3), np.nan, np.float32), map_from_base @ scene.base_from_lidar, seen.floor
    )
    assert not blind.is_seen
    a, b, c = seen.plane
    in_base = np.array([10.0, 4.0, a * 10 + b * 4 + c]) + seen.origin
    x, y, z = (map_from_base @ (*in_base, 1))[:3] - blind.origin
    a, b, c = blind.plane
    assert a * x + b * y + c == pytest.approx(z, abs=1e-6)
