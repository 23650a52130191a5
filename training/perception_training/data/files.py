"""Reading images, label maps and texts, with errors that name the file."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from perception_training.errors import DataError


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """
    Read an image as uint8 `[H, W, 3]` RGB.

    :raises DataError: it is missing or damaged.
    """
    return cv2.cvtColor(_read(path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def read_ids(path: Path, size: tuple[int, int], kind: type[np.unsignedinteger] = np.uint8
             ) -> NDArray[Any]:
    """
    Read a label map as `[H, W]` of this kind, uint8 or uint16.

    :param size: width and height of its image.
    :raises DataError: it is missing, damaged, or of another size.
    """
    ids = _read(path, cv2.IMREAD_UNCHANGED)
    if ids.ndim != 2 or ids.dtype != kind:
        raise DataError(f'{path}: expected one channel of {np.iinfo(kind).bits} bits with class '
                        f'ids, got {ids.dtype} {list(ids.shape)}')
    if ids.shape != size[::-1]:
        raise DataError(f'{path}: expected {size[0]}x{size[1]} px like its image, got '
                        f'{ids.shape[1]}x{ids.shape[0]}')
    return ids


def read_lines(path: Path) -> list[tuple[str, str]]:
    """
    Read the lines of a text that are not blank, each with its file and number.

    :raises DataError: it is missing, or no text.
    """
    try:
        lines = path.read_text(encoding='utf-8').splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f'{path}: expected a readable text file; {error}') from error
    return [(f'{path}:{n}', line) for n, line in enumerate(lines, 1) if line.strip()]


def folder_of(path: Path, what: str) -> Path:
    """
    Give a folder that must be there.

    :raises DataError: it is not.
    """
    if not path.is_dir():
        raise DataError(f'{what}: expected a folder {path}; set data.root')
    return path


def _read(path: Path, flags: int) -> NDArray[np.uint8]:
    if not path.is_file():
        raise DataError(f'{path}: expected an image, there is no such file')
    image = cv2.imread(str(path), flags)
    if image is None:
        raise DataError(f'{path}: expected a JPEG or PNG image, got {path.stat().st_size} bytes '
                        'that cannot be decoded')
    return image
