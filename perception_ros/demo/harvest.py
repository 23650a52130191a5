"""What came out, by model, camera and stamp: boxes in memory, annotated frames on disk."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from perception_ros.core.boxes import match, overlaps

Boxes = NDArray[np.float64]
"""(x1, y1, x2, y2) in pixels of the source image, float64 [N, 4]."""

_TILE_PX = 640
"""Longer side of a camera's picture in the film."""


class FrameKey(NamedTuple):
    """One frame of one camera."""

    camera: str
    stamp_ns: int


class Agreement(NamedTuple):
    """How many boxes of a reference model another one finds too, on frames that both saw."""

    frames: int
    boxes: int
    found: int

    @property
    def share(self) -> float | None:
        """Return `found` as a share of `boxes`; None where there are none."""
        return self.found / self.boxes if self.boxes else None


class Harvest:
    """Collects the answers of one run."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.boxes: dict[str, dict[FrameKey, dict[str, Boxes]]] = defaultdict(dict)
        self.pictures: dict[FrameKey, Path] = {}
        self.masks: Counter[str] = Counter()
        self.latency_p95_ms: dict[str, float] = {}

    def add_boxes(self, model: str, key: FrameKey, labelled: list[tuple[str, Boxes]]) -> None:
        """Take the detections of one frame: pairs of class name and box (float64 [4])."""
        by_class: dict[str, list[Boxes]] = defaultdict(list)
        for name, box in labelled:
            by_class[name].append(box)
        self.boxes[model][key] = {name: np.stack(boxes) for name, boxes in by_class.items()}

    def add_picture(self, key: FrameKey, jpeg: bytes) -> None:
        """Write an annotated frame as it came."""
        path = self._folder / key.camera / f'{key.stamp_ns}.jpg'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg)
        self.pictures[key] = path

    def number_pictures(self) -> None:
        """Rename the annotated frames from stamps to numbers, counted by set."""
        numbers = {stamp_ns: index for index, stamp_ns in enumerate(self.stamps())}
        for key, path in self.pictures.items():
            self.pictures[key] = path.rename(path.with_name(f'{numbers[key.stamp_ns]:05d}.jpg'))

    def stamps(self) -> list[int]:
        """Return the stamps of which there are annotated frames, in order."""
        return sorted({key.stamp_ns for key in self.pictures})

    def agreement(self, reference: str, model: str, class_name: str, iou: float) -> Agreement:
        """Return how many boxes of `reference` have a partner of `model` of at least that IoU."""
        frames = sorted(self.boxes[reference].keys() & self.boxes[model].keys())
        boxes = found = 0
        none = np.zeros((0, 4))
        for key in frames:
            wanted = self.boxes[reference][key].get(class_name, none)
            boxes += len(wanted)
            found += count_matches(wanted, self.boxes[model][key].get(class_name, none), iou)
        return Agreement(len(frames), boxes, found)


def count_matches(wanted: Boxes, offered: Boxes, iou: float) -> int:
    """Return how many of `wanted` have an own partner in `offered`, best overlaps first."""
    return len(match(overlaps(wanted, offered), iou))


def write_film(harvest: Harvest, cameras: tuple[str, ...], path: Path, rate_hz: float) -> bool:
    """Write the annotated frames side by side as MP4; a camera without a new frame keeps its last.

    :return: whether there was anything to show, and OpenCV could write it.
    """
    columns = 3 if len(cameras) == 3 else int(np.ceil(np.sqrt(len(cameras))))
    rows = -(-len(cameras) // columns)
    width, height = _tile_size(harvest)
    if not width:
        return False
    sheet = np.zeros((rows * height, columns * width, 3), np.uint8)
    fourcc = cv2.VideoWriter.fourcc(*'mp4v')
    writer = cv2.VideoWriter(str(path), fourcc, rate_hz, (sheet.shape[1], sheet.shape[0]))
    try:
        for stamp_ns in harvest.stamps():
            for position, camera in enumerate(cameras):
                picture = harvest.pictures.get(FrameKey(camera, stamp_ns))
                frame = None if picture is None else cv2.imread(str(picture))
                if frame is not None:
                    row, column = divmod(position, columns)
                    _put(sheet, frame, column * width, row * height, width, height)
            writer.write(sheet)
        return writer.isOpened()
    finally:
        writer.release()


def _tile_size(harvest: Harvest) -> tuple[int, int]:
    first = next(iter(harvest.pictures.values()), None)
    frame = None if first is None else cv2.imread(str(first))
    if frame is None:
        return 0, 0
    height, width = frame.shape[:2]
    scale = min(_TILE_PX / max(width, height), 1.0)
    # even, as a codec wants them, and something even of a line camera's picture
    return max(round(width * scale / 2) * 2, 2), max(round(height * scale / 2) * 2, 2)


def _put(sheet: NDArray[np.uint8], frame: object, x: int, y: int, width: int, height: int) -> None:
    """Fit a frame into its tile without changing its shape."""
    picture = np.asarray(frame, np.uint8)
    scale = min(width / picture.shape[1], height / picture.shape[0])
    size = (max(round(picture.shape[1] * scale), 1), max(round(picture.shape[0] * scale), 1))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    sheet[y : y + height, x : x + width] = 0
    sheet[y : y + size[1], x : x + size[0]] = small
