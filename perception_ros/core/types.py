"""The values that travel along the pipeline, from camera frame to result.

Pixel coordinates: (0, 0) is the outer corner of the top-left pixel, x to the right, y down, so an
image covers [0, width] x [0, height]. OpenCV's and CameraInfo's coordinates are these minus 0.5.

Objects that hold pixels or arrays compare by identity: comparing their contents is never meant.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from perception_ros.core.canvas import Canvas
from perception_ros.core.decoding import DecodedOnce
from perception_ros.core.image import Image
from perception_ros.core.passage import Passage

UNLABELLED = 255
"""Class id of a semantic mask's pixel about which nothing is said."""


class DropReason(str, Enum):
    """Why a frame, or the frame that should have come, has no result."""

    MISSING = 'missing'
    """No frame came from this camera for a set: the record names the camera, no frame was lost."""
    INVALID = 'invalid'
    """The message contradicts itself: encoding, size or stamp."""
    UNDECODABLE = 'undecodable'
    """The pixels cannot be decoded."""
    DUPLICATE = 'duplicate'
    """This camera already delivered a frame with this stamp."""
    OUT_OF_ORDER = 'out_of_order'
    """Older than a frame of the same camera that has already gone on."""
    UNMATCHED = 'unmatched'
    """The policy demands complete sets, and no partner came."""
    SUPERSEDED = 'superseded'
    """A newer frame of the same camera came while this one waited: the newest frame wins."""
    STALE = 'stale'
    """It waited longer than `max_age_ms`."""
    LATE = 'late'
    """It could not have been published within the model's `deadline_ms` any more."""
    UNWANTED = 'unwanted'
    """Nobody listens to what this model says about this camera."""
    RATE = 'rate'
    """The model's `max_rate_hz` leaves it out."""
    FAILED = 'failed'
    """A stage raised an error while it worked on this frame."""
    STOPPED = 'stopped'
    """The pipeline stopped before its turn came."""
    LOST = 'lost'
    """It was played in real time, and the node never said what became of it."""
    UNHEARD = 'unheard'
    """It was played in real time, and its result was published but did not arrive."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One camera image on its way.

    `stamp_ns` is the image header's time (sensor time, ROS clock). `received_ns` is when the frame
    came in, on the pipeline's own clock (monotonic in the node): waiting and ageing are measured
    on that one, so a wrong sensor clock cannot make a frame old. `transport_ns` is receipt minus
    stamp on the ROS clock, None where the two clocks are not comparable.
    """

    camera: str
    stamp_ns: int
    received_ns: int
    image: Image
    frame_id: str = ''
    transport_ns: int | None = None
    _decoded: DecodedOnce = field(default_factory=DecodedOnce, init=False, repr=False)

    def decoded(self, least: tuple[int, int]) -> Image:
        """Return the image with a file decoded to at least this (width, height).

        What is decoded is kept with the frame, for the other models of its camera.

        :raises ImageError: the image cannot be decoded.
        """
        return self._decoded.get(self.image, least)


@dataclass(frozen=True, slots=True, eq=False)
class FrameSet:
    """Frames of different cameras that belong together, in the cameras' configured order."""

    frames: tuple[Frame, ...]
    missing: tuple[str, ...]
    matched_ns: int

    @property
    def cameras(self) -> tuple[str, ...]:
        """Names of the cameras whose frames are here."""
        return tuple(frame.camera for frame in self.frames)


@dataclass(frozen=True, slots=True)
class Drop:
    """A frame that gets no result (or, for `MISSING`, one that never came), and why."""

    camera: str
    reason: DropReason
    stamp_ns: int
    model: str = ''
    detail: str = ''


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Frames that go through one engine in one call, and when each was matched."""

    model: str
    frames: tuple[Frame, ...]
    matched_ns: tuple[int, ...]
    scheduled_ns: int


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """Boxes of one image, best score first.

    boxes: float32 [N, 4], (x1, y1, x2, y2) in pixels of the source image;
    scores: float32 [N], 0..1; labels: int32 [N], index into `class_names`.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int32]
    class_names: tuple[str, ...]
    ids: tuple[str, ...] = ()
    """Of their tracks, '' where one has none; nothing at all where nothing is tracked."""

    def __post_init__(self) -> None:
        """Raise ValueError for arrays whose shapes do not fit together."""
        n = len(self.scores)
        if len(self.ids) not in (0, n):
            raise ValueError(f'detections need as many ids as boxes, or none; got {len(self.ids)}')
        if self.boxes.shape != (n, 4) or self.labels.shape != (n,):
            raise ValueError(
                'detections need boxes [N, 4], scores [N] and labels [N]; got '
                f'{self.boxes.shape}, {self.scores.shape}, {self.labels.shape}'
            )

    def __len__(self) -> int:
        """Return the number of boxes."""
        return len(self.scores)


@dataclass(frozen=True, slots=True, eq=False)
class SemanticMask:
    """Class of each pixel: uint8 [H, W] of the source image's size; 255 = unlabelled."""

    class_ids: NDArray[np.uint8]
    class_names: tuple[str, ...]
    canvas: Canvas[np.uint8] | None = None
    """Where `class_ids` lies, if it was drawn to be sent."""


@dataclass(frozen=True, slots=True, eq=False)
class InstanceMasks:
    """Which detection each pixel shows: uint16 [H, W]; value = index in the detections + 1.

    cells, boxes: the masks [N, h, w] as the model says them, 0..1 relative to its boxes, float32
    [N, 4] in pixels of the image, which they may reach beyond. Unlike the pixels these overlap.
    """

    indices: NDArray[np.uint16]
    cells: NDArray[np.generic] = field(default_factory=lambda: np.zeros((0, 1, 1), np.float32))
    boxes: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 4), np.float32))
    canvas: Canvas[np.uint16] | None = None
    """Where `indices` lies, if it was drawn to be sent."""


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """What one model says about one frame. An output that nobody asked for is None or absent."""

    frame: Frame
    model: str
    detections: Detections | None = None
    semantic: Mapping[str, SemanticMask] = field(default_factory=dict)
    instances: InstanceMasks | None = None
    passage: Passage | None = None
    """When the frame was where on its way; None until it is published."""
