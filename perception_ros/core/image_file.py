"""Image files, described as a camera's images are."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from perception_ros.core.errors import ImageError
from perception_ros.core.image import decode_file, Image


def read_image(path: Path) -> Image:
    """Return a file's image; a JPEG or PNG stays encoded, as a camera would send it.

    :raises ImageError: the file cannot be read, or holds no image.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ImageError(f'expected a readable image file; {error.strerror}') from error
    image = Image.compressed(data)
    if image.is_compressed:
        return image
    # What cameras do not send, but people have on disk: BMP, WebP, TIFF.
    rgb = cv2.cvtColor(decode_file(data), cv2.COLOR_BGR2RGB)
    return Image.from_array(np.asarray(rgb, np.uint8))
