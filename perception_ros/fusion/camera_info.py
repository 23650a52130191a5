"""The lens that a CameraInfo describes, for the images that come with it.

It may come from rclpy or from a bag: only the names of its fields matter.
"""

from __future__ import annotations

from typing import Any, cast, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from perception_ros.core.errors import CalibrationError
from perception_ros.core.poses import problem_of
from perception_ros.fusion.camera import CameraModel, scaled
from perception_ros.fusion.distortion import DistortionModel

ImageKind = Literal['raw', 'rectified']
"""What the pixels are: as the sensor gives them (K and D), or straightened (R and P)."""

_ALIASES = {
    '': 'plumb_bob',
    'fisheye': 'equidistant',
    'kannala_brandt': 'equidistant',
    'kannala_brandt4': 'equidistant',
}
"""What drivers call the same: with four coefficients they are OpenCV's fisheye."""


def camera_model(
    info: Any, image: ImageKind = 'raw', size: tuple[int, int] | None = None
) -> CameraModel:
    """Return the lens behind a CameraInfo.

    :param info: a sensor_msgs/CameraInfo, or what has its fields.
    :param size: width and height of the image that came with it; None: as it says.
    :raises CalibrationError: it describes no lens, or not that of an image of this size.
    """
    left, top, width, height = _window(info, image, size)
    if width < 1 or height < 1:
        raise CalibrationError(
            f'expected a CameraInfo with the size of its images, got {info.width}x{info.height}; '
            'let the driver fill width and height'
        )
    if image == 'raw':
        matrix, frame = _numbers('K', info.k, (3, 3)), np.eye(4)
        model, coefficients = _distortion(info)
    else:
        matrix, frame = _rectified(info)
        model, coefficients = 'none', np.zeros(0)
    binning = max(info.binning_x, 1), max(info.binning_y, 1)
    matrix = matrix.copy()
    matrix[:2, 2] -= left, top
    lens = CameraModel(
        max(width // binning[0], 1), max(height // binning[1], 1),
        scaled(matrix, 1 / binning[0], 1 / binning[1]), model, coefficients, frame,
    )
    return lens.for_image(*size) if size else lens


def _window(
    info: Any, image: ImageKind, size: tuple[int, int] | None
) -> tuple[int, int, int, int]:
    """Return x, y, width and height of what the image shows of the whole sensor."""
    roi = info.roi
    window = roi.x_offset, roi.y_offset, roi.width or info.width, roi.height or info.height
    if window == (0, 0, info.width, info.height):
        return window
    said = (
        f'CameraInfo says that the images are cut out of the sensor, {window[2]}x{window[3]} at '
        f'({window[0]}, {window[1]})'
    )
    if window[0] + window[2] > info.width or window[1] + window[3] > info.height:
        raise CalibrationError(
            f'{said}, but its {info.width}x{info.height} do not reach that far; correct its roi'
        )
    if size == (info.width, info.height):
        raise CalibrationError(
            f'{said}, but one of the whole {size[0]}x{size[1]} came; clear its roi'
        )
    if image == 'rectified' and roi.do_rectify:
        raise CalibrationError(
            f'{said} before they are rectified (do_rectify), which leaves open what they show; '
            'rectify whole images, or use the raw ones'
        )
    return window


def _distortion(info: Any) -> tuple[DistortionModel, NDArray[np.float64]]:
    coefficients = np.asarray(info.d, np.float64).reshape(-1)
    model = _ALIASES.get(info.distortion_model, info.distortion_model)
    if model in ('plumb_bob', 'rational_polynomial') and not coefficients.any():
        return 'none', np.zeros(0)
    return cast(DistortionModel, model), coefficients  # which CameraModel checks


def _rectified(info: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return P's camera matrix, and the frame in which it holds as seen from the camera's."""
    projection, turn = _numbers('P', info.p, (3, 4)), _numbers('R', info.r, (3, 3))
    matrix = projection[:, :3]
    frame = np.eye(4)
    frame[:3, :3] = turn
    if problem := problem_of(frame):
        raise CalibrationError(
            f'expected a rotation as R of a CameraInfo, {problem}: {turn.tolist()}; let the '
            'driver set it (the identity where only one camera is rectified)'
        )
    if matrix[0, 0] > 0 and matrix[1, 1] > 0 and list(matrix[2]) == [0, 0, 1]:
        frame[:3, 3] = np.linalg.solve(matrix, projection[:, 3])
    return matrix, frame


def _numbers(
    name: str, values: ArrayLike, shape: tuple[int, int]
) -> NDArray[np.float64]:
    numbers = np.asarray(values, np.float64).reshape(-1)
    if numbers.size != shape[0] * shape[1] or not np.isfinite(numbers).all():
        raise CalibrationError(
            f'expected {shape[0] * shape[1]} finite numbers as {name} of a CameraInfo, got '
            f'{numbers.tolist()}; calibrate the camera again'
        )
    if not numbers.any():
        raise CalibrationError(
            f'expected a calibrated camera, got zeros as {name} of its CameraInfo; calibrate it, '
            'or give its lens in a calibration file'
        )
    return numbers.reshape(shape)
