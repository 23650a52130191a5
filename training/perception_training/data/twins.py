"""Images that are the same, or nearly: by their pixels, and by what stays when they are small."""

from collections.abc import Sequence
import hashlib

import cv2
import numpy as np
from numpy.typing import NDArray

NEAR = 40
"""
Bits of 256 that may differ between images that are nearly the same.

Measured: an image that is saved anew at JPEG quality 30, halved, relit or trimmed by 2 % differs
in up to 26, one of a drive a fifteenth of a second later in 8 to 44, half of them under 20; of
250 images of IDD, the nearest other one of a different ride differs in 74 or more.
"""
_SMALL_PX, _KEPT = 64, 16


def digest(image: NDArray[np.uint8]) -> bytes:
    """Digest the pixels of an image, whatever file they came from."""
    found = hashlib.blake2b(str(image.shape).encode(), digest_size=16)
    found.update(np.ascontiguousarray(image).data)
    return found.digest()


def bits(image: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """
    Give 256 bits `[4]` that stay alike when an RGB image is scaled, compressed or relit.

    They are the signs, about their median, of the lowest frequencies of the cosine transform of
    its grey values. Two images that have nothing in common differ in about 128.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (_SMALL_PX, _SMALL_PX), interpolation=cv2.INTER_AREA)
    waves = cv2.dct(small.astype(np.float32))[:_KEPT, :_KEPT].ravel()
    # The first one is the mean, which says nothing of what is to be seen.
    return np.packbits(waves > np.median(waves[1:])).view(np.uint64)


def nearest(ours: Sequence[NDArray[np.uint64]], others: Sequence[NDArray[np.uint64]]
            ) -> list[tuple[int, int]]:
    """Give for each of ours the place of the others' most alike, and how many bits differ."""
    if not others:
        return []
    table = np.stack(others)
    found = []
    for row in ours:
        differ = np.bitwise_count(table ^ row).sum(1)
        best = int(differ.argmin())
        found.append((best, int(differ[best])))
    return found
