"""When a played frame goes out, and which never do: rate, jitter, losses, a camera that is away.

Pure and reproducible: the same settings and seed give the same playback.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
import math
import random
from typing import Literal

from pydantic import BaseModel, ConfigDict, model_validator
from typing_extensions import Self

from perception_ros.core.config import is_name, NAME_RULE, parameter
from perception_ros.core.errors import ConfigError
from perception_ros.core.sources import DEFAULT_CAMERAS, FrameSet, Source


class PlayerConfig(BaseModel):
    """What the player plays and how; nothing of it changes while it runs."""

    model_config = ConfigDict(frozen=True, extra='forbid', allow_inf_nan=False)

    input: str = parameter(
        '',
        'Folder of pictures, video, bag or picture. Files or folders named CAM_* in a folder are '
        'cameras, and so are the image topics of a bag; otherwise one sequence is dealt to the '
        'cameras in turn; over a single picture virtual cameras pan',
        min_length=1,
    )
    cameras: tuple[str, ...] = parameter(
        DEFAULT_CAMERAS, 'Names of the cameras, where the input does not name its own'
    )
    transport: Literal['raw', 'compressed'] = parameter(
        'raw',
        'raw: sensor_msgs/Image on <camera>/image_raw; compressed: JPEG as '
        'sensor_msgs/CompressedImage on <camera>/image_raw/compressed',
    )
    encoding: Literal['bgr8', 'rgb8', 'mono8'] = parameter('bgr8', 'Encoding of raw images')
    jpeg_quality: int = parameter(90, 'Quality of compressed images', ge=1, le=100)
    rate_hz: float = parameter(10.0, 'Frame sets per second', unit='Hz', ge=0.01, le=1000.0)
    jitter_ms: float = parameter(
        0.0,
        'Each frame is up to this much later than its set, stamp and all',
        unit='ms',
        ge=0.0,
        le=10_000.0,
    )
    drop_probability: float = parameter(
        0.0, 'Share of frames that are left out at random', ge=0.0, le=1.0
    )
    outage_camera: str = parameter('', 'Camera that goes away and comes back; empty: none')
    outage_from_s: float = parameter(
        0.0, 'When it goes away, after the first set', unit='s', ge=0.0, le=1e6
    )
    outage_for_s: float = parameter(0.0, 'How long it is away', unit='s', ge=0.0, le=1e6)
    loop: bool = parameter(True, 'Start again at the end of the input')
    frames: int = parameter(
        0, 'Frame sets to play before the player ends; 0: no limit', ge=0, le=1_000_000_000
    )
    wait_for_subscribers: int = parameter(
        0, 'Start only when each image topic has this many subscribers', ge=0, le=1000
    )
    seed: int = parameter(0, 'Seed of jitter and losses', ge=0, le=2**31 - 1)
    horizontal_fov_deg: float = parameter(
        60.0,
        'Horizontal field of view that camera_info states where no matrix is given',
        unit='deg',
        gt=0.0,
        lt=180.0,
    )
    camera_matrix: tuple[float, ...] = parameter(
        (),
        'Camera matrix K for camera_info, row by row: nine numbers for all cameras, or nine for '
        'each in order; empty: from the field of view',
        unit='px',
    )
    reliability: Literal['best_effort', 'reliable'] = parameter(
        'reliable', 'QoS of the image topics; reliable serves subscribers of either kind'
    )
    queue_depth: int = parameter(10, 'QoS history depth of the image topics', ge=1, le=1000)
    report: str = parameter(
        '', 'File to write what was published to, as JSON, at the end; empty: none'
    )

    @model_validator(mode='after')
    def _matrices_are_whole(self) -> Self:
        if len(self.camera_matrix) % 9:
            raise ValueError(
                f'camera_matrix has {len(self.camera_matrix)} numbers; expected 9 for all '
                'cameras, or 9 for each'
            )
        return self

    def outage(self) -> Outage | None:
        """Return the outage to play, if any."""
        if not self.outage_camera or not self.outage_for_s:
            return None
        return Outage(self.outage_camera, self.outage_from_s, self.outage_for_s)

    def matrix(self, position: int, width: int, height: int) -> tuple[float, ...]:
        """Return K of the camera at `position`, row by row, in OpenCV's pixel coordinates."""
        given = self.camera_matrix
        if given:
            start = 9 * position if len(given) > 9 else 0
            return given[start : start + 9]
        focal_px = width / 2 / math.tan(math.radians(self.horizontal_fov_deg) / 2)
        # the middle of the image, where (0, 0) is the middle of the top-left pixel
        centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
        return (focal_px, 0.0, centre_x, 0.0, focal_px, centre_y, 0.0, 0.0, 1.0)

    def check_cameras(self, cameras: tuple[str, ...]) -> None:
        """Compare what is said about cameras with those that the input has.

        :raises ConfigError: a name cannot be part of a topic, the outage names none of them, or
            matrices are missing.
        """
        for camera in cameras:
            if not is_name(camera):
                raise ConfigError(f'camera {camera!r}: expected {NAME_RULE}')
        if self.outage_camera and self.outage_camera not in cameras:
            raise ConfigError(
                f'outage_camera is {self.outage_camera!r}; expected one of {", ".join(cameras)}'
            )
        if len(self.camera_matrix) not in (0, 9, 9 * len(cameras)):
            raise ConfigError(
                f'camera_matrix has {len(self.camera_matrix)} numbers; expected 9 for all '
                f'cameras, or {9 * len(cameras)} for {len(cameras)} cameras'
            )


class Fate(str, Enum):
    """What happens to one frame."""

    PUBLISHED = 'published'
    LOST = 'lost'
    """Left out at random, as on a bad link."""
    AWAY = 'away'
    """Its camera is away."""


@dataclass(frozen=True, slots=True)
class Outage:
    """A camera that goes away and comes back; times in seconds since the first set."""

    camera: str
    from_s: float
    for_s: float

    def covers(self, camera: str, at_s: float) -> bool:
        """Return whether this camera is away at that time."""
        return camera == self.camera and self.from_s <= at_s < self.from_s + self.for_s


@dataclass(frozen=True, slots=True)
class Slot:
    """One camera's part in one set; `delay_ns` is how much later than the set it is."""

    camera: str
    fate: Fate
    delay_ns: int


class Timeline:
    """Decides for each set in turn what becomes of each camera's frame."""

    def __init__(self, cameras: tuple[str, ...], config: PlayerConfig) -> None:
        self._cameras = cameras
        self._config = config
        self._outage = config.outage()
        self._random = random.Random(config.seed)
        self._index = 0

    def due_ns(self, index: int) -> int:
        """Return when set `index` is due, in ns after the first."""
        return round(index * 1e9 / self._config.rate_hz)

    def next_set(self) -> list[Slot]:
        """Return the slots of the next set, in the order in which they are due."""
        config = self._config
        at_s = self._index / config.rate_hz
        self._index += 1
        slots = []
        for camera in self._cameras:
            # both are drawn every time, so that an outage does not change the other cameras
            delay_ns = round(self._random.random() * config.jitter_ms * 1e6)
            is_lost = self._random.random() < config.drop_probability
            fate = Fate.LOST if is_lost else Fate.PUBLISHED
            if self._outage is not None and self._outage.covers(camera, at_s):
                fate = Fate.AWAY
            slots.append(Slot(camera, fate, delay_ns))
        return sorted(slots, key=lambda slot: slot.delay_ns)


def play(source: Source, *, loop: bool, sets: int) -> Iterator[FrameSet]:
    """Yield frame sets, from the start again at the end if `loop`, `sets` in all (0: no limit)."""
    count = 0
    while True:
        before = count
        for frames in source.frame_sets():
            yield frames
            count += 1
            if sets and count >= sets:
                return
        if not loop or count == before:
            return
