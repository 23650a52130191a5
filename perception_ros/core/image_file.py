"""Image files, described as a camera's images are."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from perception_ros.core.errors import ImageError
from perception_ros.core.image import Image


def read_image(path: Path) -> Image:
    """Return a file's image; a JPEG or PNG stays encoded, as a camera would send it.

    :raises ImageError: the file cannot be read, or holds no image.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ImageError(f'expected a readable image file; {error.strerror}') from error
    image = Image.compressed(data)
    return image if image.is_compressed else _other_kind(data)


def _other_kind(data: bytes) -> Image:
    """Decode what cameras do not send, but people have on disk: BMP, WebP, TIFF."""
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    if pixels is None:
        raise ImageError(
            f'expected an image file such as JPEG or PNG, got {len(data)} bytes that are none, or '
            'are damaged'
        )
    return Image.from_array(np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8))
