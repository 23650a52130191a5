"""Extrinsics held against images: streets whose truth is exact, turned by known angles."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray
import pytest

from perception_ros.core.poses import inverse
from perception_ros.evaluation.scenes import LENS, Scene, street, Thing
from perception_ros.fusion.alignment import estimate, Search, Sight
from perception_ros.fusion.edges import Edges, find_edges, rings_of

SMALL = LENS.for_image(640, 360)
SEARCH = Search()
SEEDS = (1, 2, 3)


@cache
def sight(seed: int) -> Sight:
    scene = street(seed)
    truth = scene.camera_from_base(0.0) @ scene.base_from_lidar
    return Sight(scene.picture(SMALL), SMALL, truth, find_edges(scene.points))


def turned(item: Sight, roll: float, pitch: float, yaw: float) -> Sight:
    """Return it as if the camera were turned, in degrees, REP-103, about its own x, y, z."""
    matrix = np.eye(4)
    # roll about x forward, pitch about y left, yaw about z up, in the optical frame
    about = np.array([-pitch, -yaw, roll])
    matrix[:3, :3] = cv2.Rodrigues(np.radians(about))[0].T
    return item._replace(camera_from_lidar=matrix @ item.camera_from_lidar)


def off_deg(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    rest = (inverse(one) @ other)[:3, :3]
    return float(np.degrees(np.linalg.norm(cv2.Rodrigues(rest)[0])))


def test_a_true_extrinsic_agrees() -> None:
    """The check must not cry wolf: who mends a good calibration makes a bad one."""
    found = estimate([sight(seed) for seed in SEEDS], SEARCH)
    assert found.verdict == 'agrees'
    assert found.turn_deg < 0.4
    assert found.edges > 3 * SEARCH.least_edges


@pytest.mark.parametrize(('roll', 'pitch', 'yaw'), [
    (0, 0, 2), (0, 0, -2), (0, 2, 0), (0, -2, 0), (2.5, 0, 0), (-2.5, 0, 0), (1.5, -1, 1.5),
])
def test_a_turned_camera_is_refuted_with_the_turn_that_mends_it(
    roll: float, pitch: float, yaw: float
) -> None:
    """Sign and axis of each: a correction that goes the other way doubles the error."""
    found = estimate([turned(sight(seed), roll, pitch, yaw) for seed in SEEDS], SEARCH)
    assert found.verdict == 'refuted'
    np.testing.assert_allclose(found.correction_deg, (-roll, -pitch, -yaw), atol=0.6)
    wrong = turned(sight(1), roll, pitch, yaw).camera_from_lidar
    assert off_deg(found.corrected(wrong), sight(1).camera_from_lidar) < 0.6


def test_turns_are_those_of_rep_103() -> None:
    """A camera that is turned to the left (yaw > 0) sees what is ahead farther to the right."""
    ahead = np.array([[20.0, 0, 0]])
    straight, left = sight(1), turned(sight(1), 0, 0, 1)
    down = turned(sight(1), 0, 1, 0)
    there = [
        SMALL.project(ahead @ item.camera_from_lidar[:3, :3].T + item.camera_from_lidar[:3, 3])[0]
        for item in (straight, left, down)
    ]
    assert there[1][0] > there[0][0] + 5
    assert there[2][1] < there[0][1] - 5


@pytest.mark.parametrize('other', [4, 5, 6])
def test_an_image_of_another_street_tells_nothing(other: int) -> None:
    """There is always a best rotation; it must not be believed for that."""
    mixed = [sight(seed)._replace(grey=sight(other).grey) for seed in SEEDS]
    assert estimate(mixed, SEARCH).verdict != 'agrees'
    assert estimate(mixed[:1], SEARCH).verdict == 'unclear'


@pytest.mark.parametrize('case', ['blank image', 'no edges', 'nothing at all'])
def test_where_nothing_is_seen_nothing_is_said(case: str) -> None:
    """Night, fog and an empty car park are no reason to refute."""
    given = sight(1)
    if case == 'blank image':
        given = given._replace(grey=np.full_like(given.grey, 90))
    elif case == 'no edges':
        given = given._replace(edges=Edges(np.zeros((0, 3)), np.zeros((0, 3))))
    found = estimate([] if case == 'nothing at all' else [given], SEARCH)
    assert found.verdict == 'unclear'


def test_the_same_images_give_the_same_answer() -> None:
    assert estimate([sight(1)], SEARCH) == estimate([sight(1)], SEARCH)


class TestEdges:
    """Where the LiDAR sees outlines."""

    BOX = Thing('car', 15, 0, 0, (4, 2, 3))

    def test_they_stand_at_the_sides_of_a_box(self) -> None:
        scene = Scene((self.BOX, Thing('', 60, 0, 0, (1, 80, 20))))
        edges = find_edges(scene.points)
        beam_rad = 2 * np.pi / 1080
        ahead = np.abs(edges.places[:, 0] - 13) < 0.3
        near = edges.places[ahead & (edges.places[:, 2] > -1.4)]
        assert len(near) >= 4
        across = np.abs(np.arctan2(near[:, 1], near[:, 0]))
        assert np.abs(across - np.arctan2(1, 13)).max() < beam_rad

    def test_a_thing_before_the_sky_has_some(self) -> None:
        """Beams that never return show an outline, too, and the sky is the clearest edge."""
        scene = Scene((Thing('', 12, 0, 0, (1, 1, 12)),))
        edges = find_edges(scene.points)
        high = edges.places[edges.places[:, 2] > 0.3]
        assert len(high) >= 6
        assert np.abs(np.abs(high[:, 1]) - 0.5).max() < 0.2

    def test_the_road_has_none(self) -> None:
        edges = find_edges(Scene(()).points)
        assert len(edges.places) < 0.01 * len(Scene(()).points)

    def test_rings_are_told_from_the_order_of_the_points(self) -> None:
        points = street(1).points
        points = points[np.isfinite(points).all(axis=1)].astype(np.float64)
        up = np.arctan2(points[:, 2], np.hypot(points[:, 0], points[:, 1]))
        rings = rings_of(points.astype(np.float64))
        assert max(np.ptp(up[rings == ring]) for ring in np.unique(rings)) < 1e-4

    def test_rings_are_told_from_elevation_where_there_is_no_order(self) -> None:
        points = street(1).points
        shuffled = np.random.default_rng(0).permutation(points)
        by_order, by_elevation = (find_edges(item).places for item in (points, shuffled))
        assert len(by_elevation) == pytest.approx(len(by_order), rel=0.2)

    @pytest.mark.parametrize('points', [
        np.zeros((0, 3)), np.full((50, 3), np.nan), np.full((3, 3), 9.0), np.zeros((50, 3)),
    ], ids=['empty', 'nan', 'three', 'in the middle'])
    def test_clouds_without_any(self, points: NDArray[np.float64]) -> None:
        assert len(find_edges(points.astype(np.float32)).places) == 0
