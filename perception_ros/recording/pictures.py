"""A folder of pictures, or a video: one camera, no labels."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from perception_ros.core.errors import ImageError
from perception_ros.core.sources import picture_files
from perception_ros.recording.base import Recorder

_RATE_HZ = 10.0
_MOST_HZ = 1000.0


def record_images(folder: Path, split: str, recorder: Recorder) -> None:
    """Record the pictures of a folder in the order in which people count."""
    rate_hz = recorder.options.rate_hz or _RATE_HZ
    for index, path in enumerate(recorder.limited(picture_files(folder / split))):
        recorder.image_file(recorder.options.camera, recorder.time_ns(index, rate_hz), path)


def record_video(path: Path, split: str, recorder: Recorder) -> None:
    """Record the frames of a video at its own rate.

    :raises ImageError: it has none.
    """
    capture = cv2.VideoCapture(str(path))
    try:
        own_hz = capture.get(cv2.CAP_PROP_FPS)
        rate_hz = recorder.options.rate_hz or (own_hz if 0 < own_hz <= _MOST_HZ else _RATE_HZ)
        count = max(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), 1)
        index = 0
        for index in recorder.limited(range(count)):
            more, frame = capture.read()
            if not more:
                break
            rgb = np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), np.uint8)
            recorder.pixels(recorder.options.camera, recorder.time_ns(index, rate_hz), rgb)
    finally:
        capture.release()
    if not recorder.counts:
        raise ImageError(
            f'{path} is no video that OpenCV reads. Convert it, for example to H.264 in an .mp4 '
            'file'
        )
