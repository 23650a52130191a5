"""Memory for an image that is to be sent: free bytes, then the pixels.

A serialised message is one piece of memory: its header, then its pixels. Masks are drawn straight
into such a piece, so sending one copies no pixel, and the core need not know what a header is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Id = TypeVar('Id', np.uint8, np.uint16)

HEADROOM = 512
"""Free bytes in front of the pixels. A message's header takes 60 and the name of its frame."""


@dataclass(frozen=True, slots=True, eq=False)
class Canvas(Generic[Id]):
    """Pixels [H, W], which lie in `memory`, uint8 [N], behind free bytes."""

    memory: NDArray[np.uint8]
    pixels: NDArray[Id]

    @classmethod
    def empty(cls, size: tuple[int, int], dtype: type[Id]) -> Canvas[Id]:
        """Return a canvas of (width, height) pixels whose values are still undefined."""
        width, height = size
        free = HEADROOM
        memory = np.empty(free + width * height * np.dtype(dtype).itemsize, np.uint8)
        return cls(memory, memory[free:].view(dtype).reshape(height, width))

    def behind(self, head: bytes | bytearray) -> memoryview:
        """Write `head` right in front of the pixels, and return both in one piece.

        It is a view: drawing on the pixels, or another head, changes it. A head that does not
        fit costs a copy of the pixels.
        """
        start = len(self.memory) - self.pixels.nbytes - len(head)
        if start < 0:
            return memoryview(head + self.pixels.tobytes())
        view = self.memory.data[start:]
        view[: len(head)] = head
        return view
