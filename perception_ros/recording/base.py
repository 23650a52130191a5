"""What all kinds of data are recorded through: topics, frames, times as docs/bags.md has them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from perception_ros.bags import messages
from perception_ros.bags.bag import TF_STATIC
from perception_ros.bags.frames import GROUND_TRUTH
from perception_ros.bags.labelled import BOXES, LABELS, SEMANTIC
from perception_ros.bags.messages import Box3D
from perception_ros.bags.writer import BagWriter
from perception_ros.core.config import is_name, NAME_RULE
from perception_ros.core.errors import BagError, ImageError
from perception_ros.core.image import Image
from perception_ros.core.image_file import read_image
from perception_ros.core.poses import Matrix

BASE = 'base_link'
WORLD = 'map'
BOXES_3D = f'/{GROUND_TRUTH}/detections_3d'

Track = Callable[[Sequence[Any]], Iterable[Any]]
"""Hands on what it is given, perhaps with a progress bar."""


@dataclass(frozen=True, slots=True)
class RecordOptions:
    """How data are recorded that do not say it themselves."""

    camera: str = 'camera'
    """Of data with one camera."""
    rate_hz: float = 0.0
    """Images a second; 0: the video's own, or 10."""
    start_ns: int = 1_000_000_000
    """Stamp of the first image: where data have no time, none is made up."""
    transport: str = 'compressed'
    """raw: sensor_msgs/Image; compressed: JPEG and PNG files as they are, others as JPEG."""
    jpeg_quality: int = 90
    horizontal_fov_deg: float = 0.0
    """For CameraInfo of cameras without calibration; 0: they are said to have none."""
    head: str = 'scene'
    """Semantic head that label maps are for."""
    frames: int = 0
    """Most images of each camera; 0: all."""
    labels: tuple[str, ...] = ()
    """Names of the classes, in the order of their ids, of data that do not name them."""

    def __post_init__(self) -> None:
        """Raise BagError for what cannot be recorded."""
        for what, name in (('camera', self.camera), ('head', self.head)):
            if not is_name(name):
                raise BagError(f'{what} {name!r}: expected {NAME_RULE}')
        if self.transport not in ('raw', 'compressed'):
            raise BagError(f'transport {self.transport!r}: expected raw or compressed')
        if not 0 <= self.horizontal_fov_deg < 180:
            raise BagError(
                f'a field of view of {self.horizontal_fov_deg:g} degrees: expected less than 180'
            )


class Recorder:
    """Writes what is seen and known at a time; times may go back, bags are read in their order."""

    def __init__(self, writer: BagWriter, options: RecordOptions, track: Track = iter) -> None:
        self.options = options
        self.track = track
        self.counts: Counter[str] = Counter()
        self._writer = writer
        self._named: set[str] = set()

    def limited(self, items: Sequence[Any]) -> Iterable[Any]:
        """Return as many of the items as are wanted, through the progress bar."""
        return self.track(items[: self.options.frames or None])

    def time_ns(self, index: int, rate_hz: float) -> int:
        """Return the stamp of image `index` of a sequence."""
        return self.options.start_ns + round(index * 1e9 / rate_hz)

    def image_file(
        self, camera: str, time_ns: int, path: Path, matrix: Matrix | None = None
    ) -> tuple[int, int]:
        """Record a picture file and its CameraInfo, and return its width and height.

        :param matrix: K, float64 [3, 3]; None: not known.
        :raises ImageError: it cannot be read.
        """
        try:
            image = read_image(path)
            image.validate()
            if not image.is_compressed or self.options.transport == 'raw':
                return self.pixels(camera, time_ns, image.rgb(), matrix)
        except ImageError as error:
            raise ImageError(f'{path}: {error}') from error
        head = messages.header(time_ns, optical_frame(camera))
        file = messages.image_file(head, bytes(image.data), image.encoding)
        self._write(f'/{camera}/image_raw/compressed', file, time_ns)
        self._camera_info(camera, time_ns, image.width, image.height, matrix)
        return image.width, image.height

    def pixels(
        self, camera: str, time_ns: int, rgb: NDArray[np.uint8], matrix: Matrix | None = None
    ) -> tuple[int, int]:
        """Record pixels, uint8 [H, W, 3] RGB, as `image_file` does a file."""
        head = messages.header(time_ns, optical_frame(camera))
        if self.options.transport == 'raw':
            message = messages.raw_image(head, Image.from_array(rgb))
            self._write(f'/{camera}/image_raw', message, time_ns)
        else:
            bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
            quality = [cv2.IMWRITE_JPEG_QUALITY, self.options.jpeg_quality]
            _, jpeg = cv2.imencode('.jpg', bgr, quality)
            message = messages.image_file(head, jpeg.tobytes(), 'jpeg')
            self._write(f'/{camera}/image_raw/compressed', message, time_ns)
        height, width = rgb.shape[:2]
        self._camera_info(camera, time_ns, width, height, matrix)
        return width, height

    def points(self, sensor: str, time_ns: int, points: NDArray[Any]) -> None:
        """Record a structured array [N] of points in the sensor's own frame."""
        head = messages.header(time_ns, sensor)
        self._write(f'/{sensor}/points', messages.point_cloud(head, points), time_ns)

    def transforms(
        self, time_ns: int, items: Iterable[tuple[str, str, Matrix]], *, is_static: bool = False
    ) -> None:
        """Record (parent, child, child -> parent) that hold at a time, or always."""
        message = messages.transforms((time_ns, *item) for item in items)
        self._write(TF_STATIC if is_static else '/tf', message, time_ns, is_latched=is_static)

    def boxes(
        self,
        camera: str,
        time_ns: int,
        boxes: NDArray[np.floating[Any]],
        names: Sequence[str | None],
        classes: Sequence[str],
        places_m: NDArray[np.floating[Any]] | None = None,
    ) -> None:
        """Record true boxes [N, 4] in pixels; a name of None is a region that is not labelled.

        :param classes: all that are labelled, whether they occur or not.
        :param places_m: [N, 3] middles of the objects, in the camera's optical frame.
        """
        head = messages.header(time_ns, optical_frame(camera))
        topic = f'/{camera}/{GROUND_TRUTH}/{BOXES}'
        self._name(topic, head, classes, time_ns)
        self._write(topic, messages.detections_2d(head, boxes, names, places_m=places_m), time_ns)

    def label_map(
        self, camera: str, time_ns: int, ids: NDArray[np.uint8], classes: Sequence[str]
    ) -> None:
        """Record true class ids, uint8 [H, W]; 255 = not known."""
        head = messages.header(time_ns, optical_frame(camera))
        topic = f'/{camera}/{GROUND_TRUTH}/{SEMANTIC}{self.options.head}'
        self._name(topic, head, classes, time_ns)
        self._write(topic, messages.label_image(head, ids), time_ns)

    def boxes_3d(self, frame_id: str, time_ns: int, boxes: Iterable[Box3D]) -> None:
        """Record true boxes in space."""
        head = messages.header(time_ns, frame_id)
        self._write(BOXES_3D, messages.detections_3d(head, boxes), time_ns)

    def _name(self, topic: str, head: Any, classes: Sequence[str], time_ns: int) -> None:
        if topic not in self._named:
            self._named.add(topic)
            info = messages.label_info(head, classes)
            self._write(f'{topic}/{LABELS}', info, time_ns, is_latched=True)

    def _camera_info(
        self, camera: str, time_ns: int, width: int, height: int, matrix: Matrix | None
    ) -> None:
        if matrix is None:
            matrix = np.zeros((3, 3))  # sensor_msgs/CameraInfo: this camera is not calibrated
            if fov_deg := self.options.horizontal_fov_deg:
                focal_px = width / 2 / math.tan(math.radians(fov_deg) / 2)
                matrix = np.array([
                    [focal_px, 0, (width - 1) / 2], [0, focal_px, (height - 1) / 2], [0, 0, 1],
                ])
        head = messages.header(time_ns, optical_frame(camera))
        info = messages.camera_info(head, width, height, matrix)
        self._write(f'/{camera}/camera_info', info, time_ns)

    def _write(
        self, topic: str, message: Any, time_ns: int, *, is_latched: bool = False
    ) -> None:
        if topic not in self.counts:
            self._writer.add_topic(topic, message.__msgtype__, is_latched=is_latched)
        self._writer.write(topic, message, time_ns)
        self.counts[topic] += 1


def optical_frame(camera: str) -> str:
    """Return the frame of a camera's images: z forward, x right, y down (REP-103)."""
    return f'{camera}_optical_frame'
