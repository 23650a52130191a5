"""Images with label maps in the manner of CamVid."""

from __future__ import annotations

from pathlib import Path

from perception_ros.evaluation.datasets.camvid import read_camvid
from perception_ros.recording.base import Recorder

_RATE_HZ = 15.0
"""Of CamVid's labelled clip; its other frames are a second apart."""


def record_camvid(root: Path, split: str, recorder: Recorder) -> None:
    """Record images and label maps, in the order of their names.

    Ids are written as evaluation and training count them: void is 255.
    """
    data = read_camvid(root, split, None)
    rate_hz = recorder.options.rate_hz or _RATE_HZ
    for index, path in enumerate(recorder.limited(data.images)):
        time_ns = recorder.time_ns(index, rate_hz)
        camera = recorder.options.camera
        recorder.image_file(camera, time_ns, path)
        recorder.label_map(camera, time_ns, data.truth(path), data.classes)
