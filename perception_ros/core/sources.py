"""Recorded pictures as sets of camera frames: folders, videos, and stills that cameras pan over.

`open_source` decides by what lies at a path:

- a folder with files or folders named `CAM_*`: each is a camera (a picture, a video, or a folder
  of pictures); a single picture is repeated while the others play;
- any other folder of pictures, and a video: one sequence, dealt to the cameras in turn, so frame i
  is what camera i mod n sees;
- a single picture: virtual 16:9 cameras pan over it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
import math
from pathlib import Path
import re

import cv2
import numpy as np
from numpy.typing import NDArray

from perception_ros.core.compressed import check_complete, sniff
from perception_ros.core.errors import ImageError
from perception_ros.core.image import decode_file

Frame = NDArray[np.uint8]
"""Pixels as OpenCV reads them: uint8 [H, W, 3], BGR."""
FrameSet = dict[str, Frame]
"""Camera name -> what it sees at one moment."""

PICTURES = frozenset({'.jpg', '.jpeg', '.png', '.bmp', '.webp'})
VIDEOS = frozenset({'.mp4', '.avi', '.mov', '.mkv', '.webm', '.m4v'})
DEFAULT_CAMERAS = ('front_left', 'front', 'front_right')

_PAN_SETS = 120
"""Sets in one sweep of a virtual camera: twelve seconds at 10 Hz."""
_VIEW_SHARE = 0.625
"""Height of a virtual camera's view as a share of the picture's, where its width allows it."""


class Source(ABC):
    """Frame sets from something recorded; `frame_sets` starts again at the first with each call.

    Frames belong to the source and may be the same array twice: read them, do not write.
    """

    def __init__(self, cameras: Iterable[str], description: str) -> None:
        self.cameras = tuple(cameras)
        self.description = description
        self.problems: list[str] = []
        """What is damaged and was left out, as far as it has been played."""

    @abstractmethod
    def frame_sets(self) -> Iterator[FrameSet]:
        """Yield one pass over all that is there, with a frame for each camera in every set.

        :raises ImageError: a file cannot be read.
        """


def open_source(path: Path, cameras: Iterable[str] = DEFAULT_CAMERAS) -> Source:
    """Return the source that suits what lies at `path` (rules: at the top of this module).

    :param cameras: names for a sequence or a still; `CAM_*` brings its own.
    :raises ImageError: nothing is there, or nothing that can be played.
    """
    names = tuple(cameras)
    if not names or len(set(names)) != len(names):
        raise ImageError(f'a source needs one or more different camera names; got {list(names)}')
    if path.is_dir():
        entries = _visible(path)
        if rig := _cameras([entry for entry in entries if entry.name.startswith('CAM_')]):
            return _Rig({name: _sequence(entry) for name, entry in rig.items()}, f'{path.name}/')
        return _Dealt(_sequence(path), names, f'{path.name}/')
    if path.suffix.lower() in VIDEOS and path.is_file():
        return _Dealt(_Video(path), names, path.name)
    if path.suffix.lower() in PICTURES and path.is_file():
        return _Panned(read_picture(path), names, path.name)
    raise ImageError(
        f'nothing to play at {path}: expected a folder of pictures, a video '
        f'({", ".join(sorted(VIDEOS))}) or a picture ({", ".join(sorted(PICTURES))}). '
        + ('Check the name' if not path.exists() else 'Convert the file first')
    )


def read_picture(path: Path) -> Frame:
    """Return a picture file's pixels, upright as its EXIF orientation says.

    :raises ImageError: it cannot be read, or was cut off.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ImageError(f'cannot read {path}: {error.strerror}. Check the name') from error
    try:
        if kind := sniff(data):
            check_complete(data, kind)
        return decode_file(data)
    except ImageError as error:
        raise ImageError(f'{path}: {error}') from error


def picture_files(folder: Path) -> list[Path]:
    """Return the pictures of a folder, sorted as people count: 9 before 10.

    :raises ImageError: there are none, or it is no folder.
    """
    if not folder.is_dir():
        raise ImageError(f'{folder}: expected a folder of pictures, got none')
    found = [entry for entry in _visible(folder) if entry.suffix.lower() in PICTURES]
    if not found:
        raise ImageError(
            f'no pictures in {folder}: expected files that end with {", ".join(sorted(PICTURES))}'
        )
    return found


def video_frames(path: Path, every: int = 1) -> Iterator[Frame]:
    """Yield each `every`th frame of a video, up to one that cannot be decoded.

    Those between are not decoded. Of what is no video there are none.
    """
    capture = cv2.VideoCapture(str(path))
    try:
        number = 0
        while capture.grab():
            if number % every == 0:
                more, frame = capture.retrieve()
                if not more:
                    break
                yield frame.astype(np.uint8, copy=False)
            number += 1
    finally:
        capture.release()


def virtual_view(still_size: tuple[int, int], turn: float) -> tuple[int, int, int, int]:
    """Return where a virtual camera looks: x, y, width, height in pixels of the picture.

    The view is 16:9 with even sides and swings once across the picture and back for each whole
    `turn`, with a little nodding. It stays inside.

    :param still_size: width and height of the picture, each at least 32.
    :param turn: 0 is at the left edge, 0.5 at the right one.
    """
    width, height = still_size
    view_height = min(height * _VIEW_SHARE, width * 9 / 16)
    view_width = int(view_height * 16 / 9) // 2 * 2
    view_height = int(view_height) // 2 * 2
    across = 0.5 - 0.5 * math.cos(2 * math.pi * turn)
    # the horizon of a road picture lies above its middle
    down = 0.4 + 0.1 * math.sin(4 * math.pi * turn)
    x = round(across * (width - view_width))
    y = round(down * (height - view_height))
    return x, y, view_width, int(view_height)


class _Rig(Source):
    """Cameras that were recorded together; a single picture goes with any number of sets."""

    def __init__(self, sequences: Mapping[str, Iterable[Frame]], description: str) -> None:
        super().__init__(sequences, description)
        self._stills = {
            name: next(iter(sequence))
            for name, sequence in sequences.items()
            if isinstance(sequence, _Pictures) and len(sequence) == 1
        }
        self._moving = {
            name: sequence for name, sequence in sequences.items() if name not in self._stills
        }

    def frame_sets(self) -> Iterator[FrameSet]:
        """Yield until the shortest sequence ends; of stills alone one set."""
        if not self._moving:
            yield dict(self._stills)
            return
        for frames in zip(*self._moving.values(), strict=False):
            seen = {**self._stills, **dict(zip(self._moving, frames, strict=True))}
            yield {name: seen[name] for name in self.cameras}


class _Dealt(Source):
    """One sequence, dealt to the cameras like cards; a last, incomplete round is left out."""

    def __init__(self, sequence: Iterable[Frame], names: tuple[str, ...], description: str):
        super().__init__(names, description)
        self._sequence = sequence

    def frame_sets(self) -> Iterator[FrameSet]:
        """Yield a frame for each camera until the sequence ends.

        :raises ImageError: also if there is not one for each camera.
        """
        frames = iter(self._sequence)
        is_empty = True
        # the same iterator again and again: zip takes the next frame for each camera
        for dealt in zip(*[frames] * len(self.cameras), strict=False):
            yield dict(zip(self.cameras, dealt, strict=True))
            is_empty = False
        if is_empty:
            raise ImageError(
                f'{self.description} has fewer pictures than there are cameras '
                f'({len(self.cameras)}), so none would be played: name fewer cameras'
            )


class _Panned(Source):
    """Virtual cameras that swing across one picture, each a part of a turn ahead of the last."""

    def __init__(self, still: Frame, names: tuple[str, ...], description: str) -> None:
        super().__init__(names, description)
        height, width = still.shape[:2]
        if min(width, height) < 32:
            raise ImageError(
                f'{description} has {width}x{height} pixels; virtual cameras need at least 32x32'
            )
        self._still = still

    def frame_sets(self) -> Iterator[FrameSet]:
        """Yield one whole turn."""
        size = (self._still.shape[1], self._still.shape[0])
        # half a turn holds every view once, the way back shows them again
        phase = 0.5 / len(self.cameras)
        for index in range(_PAN_SETS):
            views = {}
            for position, name in enumerate(self.cameras):
                x, y, width, height = virtual_view(size, index / _PAN_SETS + position * phase)
                views[name] = np.ascontiguousarray(self._still[y : y + height, x : x + width])
            yield views


class _Pictures:
    """Picture files in order, decoded one at a time."""

    def __init__(self, paths: list[Path]) -> None:
        self._paths = paths

    def __len__(self) -> int:
        return len(self._paths)

    def __iter__(self) -> Iterator[Frame]:
        return map(read_picture, self._paths)


class _Video:
    """A video file, decoded frame by frame."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __iter__(self) -> Iterator[Frame]:
        is_empty = True
        for frame in video_frames(self._path):
            is_empty = False
            yield frame
        if is_empty:
            raise ImageError(
                f'{self._path} is no video that OpenCV reads. Convert it, for example to H.264 '
                'in an .mp4 file'
            )


def _sequence(path: Path) -> _Pictures | _Video:
    if path.is_dir():
        return _Pictures(picture_files(path))
    return _Video(path) if path.suffix.lower() in VIDEOS else _Pictures([path])


def _visible(folder: Path) -> list[Path]:
    """Return what lies in a folder, sorted as people count: 9 before 10."""
    entries = [entry for entry in folder.iterdir() if not entry.name.startswith('.')]
    return sorted(entries, key=lambda entry: _natural(entry.name))


def _natural(name: str) -> list[tuple[int, int | str]]:
    parts = re.split(r'(\d+)', name.lower())
    return [(1, int(part)) if part.isdigit() else (0, part) for part in parts]


def _cameras(entries: list[Path]) -> dict[str, Path]:
    """Return what each camera plays, by its name."""
    found: dict[str, Path] = {}
    for entry in entries:
        name = _camera_name(entry)
        if name in found:
            raise ImageError(
                f'{found[name]} and {entry.name} would both be camera {name!r}, as a topic has '
                'letters, digits and underscores only: rename one'
            )
        found[name] = entry
    return found


def _camera_name(entry: Path) -> str:
    """Return a name that can be part of a topic."""
    return re.sub(r'\W', '_', entry.name if entry.is_dir() else entry.stem, flags=re.ASCII)
