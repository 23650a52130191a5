"""Encodings unknown to the core, through the distribution's cv_bridge where there is one."""

from __future__ import annotations

import numpy as np

from perception_ros.core.errors import ImageError
from perception_ros.core.image import Image, RAW_ENCODINGS
from perception_ros.ros.messages import to_header, to_image_message


def understood(image: Image) -> Image:
    """Return `image` itself if the core knows its encoding, else an rgb8 copy from cv_bridge.

    :raises ImageError: cv_bridge is not installed, or does not know the encoding either.
    """
    if image.is_compressed or image.encoding.lower() in RAW_ENCODINGS:
        return image
    try:
        from cv_bridge import CvBridge, CvBridgeError
    except Exception as error:  # built for another NumPy, it raises more than ImportError
        raise ImageError(
            f'unknown encoding {image.encoding!r}; expected one of {", ".join(RAW_ENCODINGS)}. '
            "Set the camera driver's pixel format to one of these, or install cv_bridge "
            f'(not usable here: {error})'
        ) from error
    message = to_image_message(to_header(0, ''), image)
    try:
        rgb = CvBridge().imgmsg_to_cv2(message, desired_encoding='rgb8')
    except (CvBridgeError, ValueError, TypeError) as error:
        raise ImageError(
            f'unknown encoding {image.encoding!r}, and cv_bridge cannot convert it to rgb8: '
            f"{error}. Set the camera driver's pixel format to another one"
        ) from error
    return Image.from_array(np.asarray(rgb, dtype=np.uint8))
