"""Images to calibrate on: as different as possible, and none of a drive that is measured."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from perception_ros.bags import is_bag
from perception_ros.benchmarks.images import letterboxed, read_pictures, spread
from perception_ros.bundles.manifest import InputInfo
from perception_ros.core.errors import QuantizationError
from perception_ros.core.sources import Frame, PICTURES, read_picture
from perception_ros.evaluation.datasets import Dataset, drive_of

CANDIDATES = 256
"""Images that are looked at, spread over all that are there."""
CALIBRATION = 64
"""Images that ranges are taken from."""
HELD_OUT = 12
"""Further images that answers are compared on."""
_THUMBNAIL = (12, 8)


@dataclass(frozen=True, slots=True, eq=False)
class ImageSet:
    """Letterboxed images, uint8 [n, H, W, 3] RGB; no image is in both arrays."""

    calibration: NDArray[np.uint8]
    held_out: NDArray[np.uint8]
    content: NDArray[np.int64]
    """Where in each of `held_out` the image itself lies: int64 [n, 4] in pixels."""
    description: str
    """In words, how many were chosen of how many."""


def choose_images(
    places: Sequence[Path], size: InputInfo, datasets: Sequence[Dataset] = ()
) -> ImageSet:
    """Return images that differ as much as possible.

    :param places: folders of pictures (or with `images` inside), videos, bags, pictures.
    :param size: the input that they are letterboxed to.
    :param datasets: what will be measured: pictures of its drives are left out.
    :raises QuantizationError: there are too few.
    :raises ImageError: one cannot be read.
    """
    measured = _Measured(datasets)
    found: list[Frame] = []
    total = excluded = 0
    for place in places:
        files = _files(place)
        kept = [path for path in files if not measured.holds(path)]
        total, excluded = total + len(files), excluded + len(files) - len(kept)
        share = -(-CANDIDATES // len(places))
        if not files and not measured.shows(place):
            found += read_pictures(place, share)
        else:
            found += [read_picture(path) for path in spread(kept, share)]
    if len(found) < 2:
        why = f': {excluded} of {total} show drives that are measured' if excluded else ''
        raise QuantizationError(
            f'calibration: expected two or more images in {_listing(places)}, got '
            f'{len(found)}{why}; take images of the cameras and roads that the model is for'
        )
    order = farthest_first(np.stack([_thumbnail(frame) for frame in found]))
    held = min(HELD_OUT, max(1, len(found) // 4))
    count = min(CALIBRATION, len(found) - held)
    calibration, _ = letterboxed([found[i] for i in order[:count]], size)
    held_out, content = letterboxed([found[i] for i in order[count : count + held]], size)
    description = (
        f'{count} images to calibrate, {held} to compare answers, the most different of '
        f'{len(found)} from {_listing(places)}'
    )
    if excluded:
        description += f'; {excluded} of {total} left out, because their drives are measured'
    return ImageSet(calibration, held_out, content, description)


def picture_folder(place: Path) -> Path:
    """Return where the pictures of a folder lie: in `images`, where it has one."""
    return place / 'images' if (place / 'images').is_dir() else place


def farthest_first(points: NDArray[np.float32]) -> list[int]:
    """Return the order in which each point is the farthest from all before it.

    :param points: float32 [n, d]. The first is the one nearest to their mean.
    """
    order = [int(((points - points.mean(axis=0)) ** 2).sum(axis=1).argmin())]
    nearest = ((points - points[order[0]]) ** 2).sum(axis=1)
    nearest[order[0]] = -1.0
    while len(order) < len(points):
        order.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, ((points - points[order[-1]]) ** 2).sum(axis=1))
        nearest[order] = -1.0
    return order


class _Measured:
    """Tells which pictures show what is measured: same drive, or the same file elsewhere."""

    def __init__(self, datasets: Sequence[Dataset]) -> None:
        images = [path for dataset in datasets for path in dataset.images]
        paths = [path for path in images if path.is_file()]  # those of bags are none
        self._drives = {drive_of(path) for path in images}
        self._bags = {parent.resolve() for path in images for parent in path.parents}
        self._sizes = {path.stat().st_size for path in paths}
        self._hashes = {sha256(path.read_bytes()).hexdigest() for path in paths}

    def shows(self, place: Path) -> bool:
        """Return whether a video or a bag is of a drive that is measured."""
        return drive_of(place) in self._drives or (
            is_bag(place) and place.resolve() in self._bags
        )

    def holds(self, path: Path) -> bool:
        if drive_of(path) in self._drives:
            return True
        same_size = path.stat().st_size in self._sizes
        return same_size and sha256(path.read_bytes()).hexdigest() in self._hashes


def _files(place: Path) -> list[Path]:
    """Return the pictures in a folder; none for a video, a bag, a picture or a rig of cameras."""
    if not place.exists():
        raise QuantizationError(
            f'calibration: expected a folder of images, a video or a bag, and there is no {place}'
        )
    if not place.is_dir() or is_bag(place):
        return []
    return sorted(p for p in picture_folder(place).iterdir() if p.suffix.lower() in PICTURES)


def _thumbnail(frame: Frame) -> NDArray[np.float32]:
    """Return a picture's layout and colours as a point, float32 [d]."""
    small = cv2.resize(frame, _THUMBNAIL, interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small, cv2.COLOR_BGR2LAB).astype(np.float32).reshape(-1)


def _listing(places: Iterable[Path]) -> str:
    return ', '.join(str(place) for place in places)
