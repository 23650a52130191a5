"""A camera image that several models look at is decoded once."""

from __future__ import annotations

import threading

from perception_ros.core.image import Image


class DecodedOnce:
    """What has been decoded of one image, for every model that wants as much of it.

    It may be asked from several threads. Who comes while another decodes waits for that: to decode
    beside it would take as long, and a core.
    """

    __slots__ = ('_images', '_lock')

    def __init__(self) -> None:
        self._images: dict[int, Image] = {}
        """By how much their sides were divided: a model must see the same whoever came first."""
        self._lock = threading.Lock()

    def get(self, image: Image, least: tuple[int, int]) -> Image:
        """Return what `image.decoded(least)` gives; `image` is the same one in all calls.

        :raises ImageError: as that does.
        """
        if not image.is_compressed:
            return image
        reduction = image.reduction(least)
        with self._lock:
            decoded = self._images.get(reduction)
            if decoded is None:
                decoded = self._images[reduction] = image.decoded(least)
            return decoded
