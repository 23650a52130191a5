"""The pictures of bags, folders and videos, under the names that labels call them by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import cv2
import numpy as np

from perception_ros.bags import is_bag, need_library
from perception_ros.core.errors import DatasetError, ImageError
from perception_ros.core.image import Image
from perception_ros.core.image_file import read_image
from perception_ros.core.sources import PICTURES, video_frames, VIDEOS

_QUALITY = 95
"""Of JPEG files of pictures that were none, 0..100."""
_BLOCK = 32
"""Pictures that are read one after the other by whoever has a piece."""
_ENCODINGS = {'.jpg': 'jpeg', '.jpeg': 'jpeg', '.png': 'png'}

Tell = Callable[[str], object]
"""Is told what is damaged and was left out."""


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A picture that can be decoded."""

    name: str
    """With slashes: '<camera>/<stamp_ns>.jpg' of a bag, '<video>/<number>.jpg' of a video, the
    place below it of a folder."""
    image: Image
    """Its pixels, decoded."""
    source: Image
    """As it came."""

    def file(self) -> bytes:
        """Return what a file of its name is to hold: what came, if it is of that kind.

        :raises ImageError: it is too large for that kind.
        """
        suffix = PurePosixPath(self.name).suffix.lower()
        if self.source.encoding == _ENCODINGS.get(suffix):
            return bytes(self.source.data)
        bgr = cv2.cvtColor(self.image.rgb(), cv2.COLOR_RGB2BGR)
        quality = [cv2.IMWRITE_JPEG_QUALITY, _QUALITY] if suffix in ('.jpg', '.jpeg') else []
        try:
            _, payload = cv2.imencode(suffix, bgr, quality)
        except cv2.error as error:
            raise ImageError(f'{self.name}: cannot be written as {suffix}; {error}') from error
        return payload.tobytes()


class Piece(NamedTuple):
    """One of several pieces of what there is; pieces are dealt in blocks, in turn."""

    number: int = 0
    of: int = 1

    def has(self, index: int) -> bool:
        """Whether the picture at this place is in it."""
        return index // _BLOCK % self.of == self.number


WHOLE = Piece()


def pictures(
    path: Path, every: int, tell: Tell, piece: Piece = WHOLE
) -> Iterator[tuple[int, Picture]]:
    """Yield each `every`th picture of a bag (of each of its cameras), a folder or a video.

    Each with its place among them, of which only those of a piece are read. What is damaged, and
    what has the name of one before it, costs itself and is told.

    :raises PerceptionError: there is none.
    """
    if is_bag(path):
        found = _of_bag(path, every, tell)
    elif path.suffix.lower() in VIDEOS and path.is_file():
        found = _of_video(path, every)
    else:
        found = _of_files(path, every)
    names: set[PurePosixPath] = set()
    for index, (name, read) in enumerate(found):
        if (key := key_of(name)) in names:
            tell(f'{path}: a second picture {name} was left out')
            continue
        names.add(key)
        if not piece.has(index):
            continue
        try:
            source = read()
            yield index, Picture(name, Image.from_array(source.rgb()), source)
        except ImageError as error:
            tell(f'{path}: {name}: {error}')
    if not names:
        raise DatasetError(f'{path}: expected pictures, got none')


def cameras_of(path: Path) -> list[str]:
    """Return the cameras of a bag; what is none is of one that has no name."""
    if not is_bag(path):
        return ['']
    need_library()
    from perception_ros.bags.bag import open_bag
    from perception_ros.bags.frames import camera_topics

    with open_bag(path) as bag:
        return list(camera_topics(bag))


def key_of(name: str) -> PurePosixPath:
    """Return what tells a picture from others: its name without the ending."""
    return PurePosixPath(name).with_suffix('')


Named = tuple[str, Callable[[], Image]]
"""A name, and what reads the picture or raises ImageError."""


def _of_bag(path: Path, every: int, tell: Tell) -> Iterator[Named]:
    need_library()
    from perception_ros.bags.bag import open_bag
    from perception_ros.bags.frames import camera_topics, frames

    counts: Counter[str] = Counter()
    with open_bag(path) as bag:
        for frame in frames(bag, camera_topics(bag)):
            counts[frame.camera] += 1
            if (counts[frame.camera] - 1) % every == 0:
                yield f'{frame.camera}/{frame.stamp_ns}.jpg', partial(_same, frame.image)
        for problem in bag.problems:
            tell(f'{path}: {problem}')


def _of_files(path: Path, every: int) -> Iterator[Named]:
    folder = path if path.is_dir() else path.parent
    files = sorted(path.rglob('*')) if path.is_dir() else [path]
    found = [file for file in files if file.suffix.lower() in PICTURES and file.is_file()]
    for file in found[::every]:
        name = PurePosixPath(file.relative_to(folder))
        yield str(name), partial(read_image, file)


def _of_video(path: Path, every: int) -> Iterator[Named]:
    for index, bgr in enumerate(video_frames(path, every)):
        rgb = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)
        yield f'{path.stem}/{index * every:06d}.jpg', partial(Image.from_array, rgb)


def check(paths: Sequence[Path]) -> None:
    """Raise PerceptionError for the first path at which there are no pictures to be had."""
    for path in paths:
        if not path.exists():
            raise DatasetError(f'{path}: there is no such bag, folder, picture or video')
        if is_bag(path):
            need_library()
        elif path.is_file() and path.suffix.lower() not in PICTURES | VIDEOS:
            raise DatasetError(
                f'{path}: expected a bag, a folder of pictures, a picture or a video; the ending '
                f'{path.suffix!r} is of none'
            )


def _same(image: Image) -> Image:
    return image
