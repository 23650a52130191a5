"""A bag of two cameras, one raw and one of files, a LiDAR and transforms, with uneven times."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

from perception_ros.bags import messages
from perception_ros.bags.writer import BagWriter
from perception_ros.core.image import Image
from perception_ros.faults.plan import FaultPlan, read_faults
from test.builders import MS, picture

FRONT = '/front/image_raw'
REAR = '/rear/image_raw/compressed'
REAR_INFO = '/rear/camera_info'
POINTS = '/top/points'
TF = '/tf'
CAMERAS = {FRONT: 'front', REAR: 'rear'}
START_NS = 5_000 * MS


def small_bag(path: Path, rounds: int = 20, size: tuple[int, int] = (24, 16)) -> Path:
    """Write it: ten rounds a second, some messages at the very same time."""
    points = np.zeros(3, [('x', 'f4'), ('y', 'f4')])
    with BagWriter(path) as writer:
        for index in range(rounds):
            time_ns = START_NS + index * 100 * MS
            pixels = picture(*size, red=(index % 10, 2, index % 10 + 8, 9))
            _, file = cv2.imencode('.jpg', pixels)
            for topic, delay_ms, made in (
                (FRONT, 0, messages.raw_image(_head(time_ns, 'f'), Image.from_array(pixels))),
                (REAR, index % 3, messages.image_file(_head(time_ns, 'r'), bytes(file), 'jpeg')),
                (REAR_INFO, index % 3, messages.camera_info(
                    _head(time_ns, 'r'), *size, np.eye(3))),
                (POINTS, 40, messages.point_cloud(_head(time_ns, 'l'), points)),
                (TF, 0, messages.transforms([(time_ns, 'map', 'base_link', np.eye(4))])),
            ):
                writer.write(topic, made, time_ns + delay_ms * MS)
    return path


def plan(*faults: dict[str, Any]) -> FaultPlan:
    """Return a plan as a file would have it."""
    return FaultPlan.model_validate({'faults': list(faults)})


def write_plan(path: Path, *faults: dict[str, Any]) -> Path:
    """Write a file of faults, which must be readable."""
    path.write_text(yaml.safe_dump({'faults': list(faults)}))
    read_faults(path)
    return path


def _head(stamp_ns: int, frame: str) -> Any:
    return messages.header(stamp_ns, frame)
