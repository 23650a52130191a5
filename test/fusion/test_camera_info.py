"""What drivers say about their lenses, and what they forget to say."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import cv2
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
from numpy.typing import NDArray
import pytest

from perception_ros.core.errors import CalibrationError
from perception_ros.fusion.camera import CameraModel
from perception_ros.fusion.camera_info import camera_model

from .lenses import by_opencv, HERE

K = np.array([[1000.0, 0, 810], [0, 990, 440], [0, 0, 1]])
D = np.array([-0.3, 0.1, 1e-3, -2e-3, -0.01])
R = np.asarray(cv2.Rodrigues(np.array([0.02, -0.03, 0.01]))[0], np.float64)
P = np.array([[900.0, 0, 800, -108], [0, 900, 450, 0], [0, 0, 1, 0]])
POINTS = np.random.default_rng(0).uniform((-3, -2, 4), (3, 2, 30), (50, 3))


@dataclass
class Roi:
    x_offset: int = 0
    y_offset: int = 0
    height: int = 0
    width: int = 0
    do_rectify: bool = False


@dataclass
class CameraInfo:
    """The fields of sensor_msgs/CameraInfo."""

    height: int = 900
    width: int = 1600
    distortion_model: str = 'plumb_bob'
    d: NDArray[np.float64] = field(default_factory=lambda: D)
    k: NDArray[np.float64] = field(default_factory=lambda: K.reshape(9))
    r: NDArray[np.float64] = field(default_factory=lambda: R.reshape(9))
    p: NDArray[np.float64] = field(default_factory=lambda: P.reshape(12))
    binning_x: int = 0
    binning_y: int = 0
    roi: Roi = field(default_factory=Roi)


def test_raw_images_have_k_and_d() -> None:
    lens = camera_model(CameraInfo())
    expected = by_opencv(CameraModel(1600, 900, K, 'plumb_bob', D), POINTS, HERE)
    assert np.allclose(lens.project(POINTS), expected, atol=1e-6)


def test_rectified_images_are_those_that_opencv_makes_of_raw_ones() -> None:
    """OpenCV says for each rectified pixel where in the raw image it is taken from."""
    info = CameraInfo(p=(P * [1, 1, 1, 0]).reshape(12))
    from_x, from_y = cv2.initUndistortRectifyMap(K, D, R, P[:, :3], (1600, 900), cv2.CV_32FC1)
    rows, columns = (axis.reshape(-1) for axis in np.mgrid[0:900:90, 0:1600:160])
    rectified = np.stack([columns, rows], axis=1) + 0.5
    points = camera_model(info, 'rectified').rays(rectified) * 9
    taken = np.stack([from_x[rows, columns], from_y[rows, columns]], axis=1) + 0.5
    assert np.allclose(camera_model(info).project(points), taken, atol=1e-3)
    assert np.allclose(camera_model(info, 'rectified').project(points), rectified)


def test_a_stereo_pair_s_right_camera_stands_beside_its_frame() -> None:
    """P [X Y Z 1] of the rectified frame, as CameraInfo defines it, and a ray's way back."""
    lens = camera_model(CameraInfo(), 'rectified')
    u, v, w = P @ np.concatenate([R @ POINTS.T, np.ones((1, len(POINTS)))])
    pixels = lens.project(POINTS)
    assert np.allclose(pixels - 0.5, np.stack([u / w, v / w], axis=1))
    there = POINTS - lens.origin
    assert np.linalg.norm(lens.origin) == pytest.approx(108 / 900)
    there /= np.linalg.norm(there, axis=1, keepdims=True)
    assert np.allclose(lens.rays(pixels), there)
    seen = lens.see(POINTS.astype(np.float32), np.eye(4))
    assert np.allclose(seen.pixels, pixels[seen.indices], atol=1e-2)


def test_binned_and_cut_out_images_show_part_of_the_sensor() -> None:
    """K is that of the whole sensor, whatever is read of it."""
    whole = camera_model(CameraInfo()).project(POINTS)
    info = CameraInfo(binning_x=2, binning_y=4, roi=Roi(100, 40, 800, 1200))
    lens = camera_model(info)
    assert (lens.width, lens.height) == (600, 200)
    assert np.allclose(lens.project(POINTS), (whole - (100, 40)) / (2, 4))
    smaller = camera_model(info, size=(300, 100))
    assert np.allclose(smaller.project(POINTS), (whole - (100, 40)) / (4, 8))


def test_images_that_are_not_binned_although_that_is_said() -> None:
    """A driver that says binning of images that it scales back: the size tells the truth."""
    lens = camera_model(CameraInfo(binning_x=2, binning_y=2), size=(1600, 900))
    assert np.allclose(lens.project(POINTS), camera_model(CameraInfo()).project(POINTS))


@pytest.mark.parametrize(('info', 'model'), [
    (CameraInfo(d=np.zeros(0)), 'none'),
    (CameraInfo(d=np.zeros(5)), 'none'),
    (CameraInfo(d=np.zeros(0), distortion_model=''), 'none'),
    (CameraInfo(distortion_model=''), 'plumb_bob'),
    (CameraInfo(d=np.zeros(4), distortion_model='equidistant'), 'equidistant'),
    (CameraInfo(d=D[:4] / 10, distortion_model='fisheye'), 'equidistant'),
    (CameraInfo(d=D[:4] / 10, distortion_model='kannala_brandt4'), 'equidistant'),
    (CameraInfo(d=np.append(D, D[:3]), distortion_model='rational_polynomial'),
     'rational_polynomial'),
], ids=lambda value: value if isinstance(value, str) else '')
def test_models_by_the_names_that_drivers_use(info: CameraInfo, model: str) -> None:
    """A fisheye of zeros still is a fisheye; a polynomial of zeros is a pinhole."""
    assert camera_model(info).distortion == model


@pytest.mark.parametrize(('changes', 'image', 'size', 'said'), [
    ({'k': np.zeros(9)}, 'raw', None, 'zeros as K .* calibrate it, or give its lens'),
    ({'p': np.zeros(12)}, 'rectified', None, 'zeros as P'),
    ({'r': np.zeros(9)}, 'rectified', None, 'zeros as R'),
    ({'r': np.full(9, 0.5)}, 'rectified', None, 'expected a rotation as R'),
    ({'k': np.full(9, np.inf)}, 'raw', None, '9 finite numbers as K'),
    ({'p': np.zeros(9)}, 'rectified', None, '12 finite numbers as P'),
    ({'p': -P.reshape(12)}, 'rectified', None, 'focal lengths of -900'),
    ({'d': np.full(5, np.nan)}, 'raw', None, 'below 1e.09, got .nan'),
    ({'d': D[:3]}, 'raw', None, '4 or 5 coefficients of plumb_bob, got 3'),
    ({'distortion_model': 'ftheta'}, 'raw', None, "got 'ftheta'"),
    ({'width': 0}, 'raw', None, 'got 0x900; let the driver fill'),
    ({}, 'raw', (1600, 1200), 'expected an image of 1600x900 .* got 1600x1200'),
    ({'roi': Roi(10, 10, 450, 800)}, 'raw', (1600, 900), 'one of the whole 1600x900 came'),
    ({'roi': Roi(10, 10, 450, 800, True)}, 'rectified', None, 'rectify whole images'),
    ({'roi': Roi(10, 10, 450, 1800)}, 'raw', None, '1600x900 do not reach that far'),
], ids=str)
def test_what_describes_no_lens_is_refused(
    changes: dict[str, object], image: str, size: tuple[int, int] | None, said: str
) -> None:
    info = replace(CameraInfo(), **changes)  # type: ignore[arg-type]
    with pytest.raises(CalibrationError, match=said):
        camera_model(info, image, size)  # type: ignore[arg-type]


NUMBERS = st.sampled_from([0.0, 1, -1, 500, 1e-3, 1e8, -1e300, 1e300, 1e-300, np.nan, np.inf])


def numbers(count: int) -> st.SearchStrategy[NDArray[np.float64]]:
    return st.lists(NUMBERS, min_size=count, max_size=count).map(np.array)


def matrices(columns: int) -> st.SearchStrategy[NDArray[np.float64]]:
    """Draw what looks like a camera matrix."""
    return numbers(4 + columns).map(lambda n: np.array([
        [n[0], 0, n[1], *n[4:][:columns - 3]], [0, n[2], n[3], *n[5:][:columns - 3]],
        [0, 0, 1, *n[6:][:columns - 3]],
    ]).reshape(-1))


@given(
    changes=st.fixed_dictionaries({}, optional={
        'distortion_model': st.sampled_from(
            ['', 'plumb_bob', 'rational_polynomial', 'equidistant', 'other']),
        'd': st.sampled_from([0, 4, 5, 8, 12, 14, 3]).flatmap(numbers),
        'k': numbers(9) | matrices(3), 'r': numbers(9), 'p': numbers(12) | matrices(4),
        'width': st.integers(0, 3), 'height': st.integers(0, 2**32 - 1),
        'binning_x': st.integers(0, 2**32 - 1), 'binning_y': st.integers(0, 3),
        'roi': st.builds(Roi, *[st.integers(0, 2000)] * 4, st.booleans()),
    }),
    image=st.sampled_from(['raw', 'rectified']),
    size=st.sampled_from([None, (1600, 900), (0, 0), (1, 2**31)]),
)
@settings(max_examples=300, deadline=None)
def test_whatever_a_camera_info_holds(
    changes: dict[str, object], image: str, size: tuple[int, int] | None
) -> None:
    """A lens that can be asked, or a reason: nothing else may reach the node."""
    info = replace(CameraInfo(), **changes)  # type: ignore[arg-type]
    try:
        lens = camera_model(info, image, size)  # type: ignore[arg-type]
    except CalibrationError:
        return
    shown = lens.see(POINTS.astype(np.float32), np.eye(4))
    assert ((shown.pixels >= 0) & (shown.pixels < (lens.width, lens.height))).all()
    assert lens.rays(np.array([[1.0, 2]])).shape == (1, 3)
