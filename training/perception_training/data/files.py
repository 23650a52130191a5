"""Reading images and label maps, with errors that name the file."""

from pathlib import Path

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


def read_ids(path: Path, size: tuple[int, int]) -> NDArray[np.uint8]:
    """
    Read a label map as uint8 `[H, W]`.

    :param size: width and height of its image.
    :raises DataError: it is missing, damaged, or of another size.
    """
    ids = _read(path, cv2.IMREAD_UNCHANGED)
    if ids.ndim != 2 or ids.dtype != np.uint8:
        raise DataError(f'{path}: expected one channel of 8 bits with class ids, got '
                        f'{ids.dtype} {list(ids.shape)}')
    if ids.shape != size[::-1]:
        raise DataError(f'{path}: expected {size[0]}x{size[1]} px like its image, got '
                        f'{ids.shape[1]}x{ids.shape[0]}')
    return ids


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
