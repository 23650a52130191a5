"""Lenses against OpenCV's, which is another implementation of the same formulas."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from perception_ros.core.errors import CalibrationError
from perception_ros.fusion.camera import CameraModel
from perception_ros.fusion.distortion import DistortionModel

from .lenses import (
    angles,
    Array,
    by_opencv,
    clouds,
    HERE,
    lenses,
    moved,
    Pose,
    poses,
    RANGES,
    SIZES,
)

MATRIX = np.array([[1000.0, 0, 800], [0, 1000, 450], [0, 0, 1]])


@given(lenses(), poses(), clouds())
@settings(max_examples=200, deadline=None)
def test_pixels_are_those_of_opencv(lens: CameraModel, pose: Pose, points: Array) -> None:
    """Wherever we give a pixel, and that is everywhere in front up to the lens's widest angle."""
    in_camera = moved(points, pose.matrix)
    ours = lens.project(in_camera)
    shown = np.asarray(np.isfinite(ours).all(axis=1))
    away = angles(in_camera)
    assert not shown[(in_camera[:, 2] <= 0) | (away > lens.widest_angle + 1e-6)].any()
    assert shown[away < lens.widest_angle - 1e-6].all()
    theirs = by_opencv(lens, points[shown], pose) if shown.any() else ours[shown]
    # A pixel far outside the image is a number too large to be exact to 1e-3.
    assert np.allclose(ours[shown], theirs, rtol=1e-8, atol=1e-3)


@given(lenses(), poses(), clouds())
@settings(max_examples=200, deadline=None)
def test_what_is_seen_is_what_is_projected_into_the_image(
    lens: CameraModel, pose: Pose, points: Array
) -> None:
    """The fast way throws most points away before it looks at them: none that is wanted."""
    sweep = points.astype(np.float32)
    in_camera = moved(sweep.astype(np.float64), pose.matrix)
    pixels = lens.project(in_camera).astype(np.float32)
    inside = (pixels >= 0).all(axis=1) & (pixels < (lens.width, lens.height)).all(axis=1)
    seen = lens.see(sweep, pose.matrix)
    assert seen.indices.tolist() == np.flatnonzero(inside).tolist()
    assert np.allclose(seen.pixels, pixels[inside], rtol=0, atol=1e-3)
    assert np.allclose(seen.depths_m, in_camera[inside, 2], rtol=1e-6)
    assert (seen.depths_m > 0).all()
    assert [seen.pixels.dtype, seen.depths_m.dtype] == [np.dtype(np.float32)] * 2


@given(lenses(), clouds())
@settings(max_examples=200, deadline=None)
def test_rays_lead_back_to_the_points(lens: CameraModel, points: Array) -> None:
    """A pixel has one ray, or the lens would show two things in one place."""
    pixels = lens.project(points)
    shown = ~np.isnan(pixels).any(axis=1)
    # At the very fold a pixel says nothing about the direction; a pinhole's is at 90 degrees.
    shown &= angles(points) < min(0.98 * lens.widest_angle, np.radians(89))
    rays = lens.rays(pixels[shown])
    there = points[shown] / np.linalg.norm(points[shown], axis=1, keepdims=True)
    assert np.allclose(rays, there, atol=1e-6)
    assert np.allclose(np.linalg.norm(rays, axis=1), 1)
    assert np.allclose(lens.project(rays), pixels[shown], rtol=1e-6, atol=1e-3)


@given(lenses(), st.integers(0, 2**32 - 1))
@settings(max_examples=100, deadline=None)
def test_a_ray_of_any_pixel_lights_it_or_there_is_none(lens: CameraModel, seed: int) -> None:
    pixels = np.random.default_rng(seed).uniform(-1, 2, (200, 2)) * (lens.width, lens.height)
    rays = lens.rays(pixels)
    lit = ~np.isnan(rays).any(axis=1)
    assert np.allclose(lens.project(rays[lit] * 7), pixels[lit], atol=1e-3)


@given(lenses(), clouds())
@settings(max_examples=50, deadline=None)
def test_nothing_behind_is_ever_seen(lens: CameraModel, points: Array) -> None:
    """OpenCV mirrors it into the picture: a car behind would paint the road ahead."""
    behind = points * (1, 1, -1) * np.sign(points[:, 2:])
    behind[:10, 2] = 0
    assert np.isnan(lens.project(behind)).all()
    assert len(lens.see(behind.astype(np.float32), np.eye(4)).indices) == 0


@pytest.mark.parametrize('model', sorted(RANGES))
def test_what_is_not_finite_is_nowhere(model: DistortionModel) -> None:
    """A LiDAR's beam that meets nothing comes as NaN or infinite; no warning, no pixel."""
    lens = CameraModel(1600, 900, MATRIX, model, np.zeros(SIZES[model][0]))
    points = np.array([
        [np.nan, 0, 5], [0, np.nan, 5], [0, 0, np.nan], [np.inf, 0, 5], [0, 0, np.inf],
        [np.inf, np.inf, np.inf], [-np.inf, 0, np.inf], [0, 0, -np.inf], [0, 0, 5],
    ])
    assert np.isnan(lens.project(points)).any(axis=1).tolist() == [True] * 8 + [False]
    assert lens.see(points.astype(np.float32), np.eye(4)).indices.tolist() == [8]
    assert np.isnan(lens.rays(np.array([[np.nan, 3], [np.inf, 3]]))).all()


@pytest.mark.parametrize('count', [0, 1])
def test_a_sweep_of_hardly_anything(count: int) -> None:
    lens = CameraModel(1600, 900, MATRIX, 'plumb_bob', np.array([-0.3, 0.1, 0, 0]))
    points = np.full((count, 3), 2, np.float32)
    assert lens.project(points).shape == (count, 2)
    assert lens.rays(np.full((count, 2), 50.0)).shape == (count, 3)
    seen = lens.see(points, np.eye(4))
    assert (seen.indices.shape, seen.pixels.shape, seen.depths_m.shape) == ((0,), (0, 2), (0,))


def test_a_polynomial_that_folds_back_brings_nothing_into_the_image() -> None:
    """OpenCV has what is 61 degrees to the side near the middle of this one's image."""
    lens = CameraModel(1600, 900, MATRIX, 'plumb_bob', np.array([-0.3, 0, 0, 0]))
    # d(r (1 - 0.3 r^2)) / dr = 0
    assert np.tan(lens.widest_angle) == pytest.approx(1 / np.sqrt(0.9), abs=1e-8)
    aside = np.array([[np.tan(np.radians(61)), 0.0, 1.0]]) * 10
    u, v = by_opencv(lens, aside, HERE)[0]
    assert 800 < u < 900
    assert v == 450.5
    assert np.isnan(lens.project(aside)).all()
    assert len(lens.see(aside.astype(np.float32), np.eye(4)).indices) == 0


def test_a_fold_within_the_image_leaves_its_border_dark() -> None:
    """Whoever starts with such a calibration can be told."""
    lens = CameraModel(1600, 900, MATRIX, 'plumb_bob', np.array([-0.3, 0, 0, 0]))
    # The fold is 703 px from the centre, so the left and right sides are beyond it, and parts
    # of the upper and lower ones.
    assert 0.2 < lens.lit_border < 0.5
    assert np.isnan(lens.rays(np.array([[1.0, 450]]))).all()
    assert replace(lens, coefficients=np.array([-0.3, 0.1, 0, 0])).lit_border == 1


@given(st.sampled_from(['plumb_bob', 'rational_polynomial']), st.lists(
    st.integers(-100, 100), min_size=6, max_size=6))
@settings(max_examples=200, deadline=None)
def test_the_fold_is_the_first_root(model: DistortionModel, factors: list[int]) -> None:
    """Of the radial polynomial's slope or of the denominator, by NumPy's roots."""
    k1, k2, k3, k4, k5, k6 = (factor / 100 for factor in factors)  # roots take no 1e-200
    coefficients = [k1, k2, 0, 0, k3]
    below = np.poly1d([1.0])
    if model == 'rational_polynomial':
        coefficients += [k4, k5, k6]
        below = np.poly1d([k6, 0, k5, 0, k4, 0, 1])
    above = np.poly1d([k3, 0, k2, 0, k1, 0, 1, 0])
    lens = CameraModel(1600, 900, MATRIX, model, np.array(coefficients))
    slope = np.poly1d(above.deriv() * below - above * below.deriv())
    widest = np.tan(lens.widest_angle)
    steps = np.linspace(0, widest * (1 - 1e-6), 2000)
    bent = above(steps) / below(steps)
    assert (np.diff(bent) > -1e-9 * bent[1:]).all()
    if lens.widest_angle < np.radians(89.8):
        roots = np.concatenate([slope.roots, below.roots])
        assert np.abs(roots - widest).min() < 1e-3 * max(widest, 1)


def test_a_pole_that_a_zero_nearly_cancels_is_not_stepped_over() -> None:
    """It turns the image inside out within a hundredth of a degree, and back again."""
    pole, zero = 1.5**2, 1.5001**2
    coefficients = np.array([-1 / zero, 0, 0, 0, 0, -1 / pole, 0, 0])
    lens = CameraModel(1600, 900, MATRIX, 'rational_polynomial', coefficients)
    assert np.tan(lens.widest_angle) <= 1.5 + 1e-9


@pytest.mark.parametrize(('changes', 'said'), [
    ({'width': 0}, 'got 0x900'),
    ({'matrix': np.zeros((3, 3))}, 'zeros: the camera is not calibrated'),
    ({'matrix': MATRIX * np.nan}, 'no finite 3x3 matrix'),
    ({'matrix': np.diag([1000.0, -1000, 1])}, 'focal lengths of 1000 and -1000'),
    ({'matrix': MATRIX.T}, 'expected a camera matrix'),
    ({'distortion': 'thin_lens'}, "got 'thin_lens'"),
    ({'distortion': 'plumb_bob', 'coefficients': np.zeros(3)}, 'expected 4 or 5 .* got 3'),
    ({'distortion': 'equidistant', 'coefficients': np.zeros(5)}, 'expected 4 .* got 5'),
    ({'distortion': 'rational_polynomial', 'coefficients': np.zeros(5)}, '8 or 12 or 14'),
    ({'distortion': 'plumb_bob', 'coefficients': np.full(4, np.nan)}, 'below 1e.09'),
], ids=str)
def test_what_is_no_lens_is_refused(changes: dict[str, object], said: str) -> None:
    lens = CameraModel(1600, 900, MATRIX)
    with pytest.raises(CalibrationError, match=said):
        replace(lens, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(('size', 'fits'), [
    ((1600, 900), True),
    ((800, 450), True),
    ((3200, 1800), True),
    ((533, 300), True),  # thirds, rounded
    ((1600, 1200), False),
    ((1600, 800), False),
    ((900, 1600), False),
    ((0, 0), False),
], ids=str)
def test_an_image_of_another_size_is_the_same_view_or_refused(
    size: tuple[int, int], fits: bool
) -> None:
    """A driver that scales its images and not its CameraInfo would put every point elsewhere."""
    lens = CameraModel(1600, 900, MATRIX, 'plumb_bob', np.array([-0.2, 0.05, 1e-3, 1e-3]))
    points = np.array([[1.0, -0.5, 5], [-2, 1, 4]])
    if fits:
        scale = np.array(size) / (1600, 900)
        assert np.allclose(lens.for_image(*size).project(points), lens.project(points) * scale)
    else:
        with pytest.raises(CalibrationError, match=rf'got {size[0]}x{size[1]}; let the driver'):
            lens.for_image(*size)
