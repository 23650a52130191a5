"""How the pixels of each raw encoding lie in memory, and the cv2 code that makes them RGB."""

from __future__ import annotations

from typing import NamedTuple

import cv2


class Packed(NamedTuple):
    """Interleaved samples: `channels` times `sample_bytes` for each pixel."""

    channels: int
    sample_bytes: int
    code: int | None


class Bayer(NamedTuple):
    """One sample a pixel behind a colour filter mosaic."""

    sample_bytes: int
    code: int


class Yuv422(NamedTuple):
    """Two bytes a pixel; two neighbours in a row share their colour."""

    code: int


class Yuv420(NamedTuple):
    """A plane of brightness, then one of interleaved colour at half the size, same step."""

    code: int


Layout = Packed | Bayer | Yuv422 | Yuv420

# OpenCV names a mosaic after the second and third pixel of its second row, ROS after the first two
# pixels of the first and second row: rggb is OpenCV's 'BG'.
BAYER_CODES = {
    'bayer_rggb': cv2.COLOR_BayerBG2RGB,
    'bayer_bggr': cv2.COLOR_BayerRG2RGB,
    'bayer_gbrg': cv2.COLOR_BayerGR2RGB,
    'bayer_grbg': cv2.COLOR_BayerGB2RGB,
}

LAYOUTS: dict[str, Layout] = {
    'rgb8': Packed(3, 1, None),
    'bgr8': Packed(3, 1, cv2.COLOR_BGR2RGB),
    'rgba8': Packed(4, 1, cv2.COLOR_RGBA2RGB),
    'bgra8': Packed(4, 1, cv2.COLOR_BGRA2RGB),
    'mono8': Packed(1, 1, cv2.COLOR_GRAY2RGB),
    'rgb16': Packed(3, 2, None),
    'bgr16': Packed(3, 2, cv2.COLOR_BGR2RGB),
    'rgba16': Packed(4, 2, cv2.COLOR_RGBA2RGB),
    'bgra16': Packed(4, 2, cv2.COLOR_BGRA2RGB),
    'mono16': Packed(1, 2, cv2.COLOR_GRAY2RGB),
    'yuv422': Yuv422(cv2.COLOR_YUV2RGB_UYVY),
    'uyvy': Yuv422(cv2.COLOR_YUV2RGB_UYVY),
    'yuv422_yuy2': Yuv422(cv2.COLOR_YUV2RGB_YUY2),
    'yuyv': Yuv422(cv2.COLOR_YUV2RGB_YUY2),
    'nv12': Yuv420(cv2.COLOR_YUV2RGB_NV12),
    'nv21': Yuv420(cv2.COLOR_YUV2RGB_NV21),
    **{f'{name}8': Bayer(1, code) for name, code in BAYER_CODES.items()},
    **{f'{name}16': Bayer(2, code) for name, code in BAYER_CODES.items()},
}
