"""The results of several models for one frame, brought together to be drawn into one picture."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
import threading

from perception_ros.core.types import Frame, Result

HELD = 3
"""Frames of one camera that wait for the rest of their results. A model may have left a frame out
(its rate, a drop), and then the rest never comes."""

REMEMBERED = 64
"""Frames whose picture has gone: a result that comes later still is not drawn, for a second
picture of the same stamp would only confuse."""


class Composer:
    """Holds results until a frame is complete. Safe to use from several threads.

    :param models_of: camera -> number of models that speak about its frames.
    """

    def __init__(self, models_of: Mapping[str, int]) -> None:
        self._models_of = models_of
        self._lock = threading.Lock()
        self._held: dict[str, dict[Frame, list[Result]]] = {camera: {} for camera in models_of}
        self._gone: dict[str, deque[tuple[int, int]]] = {
            camera: deque(maxlen=REMEMBERED) for camera in models_of
        }

    def add(self, result: Result) -> list[list[Result]]:
        """Take a result; return the frames that are ready, as the results of each."""
        camera = result.frame.camera
        with self._lock:
            held, gone = self._held[camera], self._gone[camera]
            if _identity(result.frame) in gone:
                return []
            held.setdefault(result.frame, []).append(result)
            frames = sorted(held, key=lambda frame: frame.received_ns)
            ready = max(len(frames) - HELD, 0)
            for index, frame in enumerate(frames):
                if len(held[frame]) == self._models_of[camera]:
                    # With those before it: pictures keep their order.
                    ready = max(ready, index + 1)
            gone.extend(_identity(frame) for frame in frames[:ready])
            return [held.pop(frame) for frame in frames[:ready]]

    def flush(self) -> list[list[Result]]:
        """Return all that is held, complete or not."""
        with self._lock:
            left = [results for held in self._held.values() for results in held.values()]
            for held in self._held.values():
                held.clear()
        return left


def _identity(frame: Frame) -> tuple[int, int]:
    """Tell a frame from all others without keeping its image alive."""
    return frame.stamp_ns, frame.received_ns
