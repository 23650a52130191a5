"""Cameras of a bag as sets of frames for the player and the demonstration."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from perception_ros.bags.bag import Bag, open_bag
from perception_ros.bags.frames import camera_topics, frames
from perception_ros.core.errors import ImageError
from perception_ros.core.sources import FrameSet, Source


class BagSource(Source):
    """A bag's cameras; a set is there when each has given a new frame.

    So a camera that is faster than the slowest one is thinned out, and the sets end where the
    first camera does. What cannot be read is left out.
    """

    def __init__(self, path: Path) -> None:
        """
        Look what is there.

        :raises BagError: no camera is in it.
        """
        with open_bag(path) as bag:
            self._topics = camera_topics(bag)
        self._path = path
        super().__init__(self._topics, path.name)
        self._note(bag)

    def frame_sets(self) -> Iterator[FrameSet]:
        """Yield the sets in the order of time."""
        with open_bag(self._path) as bag:
            newest: FrameSet = {}
            for frame in frames(bag, self._topics):
                try:
                    rgb = frame.image.rgb()
                except ImageError as error:
                    bag.spoil(self._topics[frame.camera], str(error))
                    continue
                newest[frame.camera] = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), np.uint8)
                if len(newest) == len(self.cameras):
                    self._note(bag)
                    yield {name: newest[name] for name in self.cameras}
                    newest = {}
            self._note(bag)

    def _note(self, bag: Bag) -> None:
        self.problems += [problem for problem in bag.problems if problem not in self.problems]
